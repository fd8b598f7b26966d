"""Corpora of files, folders and programs."""

import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zstd_module import zstd

from elasticdenser.datasets import Corpus, Passage, as_corpus, open_corpus
from elasticdenser.datasets.formats.tsv import unquoted
from elasticdenser.errors import BadInputError


def _jsonl(path: Path, *records: object) -> Path:
    data = "".join(json.dumps(record) + "\n" for record in records).encode()
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".zst":
        data = zstd.compress(data)
    path.write_bytes(data)
    return path


def _ids(corpus: Corpus) -> list[str]:
    return [passage.doc_id for passage in corpus]


def test_content_is_title_and_text_as_in_beir():
    assert Passage("1", "text", "Title").content == "Title text"
    assert Passage("1", "text").content == "text"
    assert Passage("1", "", "Title").content == "Title"


def test_a_beir_folder_is_read_in_natural_order_of_its_shards(tmp_path):
    _jsonl(tmp_path / "corpus-10.jsonl", {"_id": "c", "text": "x"})
    _jsonl(tmp_path / "corpus-9.jsonl.zst", {"_id": "b", "text": "x"})
    _jsonl(tmp_path / "corpus-1.jsonl.gz", {"_id": "a", "title": "T", "text": "x", "metadata": {"u": 1}})
    _jsonl(tmp_path / "queries.jsonl", {"_id": "q", "text": "not a passage"})
    corpus = open_corpus([tmp_path])
    assert _ids(corpus) == ["a", "b", "c"]
    assert next(iter(corpus)) == Passage("a", "x", "T")
    assert corpus.name == tmp_path.name
    assert _ids(open_corpus([tmp_path], format="beir")) == ["a", "b", "c"]


def test_a_plain_file_and_its_compressed_copy_are_read_once(tmp_path):
    for name in ("corpus.jsonl", "corpus.jsonl.gz"):
        _jsonl(tmp_path / name, {"_id": "a", "text": "x"})
    assert _ids(open_corpus([tmp_path])) == ["a"]


def test_json_lines_may_name_their_fields_in_several_ways(tmp_path):
    path = _jsonl(
        tmp_path / "a.json",
        {"_id": "1", "text": "x", "title": None},
        {"id": 2, "contents": "x"},
        {"doc_id": "3", "text": "", "title": "only a title"},
        {"docid": "4-b", "title": "only a title"},
    )
    path.write_text(path.read_text() + "\n  \n")
    assert list(open_corpus([path])) == [
        Passage("1", "x"),
        Passage("2", "x"),
        Passage("3", "", "only a title"),
        Passage("4-b", "", "only a title"),
    ]


def test_tsv_with_the_header_and_quotes_of_dpr(tmp_path):
    path = tmp_path / "psgs.tsv"
    rows = ["id\ttext\ttitle", '1\t"say ""yes"" now"\t"""A"" to Z"', '2\t"quoted" at its start\tB', '3\t"plain"\tC']
    path.write_text("\n".join(rows) + "\n")
    assert list(open_corpus([path])) == [
        Passage("1", 'say "yes" now', '"A" to Z'),
        Passage("2", '"quoted" at its start', "B"),
        Passage("3", '"plain"', "C"),
    ]


def test_two_column_tsv_is_taken_as_it_is(tmp_path):
    path = tmp_path / "collection.tsv"
    path.write_text('0\t"say ""yes"" now"\n1\tx\u2028y\r\n')
    assert list(open_corpus([path])) == [Passage("0", '"say ""yes"" now"'), Passage("1", "x\u2028y")]


@pytest.mark.slow
@given(st.text())
def test_unquoting_undoes_what_a_csv_writer_does(text):
    quoted = '"' + text.replace('"', '""') + '"'
    assert unquoted(quoted) == (text if '"' in text else quoted)


def test_plain_lines_are_named_after_file_and_line(tmp_path):
    path = tmp_path / "notes.txt.gz"
    path.write_bytes(gzip.compress(b"one\n\n  \nfour \r\n"))
    assert list(open_corpus([path])) == [Passage("notes-1", "one"), Passage("notes-4", "four")]


