"""Queries, relevance judgements and answers."""

import gzip
import json
from pathlib import Path

import pytest

from elasticdenser.datasets import load_answers, load_qrels, load_queries
from elasticdenser.errors import BadInputError


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    queries = [{"_id": f"q{n}", "text": f"query {n}", "answers": [f"answer {n}"] * (n % 2)} for n in range(6)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    for split, ids in {"test": (4, 1), "dev": (2, 3), "train": (0,)}.items():
        rows = "".join(f"q{n}\td{n}\t{n}\n" for n in ids)
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + rows)
    return folder


def _ids(queries):
    return [query.query_id for query in queries]


def test_only_the_queries_that_the_split_judges_are_loaded(beir):
    assert load_queries(beir) == [("q1", "query 1"), ("q4", "query 4")]
    assert _ids(load_queries(beir, split="dev")) == ["q2", "q3"]
    assert load_qrels(beir) == [("q4", "d4", 4, "0"), ("q1", "d1", 1, "0")]
    assert load_qrels(str(beir), split="train")[0].relevance == 0
    assert load_answers(beir) == {"q1": ["answer 1"]}


def test_the_default_split_is_test_then_dev_then_the_only_one(beir):
    (beir / "qrels" / "test.tsv").unlink()
    assert _ids(load_queries(beir)) == ["q2", "q3"]
    (beir / "qrels" / "dev.tsv").rename(beir / "qrels" / "valid.tsv")
    for load in (load_queries, load_qrels, load_answers):
        with pytest.raises(BadInputError, match="several splits and no default: choose one of train, valid"):
            load(beir)
    (beir / "qrels" / "valid.tsv").unlink()
    assert _ids(load_queries(beir)) == ["q0"]
    with pytest.raises(BadInputError, match="no split 'valid': choose one of train"):
        load_queries(beir, split="valid")


def test_without_qrels_all_queries_are_loaded(beir):
    for file in (beir / "qrels").iterdir():
        file.unlink()
    (beir / "qrels").rmdir()
    assert len(load_queries(beir)) == 6
    assert sorted(load_answers(beir)) == ["q1", "q3", "q5"]
    with pytest.raises(BadInputError, match="the folder has no qrels"):
        load_qrels(beir)
    with pytest.raises(BadInputError, match=r"no split 'dev': the folder has no qrels/\*\.tsv"):
        load_queries(beir, split="dev")


def test_trec_qrels_without_a_header_are_read(beir, tmp_path):
    (beir / "qrels" / "test.tsv").write_text("q1 0 d1 2\nq1\t0\td2\t-1\n\nq2 Q0 d 0\n")
    expected = [("q1", "d1", 2, "0"), ("q1", "d2", -1, "0"), ("q2", "d", 0, "Q0")]
    assert load_qrels(beir) == expected
    assert load_qrels(beir / "qrels" / "test.tsv") == expected
    packed = tmp_path / "qrels.gz"
    packed.write_bytes(gzip.compress((beir / "qrels" / "test.tsv").read_bytes()))
    assert load_qrels(packed) == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("query-id\tcorpus-id\tscore\nq\td\tone\n", 2, "the score is 'one', expected an integer"),
        ("q 0 d 1.5\n", 1, "the score is '1.5'"),
        ("q\td\n", 1, "got 2 columns: expected 3 columns: query document score"),
        ("q 0 d 1.0\n", 1, "the score is '1.0', expected an integer such as 0, 1 or 2: measures take whole grades"),
        ("q\td e\t1\n", 1, "the id 'd e' holds white space"),
        ("query-id\tcorpus-id\tscore\nq 0 d 1\n", 2, "got 4 columns"),
        ("q 0 d 1\nq 0 e 1\nq d 1\n", 3, "got 3 columns: expected 4 as in the lines before"),
        ("query-id\tcorpus-id\tscore\nq\t\t1\n", 2, "got an empty column"),
        ("q 0 d 1\nq 0 d 2\n", 2, "'q' and document 'd' were judged 1 before, and 2 here"),
    ],
)
def test_bad_qrels_are_named_by_file_and_line(tmp_path, text, line, message):
    path = tmp_path / "qrels.tsv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=rf"qrels\.tsv:{line}: .*{message}"):
        load_qrels(path)


