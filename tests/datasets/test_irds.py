"""Data sets of ir_datasets: no file is deleted, and nothing is downloaded unless allowed."""

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest

PRELUDE = """
import json, os, socket, sys
from pathlib import Path

def no_network(*args, **kwargs):
    raise AssertionError("the network was touched")

socket.getaddrinfo = socket.socket.connect = socket.create_connection = no_network
from elasticdenser.datasets import (
    load_answers, load_irds, load_qrels, load_queries, open_corpus, register_dpr_questions
)
from elasticdenser.errors import BadInputError

def error_of(function, *args, **kwargs):
    try:
        result = function(*args, **kwargs)
    except BadInputError as error:
        return str(error)
    return f"no error, but {result!r:.200}"

docs = lambda name, **more: [(p.doc_id, p.title, p.text) for p in open_corpus([name], **more)]
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "irds"


def _run(home: Path, code: str):
    """Run in a process of its own: ir_datasets reads IR_DATASETS_HOME once, when it is imported."""
    return _run_and_log(home, code)[0]


def _run_and_log(home: Path, code: str):
    """Run in the same way, and return the result and what was written to stderr."""
    environment = os.environ | {"IR_DATASETS_HOME": str(home), "IR_DATASETS_DL_TRIES": "1"}
    script = PRELUDE + dedent(code) + "\nPath(sys.argv[1]).write_text(json.dumps(result))\n"
    output = home.parent / "result.json"
    command = [sys.executable, "-c", script, str(output)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(output.read_text()), done.stderr


def _msmarco(home: Path) -> Path:
    folder = home / "msmarco-passage"
    (folder / "dev" / "small").mkdir(parents=True)
    (folder / "collection.tsv").write_bytes("0\tfirst passage\n1\tsecond pässage\n".encode())
    (folder / "dev" / "small" / "queries.tsv").write_text("7\twho wrote dune\n")
    (folder / "dev" / "small" / "qrels").write_text("7 0 1 1\n")
    return folder


def _trec_dl(home: Path) -> Path:
    """MS MARCO with the files that the TREC Deep Learning ids need; of 2020 the queries are kept compressed."""
    folder = _msmarco(home)
    for year, query_id in ((2019, "19"), (2020, "20")):
        (folder / f"trec-dl-{year}").mkdir()
        (folder / f"trec-dl-{year}" / "qrels").write_text(f"{query_id} 0 1 3\n{query_id} 0 0 0\n")
        queries = f"{query_id}\tjudged\n{query_id}0\tnot judged\n".encode()
        if year == 2019:
            (folder / "trec-dl-2019" / "queries.tsv").write_bytes(queries)
        else:
            (folder / "trec-dl-2020" / "queries.tsv.gz").write_bytes(gzip.compress(queries))
    return folder


def _dpr_docs(home: Path) -> Path:
    folder = home / "dpr-w100"
    folder.mkdir(parents=True)
    (folder / "docs.tsv.gz").write_bytes(gzip.compress(b"id\ttext\ttitle\n1\tsome text\tTitle\n"))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("version", [None, "v1", "v2\n"])
@pytest.mark.parametrize("download", [False, True])
def test_a_collection_without_the_right_version_file_survives(home, version, download):
    folder = _msmarco(home)
    if version is not None:
        (folder / "irds_version.txt").write_text(version)
    before = (folder / "collection.tsv").read_bytes()
    message = _run(home, f"result = error_of(docs, 'msmarco-passage/dev/small', download={download})")
    assert (folder / "collection.tsv").read_bytes() == before
    assert f"{folder / 'irds_version.txt'} {'is missing' if version is None else 'holds'}" in message
    assert f"would delete {folder / 'collection.tsv'}" in message
    assert f"printf v2 > {folder / 'irds_version.txt'}" in message
    assert "\n" not in message
    assert (folder / "irds_version.txt").exists() == (version is not None)


@pytest.mark.slow
def test_with_the_version_file_the_id_works_offline(home):
    folder = _msmarco(home)
    (folder / "irds_version.txt").write_text("v2")
    result = _run(
        home,
        """
        name = "msmarco-passage/dev/small"
        dataset = load_irds(name)
        result = [docs(name), load_queries(name), load_qrels(name), error_of(load_answers, name),
                  error_of(load_queries, name, split="dev"), dataset.has_docs(), dataset.has_qrels()]
        """,
    )
    assert result[0] == [["0", "", "first passage"], ["1", "", "second pässage"]]
    assert result[1] == [["7", "who wrote dune"]]
    assert result[2] == [["7", "1", 1, "0"]]
    assert "has answers" in result[3]
    assert "the split 'dev' was requested" in result[4]
    assert result[5:] == [True, True]


@pytest.mark.slow
def test_ranges_of_documents_are_the_documents(home):
    folder = _msmarco(home)
    (folder / "irds_version.txt").write_text("v2")
    (folder / "collection.tsv").write_text("".join(f"{i}\tpassage {i}\n" for i in range(7)))
    result = _run(
        home,
        """
        import pickle
        import ir_datasets
        from elasticdenser.datasets.cutting import cut_corpus

        load_irds("msmarco-passage")._dataset.docs_count = lambda: None  # then they are counted
        corpus = open_corpus("msmarco-passage")
        ranges = pickle.loads(pickle.dumps(cut_corpus(corpus, 3)))
        result = [[(line, p.doc_id) for _, line, p in own.with_locations()] for own in (*ranges, corpus)]
        """,
    )
    *ranges, whole = result
    assert len(ranges) == 3 and all(ranges)
    assert [place for own in ranges for place in own] == whole == [[i + 1, str(i)] for i in range(7)]


@pytest.mark.slow
@pytest.mark.parametrize("version", [None, "v1"])
def test_a_collection_survives_all_that_is_loaded_of_trec_dl(home, version):
    folder = _trec_dl(home)
    if version is not None:
        (folder / "irds_version.txt").write_text(version)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = _run(
        home,
        """
        result = []
        for name in ("msmarco-passage/trec-dl-2019/judged", "msmarco-passage/trec-dl-2020/judged"):
            result += [error_of(docs, name), error_of(docs, name, download=True), load_queries(name), load_qrels(name)]
        """,
    )
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    for message in (*result[:2], *result[4:6]):
        assert f"would delete {folder / 'collection.tsv'}" in message
    assert [len(result[2]), len(result[3]), len(result[6]), len(result[7])] == [1, 2, 1, 2]


@pytest.mark.slow
def test_trec_dl_works_offline(home):
    folder = _trec_dl(home)
    (folder / "irds_version.txt").write_text("v2")
    result = _run(
        home,
        """
        names = ["msmarco-passage/trec-dl-2019/judged", "msmarco-passage/trec-dl-2020/judged"]
        result = [[docs(name), load_queries(name), load_qrels(name)] for name in names]
        """,
    )
    passages = [["0", "", "first passage"], ["1", "", "second pässage"]]
    assert result == [
        [passages, [[query_id, "judged"]], [[query_id, "1", 3, "0"], [query_id, "0", 0, "0"]]]
        for query_id in ("19", "20")
    ]
    assert (folder / "collection.tsv").exists()


@pytest.mark.slow
def test_nothing_is_downloaded_and_the_message_says_where_files_belong(home):
    result = _run(
        home,
        """
        result = [error_of(docs, "msmarco-passage/dev/small"), error_of(load_queries, "msmarco-passage/dev/small"),
                  error_of(load_qrels, "beir/nq"), error_of(load_queries, "dpr-w100/natural-questions/dev"),
                  error_of(docs, "dpr-w100"), error_of(load_queries, "msmarco-passage/trec-dl-2019/judged"),
                  error_of(docs, "vaswani"), error_of(docs, "nyt"),
                  error_of(load_qrels, "msmarco-passage/trec-dl-2019/judged"),
                  error_of(load_queries, "msmarco-passage/trec-dl-2020"),
                  error_of(load_qrels, "msmarco-passage/trec-dl-2020/judged"),
                  error_of(load_answers, "dpr-w100/trivia-qa/dev"), error_of(docs, "beir/scifact")]
        """,
    )
    places = [
        "msmarco-passage/collection.tsv",
        "msmarco-passage/dev/small/queries.tsv",
        "beir/nq/test.qrels",
        "dpr-w100/nq-dev",
        "dpr-w100/docs.tsv.gz",
        "msmarco-passage/trec-dl-2019",
        "vaswani",
        "nyt",
        "msmarco-passage/trec-dl-2019/qrels",
        "msmarco-passage/trec-dl-2020/queries.tsv.gz",
        "msmarco-passage/trec-dl-2020/qrels",
        "dpr-w100/tqa-dev",
        "beir/scifact",
    ]
    for message, place in zip(result, places, strict=True):
        assert message.startswith("ir_datasets cannot read ")
        assert f"{home / place}" in message
        assert "is missing" in message
        assert "\n" not in message
    assert "allow its download (--download, download=True) from https://" in result[0]
    # BEIR's documents leave the start of a store, which the next try does not take for whole.
    assert not [path for path in home.rglob("*") if path.is_file() and path.parent.name != "docs.pklz4"]


@pytest.mark.slow
def test_dpr_with_answers_and_beir_from_its_archive_work_offline(home):
    folder = _dpr_docs(home)
    (folder / "nq-dev").mkdir()
    (folder / "nq-dev" / "queries.tsv").write_text("0\twho wrote dune\tFrank Herbert\tHerbert\n")
    (folder / "nq-dev" / "qrels").write_text("0 0 1 2\n0 0 5 -1\n")
    (folder / "tqa-dev").mkdir()
    (folder / "tqa-dev" / "queries.tsv").write_text("0\twhich planet\tArrakis\n")
    (folder / "tqa-dev" / "qrels").write_text("0 0 1 1\n")
    (home / "beir" / "nq").mkdir(parents=True)
    (home / "beir" / "nq" / "irds_version.txt").write_text("v2")
    with zipfile.ZipFile(home / "beir" / "nq" / "source.zip", "w") as archive:
        archive.writestr("nq/corpus.jsonl", '{"_id": "d", "title": "Title", "text": "text", "metadata": {}}\n')
        archive.writestr("nq/queries.jsonl", '{"_id": "q", "text": "query", "metadata": {}}\n')
        archive.writestr("nq/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\td\t1\n")
    result = _run(
        home,
        """
        dpr, trivia = "dpr-w100/natural-questions/dev", "dpr-w100/trivia-qa/dev"
        result = [docs(trivia), load_queries(trivia), load_qrels(trivia), load_answers(trivia),
                  docs(dpr), load_queries(dpr), load_qrels(dpr), load_answers(dpr),
                  docs("beir/nq"), load_queries("beir/nq"), load_qrels("beir/nq")]
        """,
    )
    assert result == [
        [["1", "Title", "some text"]],
        [["0", "which planet"]],
        [["0", "1", 1, "0"]],
        {"0": ["Arrakis"]},
        [["1", "Title", "some text"]],
        [["0", "who wrote dune"]],
        [["0", "1", 2, "0"], ["0", "5", -1, "0"]],
        {"0": ["Frank Herbert", "Herbert"]},
        [["d", "Title", "text"]],
        [["q", "query"]],
        [["q", "d", 1, "0"]],
    ]


@pytest.mark.slow
def test_question_files_of_dpr_get_ids(home):
    _dpr_docs(home)
    home.with_name("nq-test.qa.csv").write_text("who wrote dune\t['Frank Herbert', \"Herbert\"]\n")
    home.with_name("trivia-test.qa.csv.gz").write_bytes(gzip.compress(b"which planet\t['Arrakis']\n"))
    result = _run(
        home,
        """
        folder = Path(sys.argv[1]).parent
        nq, trivia = "dpr-w100/natural-questions/test", "dpr-w100/trivia-qa/test"
        for _ in range(2):
            register_dpr_questions(nq, folder / "nq-test.qa.csv")
            register_dpr_questions(trivia, str(folder / "trivia-test.qa.csv.gz"), corpus_id="dpr-w100")
        import ir_datasets
        dataset = ir_datasets.load(nq)
        result = [docs(nq), load_queries(nq), load_answers(nq), load_queries(trivia), load_answers(trivia),
                  error_of(load_qrels, nq), load_irds(nq).has_qrels(), list(dataset.queries_iter()),
                  list(dataset.queries_cls()._fields), [doc.doc_id for doc in dataset.docs_iter()],
                  dataset.queries.lookup("0").default_text(), dataset.docs_namespace()]
        """,
    )
    assert result == [
        [["1", "Title", "some text"]],
        [["0", "who wrote dune"]],
        {"0": ["Frank Herbert", "Herbert"]},
        [["0", "which planet"]],
        {"0": ["Arrakis"]},
        "the ir_datasets id 'dpr-w100/natural-questions/test' has no qrels: choose one that has",
        False,
        [["0", "who wrote dune", ["Frank Herbert", "Herbert"]]],
        ["query_id", "text", "answers"],
        ["1"],
        "who wrote dune",
        "dpr-w100",
    ]


@pytest.mark.slow
def test_registering_reads_nothing_and_refuses_ids_that_are_taken(home):
    home.with_name("bad.csv").write_text("no tab\n")
    home.with_name("other.csv").write_text("q\t['a']\n")
    folder = _msmarco(home)
    result = _run(
        home,
        """
        os.chdir(Path(sys.argv[1]).parent)
        register_dpr_questions("mine/test", "bad.csv")
        register_dpr_questions("mine/marco", "other.csv", corpus_id="msmarco-passage/dev/small")
        os.chdir("/")
        folder = Path(sys.argv[1]).parent
        result = [error_of(load_queries, "mine/test"), error_of(docs, "mine/test"),
                  error_of(register_dpr_questions, "mine/test", folder / "other.csv"),
                  error_of(register_dpr_questions, "mine/test", folder / "bad.csv", corpus_id="beir/nq"),
                  error_of(register_dpr_questions, "dpr-w100/trivia-qa/dev", folder / "other.csv"),
                  error_of(register_dpr_questions, "mine/new", folder / "other.csv", corpus_id="no-such"),
                  error_of(docs, "mine/marco"), error_of(load_qrels, "mine/marco"), load_queries("mine/marco")]
        """,
    )
    assert result[0].startswith(f"{home.with_name('bad.csv')}:1: got 1 tab-separated columns")
    assert str(home / "dpr-w100" / "docs.tsv.gz") in result[1]
    assert "is missing. Put it there, or allow its download" in result[1]
    for message in result[2:4]:
        assert "'mine/test' is already registered" in message and "choose another id" in message
    assert result[4] == "'dpr-w100/trivia-qa/dev' is already an id of ir_datasets: choose another"
    assert result[5].startswith("'no-such' is neither a file or folder nor an ir_datasets id")
    assert f"would delete {folder / 'collection.tsv'}" in result[6]
    assert "has no qrels" in result[7]
    assert result[8] == [["0", "q"]]
    assert (folder / "collection.tsv").exists()
    assert not (home / "dpr-w100" / "docs.tsv.gz").exists()


@pytest.mark.slow
def test_unknown_ids_and_ids_without_documents_are_clear_errors(home):
    result = _run(
        home,
        """
        result = [error_of(open_corpus, ["msmarco-pasage"]), error_of(load_queries, "no-such-thing-at-all"),
                  error_of(docs, "msmarco-qna/train", format="irds"), error_of(load_queries, "msmarco-passage")]
        """,
    )
    assert (
        "'msmarco-pasage' is neither a file or folder nor an ir_datasets id: did you mean msmarco-passage" in result[0]
    )
    assert "https://ir-datasets.com" in result[1]
    assert "is missing" in result[2]
    assert "has no queries: choose one that has" in result[3]


@pytest.mark.slow
def test_damaged_local_files_become_our_errors(home):
    folder = home / "dpr-w100"
    folder.mkdir(parents=True)
    packed = gzip.compress(b"id\ttext\ttitle\n" + b"1\tsome text\tTitle\n" * 1000)
    (folder / "docs.tsv.gz").write_bytes(packed[:-10])
    assert "ir_datasets cannot read dpr-w100: EOFError" in _run(home, "result = error_of(docs, 'dpr-w100')")


@pytest.mark.slow
def test_ir_datasets_outside_of_our_calls_is_left_as_it_was(home):
    folder = _msmarco(home)
    result = _run(
        home,
        """
        import ir_datasets
        documents = open_corpus(["msmarco-passage"])
        error_of(lambda: next(iter(documents)))
        touched = []
        ir_datasets.util.RequestsDownload.stream = lambda self: touched.append(self.url)
        try:
            next(ir_datasets.load("msmarco-passage").docs_iter())
        except Exception as error:
            pass
        result = touched
        """,
    )
    assert result, "its own users still download"
    assert not (folder / "collection.tsv").exists(), "and it still is as careless as it was with them"


@pytest.mark.slow
def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    environment = os.environ | {"IR_DATASETS_HOME": str(tmp_path / "file" / "home")}
    code = PRELUDE + "print(error_of(load_irds, 'vaswani'))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "set IR_DATASETS_HOME to one you can write to" in done.stdout


@pytest.mark.slow
def test_the_size_of_the_documents_tells_a_part_from_the_whole(home):
    folder = _msmarco(home)
    (folder / "irds_version.txt").write_text("v2")
    code = """
    dataset = load_irds("msmarco-passage/dev/small")
    before = dataset.docs_bytes()
    with open(Path(os.environ["IR_DATASETS_HOME"]) / "msmarco-passage" / "collection.tsv", "a") as file:
        file.write("2\\tthird passage\\n")
    result = [before, dataset.docs_bytes(), load_irds("dpr-w100").docs_bytes(), load_irds("beir/scifact").docs_bytes()]
    """
    before, after, absent, unknown = _run(home, code)
    assert after - before == len("2\tthird passage\n")
    assert absent is None and unknown is None


@pytest.mark.slow
def test_an_error_is_not_preceded_by_the_messages_of_ir_datasets(home):
    code = """
        result = [error_of(docs, "beir/scifact"), error_of(load_queries, "beir/scifact"), error_of(docs, "vaswani")]
        """
    result, log = _run_and_log(home, code)
    assert all("is missing" in message for message in result)
    assert log == ""


@pytest.mark.slow
def test_queries_in_a_file_need_no_folder_of_ir_datasets(tmp_path):
    home = tmp_path / "file" / "home"
    home.parent.write_text("a file, so that no folder can be created in it")
    (tmp_path / "queries.tsv").write_text("1\twho wrote dune\n")
    (tmp_path / "qrels.tsv").write_text("1\t7\t1\n")
    environment = os.environ | {"IR_DATASETS_HOME": str(home), "HOME": str(home)}
    code = """
import sys
from elasticdenser.datasets import load_qrels, load_queries
from elasticdenser.datasets.runs import read_run
query, = load_queries("queries.tsv")
assert (query.query_id, query.text, query.default_text()) == ("1", "who wrote dune", "who wrote dune")
assert len(load_qrels("qrels.tsv")) == 1
assert "ir_datasets" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=120)