def test_a_generic_folder_tells_files_of_one_stem_apart(tmp_path):
    for folder in ("a", "b", ".hidden"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "notes.txt").write_text("line\n")
    (tmp_path / "other.txt").write_text("line\n")
    _jsonl(tmp_path / "x.jsonl.gz", {"id": "j", "text": "x"})
    (tmp_path / "README.md").write_text("not data")
    corpus = open_corpus([tmp_path])
    assert _ids(corpus) == ["a/notes.txt", "b/notes.txt", "other.txt", "j"]
    assert _ids(open_corpus([tmp_path], format="lines")) == ["a/notes-1", "b/notes-1", "other-1"]
    assert _ids(open_corpus([tmp_path], format="jsonl")) == ["j"]


def test_sources_follow_each_other_and_can_be_read_again(tmp_path):
    first = _jsonl(tmp_path / "b.jsonl", {"id": "1", "text": "x"})
    second = tmp_path / "a.tsv"
    second.write_text("2\tx\n")
    corpus = open_corpus([first, second])
    assert _ids(corpus) == _ids(corpus) == ["1", "2"]
    assert corpus.name == "b+a"
    assert [(Path(path).name, line) for path, line, _ in corpus.with_locations()] == [("b.jsonl", 1), ("a.tsv", 1)]


def test_a_format_can_be_forced(tmp_path):
    path = tmp_path / "data.dat"
    path.write_text("1\tx\n")
    with pytest.raises(BadInputError, match=r"data\.dat: the file's name does not tell its format"):
        open_corpus([path])
    assert list(open_corpus([path], format="tsv")) == [Passage("1", "x")]
    assert list(open_corpus([path], format="lines")) == [Passage("data-1", "1\tx")]
    with pytest.raises(BadInputError, match="format 'xml' is unknown"):
        open_corpus([path], format="xml")
    with pytest.raises(BadInputError, match="the format beir is a folder"):
        open_corpus([path], format="beir")


BAD_JSON = [
    (b"{oops", "not JSON", "not JSON .*expected one JSON object a line"),
    (b"[" * 100_000, "not JSON", "not JSON"),
    (b'["a"]', "not a JSON object", "got a JSON array, expected an object"),
    (b"null", "not a JSON object", "got a JSON null"),
    (b'{"text": "x"}', "no id", "no '_id' or 'id' .* or 'pid' in the record; its fields are text"),
    (b'{"_id": " ", "text": "x"}', "no id", "the id is empty"),
    (b'{"_id": 1.5, "text": "x"}', "bad id", "'_id' is a JSON number, expected a string or an integer"),
    (b'{"_id": true, "text": "x"}', "bad id", "'_id' is a JSON boolean"),
    (b'{"_id": "a\\tb", "text": "x"}', "bad id", "holds white space, which run files cannot hold"),
    (b'{"_id": "a\\n", "text": "x"}', "bad id", "holds white space, which run files cannot hold"),
    (b'{"_id": "a", "text": " \\n"}', "empty text", "passage 'a' has no text"),
    (b'{"_id": "a"}', "no text", "no 'text' or 'contents' in the record"),
    (b'{"_id": "a", "text": ["x"]}', "bad text", "'text' is a JSON array, expected a string"),
    (b'{"_id": "a", "text": "x", "title": 3}', "bad title", "'title' is a JSON number"),
    (b'{"_id": "a", "text": "\\ud800"}', "not UTF-8", "surrogate"),
    (b'{"_id": "a", "text": "\xff"}', "not UTF-8", "byte 0xff at column 23 is not UTF-8"),
]


@pytest.mark.parametrize(("line", "reason", "message"), BAD_JSON)
def test_bad_json_lines_are_named_or_counted(tmp_path, line, reason, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"_id": "good", "text": "x"}\n' + line + b'\n{"_id": "too", "text": "x"}\n')
    with pytest.raises(BadInputError, match=rf"a\.jsonl:2: .*{message}") as caught:
        list(open_corpus([path]))
    assert "\n" not in str(caught.value)
    lenient = open_corpus([path], skip_bad=True)
    assert _ids(lenient) == _ids(lenient) == ["good", "too"]
    assert lenient.skipped.counts == {reason: 1}
    assert lenient.skipped.messages[0].startswith(f"{path}:2: ")