def test_the_same_judgement_twice_counts_once(tmp_path):
    path = tmp_path / "qrels"
    path.write_text("q 0 d 1\nq 0 d 1\n")
    assert len(load_qrels(path)) == 1


@pytest.mark.parametrize("text", ["", "query-id\tcorpus-id\tscore\n"])
def test_empty_qrels_are_an_error(tmp_path, text):
    path = tmp_path / "qrels.tsv"
    path.write_text(text)
    with pytest.raises(BadInputError, match="the file holds no judgement"):
        load_qrels(path)


@pytest.mark.parametrize("name", ["queries.jsonl.gz", "queries.tsv", "queries.txt"])
def test_queries_are_read_from_files(tmp_path, name):
    path = tmp_path / name
    data = {
        "queries.jsonl.gz": gzip.compress(b'{"qid": 1, "query": "who"}\n{"_id": "2", "text": "what"}\n'),
        "queries.tsv": b"1\twho\n2\twhat\r\n",
        "queries.txt": b"who\n\nwhat\n",
    }[name]
    path.write_bytes(data)
    ids = ["queries-1", "queries-3"] if name.endswith("txt") else ["1", "2"]
    assert load_queries(path) == list(zip(ids, ["who", "what"], strict=True))
    with pytest.raises(BadInputError, match="the split 'dev' was requested, but"):
        load_queries(path, split="dev")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.tsv", "1\tx\n1\ty\n", ":2: query id '1' is already that of line 1"),
        ("a.tsv", "1\tx\ty\n", ":1: got 3 tab-separated columns"),
        ("a.tsv", "1\t \n", ":1: query '1' has no text"),
        ("a.tsv", "\n", "the file holds no query"),
        ("a.jsonl", "{\n", ":1: not JSON"),
        ("a.jsonl", '{"_id": "1"}\n', ":1: no 'text' or 'query' or 'question'"),
        ("a.jsonl", '{"_id": "1", "text": "x", "answers": "y"}\n', ":1: 'answers' is not a list of strings"),
        ("a.dat", "<q/>", "the file's name does not tell its format"),
    ],
)
def test_bad_queries_are_named_by_file_and_line(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(BadInputError, match=name + ".*" + message):
        load_queries(path)


def test_judged_queries_that_are_missing_are_an_error(beir):
    with (beir / "qrels" / "test.tsv").open("a") as file:
        file.write("other\td\t1\n")
    with pytest.raises(BadInputError, match=r"test\.tsv: judges 1 queries that .*queries\.jsonl lacks, first 'other'"):
        load_queries(beir)


def test_missing_files_and_answers_are_errors(beir, tmp_path):
    with pytest.raises(BadInputError, match="no such file"):
        load_queries(tmp_path / "absent.tsv")
    with pytest.raises(BadInputError, match="no such file"):
        load_qrels("absent.tsv")
    with pytest.raises(BadInputError, match=r"has no queries\.jsonl"):
        load_queries(tmp_path)
    (beir / "queries.jsonl").write_text('{"_id": "q2", "text": "x"}\n{"_id": "q3", "text": "x"}\n')
    with pytest.raises(BadInputError, match=r"no query of .* has answers"):
        load_answers(beir, split="dev")


def test_real_data_sets_are_read(data):
    queries = load_queries(data / "nq")
    qrels = load_qrels(data / "nq", split="dev")
    assert len(queries) == len(qrels) == 2_000
    assert {query.query_id for query in queries} == {qrel.query_id for qrel in qrels}
    assert len(load_queries(data / "nq", split="train")) == 5_441
    assert set(load_answers(data / "nq")) <= {query.query_id for query in queries}
    assert len(load_answers(data / "triviaqa")) == 3_000
    assert len(load_queries(data / "msmarco")) == 43
    assert {qrel.relevance for qrel in load_qrels(data / "msmarco")} == {0, 1, 2, 3}