@pytest.mark.parametrize(
    ("line", "message"),
    [("1", "got 1 tab-separated columns"), ("1\ta\tb\tc", "got 4"), ("\tx", "the id is empty"), ("1\t ", "no text")],
)
def test_bad_tsv_lines_are_named(tmp_path, line, message):
    path = tmp_path / "a.tsv"
    path.write_text(f"0\tx\n{line}\n")
    with pytest.raises(BadInputError, match=rf"a\.tsv:2: .*{message}"):
        list(open_corpus([path]))


def test_of_many_bad_lines_five_are_kept_in_full(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("{\n" * 20 + "[]\n" * 3)
    corpus = open_corpus([path], skip_bad=True)
    assert list(corpus) == []
    assert corpus.skipped.counts == {"not JSON": 20, "not a JSON object": 3}
    assert (corpus.skipped.total, len(corpus.skipped.messages)) == (23, 5)


def test_skipping_bad_lines_does_not_skip_broken_archives(tmp_path):
    path = _jsonl(tmp_path / "a.jsonl.gz", *({"id": n, "text": "x" * n} for n in range(1, 300)))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInputError, match="the archive is truncated"):
        list(open_corpus([path], skip_bad=True))


@pytest.mark.parametrize("source", ["absent.jsonl", "absent.txt.gz", "./absent", "/absent", Path("absent.tsv")])
def test_a_missing_file_is_an_error_at_once(source):
    with pytest.raises(BadInputError, match="no such file or folder"):
        open_corpus([source], skip_bad=True)


def test_folders_without_passages_are_errors(tmp_path):
    with pytest.raises(BadInputError, match=r"holds no file to read: .* got nothing"):
        open_corpus([tmp_path])
    _jsonl(tmp_path / "queries.jsonl", {"_id": "q", "text": "x"})
    (tmp_path / "qrels").mkdir()
    with pytest.raises(BadInputError, match="BEIR folder of queries and qrels, but no corpus"):
        open_corpus([tmp_path])
    with pytest.raises(BadInputError, match="no corpus"):
        open_corpus([tmp_path], format="beir")
    for nothing in ([], [""], ""):
        with pytest.raises(BadInputError, match="no corpus was given"):
            open_corpus(nothing)


def test_a_pipe_is_refused_because_a_corpus_is_read_twice(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(BadInputError, match="pipe or device"):
        open_corpus([tmp_path / "pipe.jsonl"])


def test_passages_of_a_program_make_a_corpus():
    corpus = Corpus.from_passages("mine", lambda: [Passage("1", "x"), Passage("2", " ")])
    with pytest.raises(BadInputError, match="mine:2: passage '2' has no text"):
        list(corpus)
    assert _ids(Corpus.from_passages("mine", lambda: [Passage("1", "x")])) == ["1"]


def test_a_huge_field_that_is_not_read_is_not_parsed(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"_id": "a", "text": "x", "numbers": [' + "1," * 2_000_000 + "1]}\n")
    tracemalloc.start()
    try:
        assert list(open_corpus(path)) == [Passage("a", "x")]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * path.stat().st_size


@pytest.mark.slow
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    path = tmp_path / "corpus.jsonl.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        for n in range(200_000):
            file.write(f'{{"_id": "{n}", "title": "t{n}", "text": "passage {n} of many, all alike, more or less"}}\n')
    corpus = open_corpus([path])
    tracemalloc.start()
    try:
        count = sum(1 for _ in corpus)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 200_000
    assert peak < 20 << 20


def test_the_import_is_light():
    code = (
        "import sys, elasticdenser.datasets;"
        "assert not {'ir_datasets', 'ir_measures', 'backports.zstd', 'torch', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_real_beir_folders_are_read(data):
    corpus = open_corpus([data / "nq"])
    assert corpus.name == "nq"
    passages = list(corpus)
    assert len(passages) == 11_297
    assert passages[0].doc_id == "nq-0"
    assert passages[0].title == "Appendix (anatomy)"
    both = open_corpus([data / "nq", data / "msmarco"])
    assert sum(1 for _ in both) == 11_297 + 30_005


@pytest.mark.parametrize("field", ["_id", "title", "text"])
def test_passages_in_memory_that_are_not_unicode_are_refused(field):
    record = {"_id": "d1", "title": "a", "text": "b", field: "x\ud800"}
    with pytest.raises(BadInputError, match="passage number 1: holds half of a surrogate pair"):
        as_corpus([record])
