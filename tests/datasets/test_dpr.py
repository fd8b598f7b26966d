"""Question files of DPR."""

import gzip
from pathlib import Path

import pytest

from elasticdenser.datasets import (
    load_answers,
    load_queries,
    open_corpus,
    read_dpr_questions,
    register_dpr_questions,
)
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.errors import BadInputError

# The forms that occur in the published files: a bare list, one quoted by a CSV writer, a question with quotes.
LINES = (
    "who sings does he love me\t['Linda Davis', \"Reba's band\"]\n"
    'what is \u201cx\u201d\t"[""a"", \'b, c\']"\n'
    '"Who said ""oh""?"\t[\'Pâris\']\r\n'
)
QUESTIONS = [
    ("0", "who sings does he love me", ("Linda Davis", "Reba's band")),
    ("1", "what is \u201cx\u201d", ("a", "b, c")),
    ("2", 'Who said "oh"?', ("Pâris",)),
]


def _write(path: Path, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["nq-test.qa.csv", "trivia-test.qa.csv.gz", "own.csv"])
def test_questions_and_answers(tmp_path, name):
    path = _write(tmp_path / name, LINES)
    assert read_dpr_questions(str(path)) == QUESTIONS
    assert load_queries(path) == [(query_id, text) for query_id, text, _ in QUESTIONS]
    assert load_answers(path) == {query_id: list(answers) for query_id, _, answers in QUESTIONS}
    with pytest.raises(BadInputError, match="the split 'dev' was requested"):
        load_queries(path, split="dev")


def test_ids_are_line_numbers_also_after_a_blank_line(tmp_path):
    path = _write(tmp_path / "a.csv", "one\t['1']\n\nthree\t['3']")
    assert [question.query_id for question in read_dpr_questions(path)] == ["0", "2"]


def test_a_list_is_read_and_never_run(tmp_path):
    target = tmp_path / "made"
    path = _write(tmp_path / "a.csv", f"q\t[__import__('pathlib').Path({str(target)!r}).touch()]\n")
    with pytest.raises(BadInputError, match=r"a\.csv:1: the answers are"):
        read_dpr_questions(path)
    assert not target.exists()


@pytest.mark.filterwarnings("error")
def test_regular_expressions_keep_their_escapes(tmp_path):
    path = _write(tmp_path / "a.csv", "q\t['New\\s?York', '\\\\d+']\n")
    assert read_dpr_questions(path)[0].answers == (r"New\s?York", r"\d+")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no question: expected a question, a tab and a list"),
        ("\n \n", "holds no question"),
        ("ok\t['x']\nq\n", ":2: got 1 tab-separated columns, expected a question, a tab"),
        ("q\t['x']\tmore\n", ":1: got 3 tab-separated columns"),
        (" \t['x']\n", ":1: the question is empty"),
        ("q\tx\n", ":1: the answers are 'x'"),
        ("q\t['x'\n", r":1: the answers are \"\['x'\""),
        ("q\t'x'\n", ":1: .*not a list of strings"),
        ("q\t[1984]\n", ":1: .*not a list of strings"),
        ("q\t[]\n", ":1: the question has no answer: add one, or leave the line blank"),
        ("q\t[' ']\n", ":1: the question has no answer"),
        ("q\t['\\ud800']\n", ":1: an answer holds half of a surrogate pair"),
        ("q\t" + "[" * 5000 + "\n", ":1: the answers are"),
        ("\"q\t['x']\nr\t['y']\n", ":1: a quote that opens a column is not closed"),
        ("q\rr\t['x']\n", ":1: cannot be split into columns"),
        (b"caf\xe9\t['x']\n", ":1: byte 0xe9 at column 4 is not UTF-8"),
    ],
)
def test_bad_files_are_named_by_file_and_line(tmp_path, text, message):
    path = _write(tmp_path / "a.qa.csv", text)
    for load in (read_dpr_questions, load_queries, load_answers):
        with pytest.raises(BadInputError, match=r"a\.qa\.csv" + f".*{message}"):
            load(path)


def test_a_missing_or_damaged_file_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("nq-test.qa.csv", "trivia-test.qa.csv.gz"):
        assert not is_dataset_id(name)
        for load in (read_dpr_questions, load_queries, load_answers):
            with pytest.raises(BadInputError, match=f"{name}: no such file"):
                load(name)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(LINES.encode())[:-9])
    with pytest.raises(BadInputError, match="the archive is truncated"):
        read_dpr_questions("cut.csv.gz")


def test_questions_are_no_corpus(tmp_path):
    path = _write(tmp_path / "nq-test.qa.csv", LINES)
    with pytest.raises(BadInputError, match=r"nq-test\.qa\.csv:1: got the columns .*expected a header"):
        list(open_corpus([path]))
    path.unlink()
    with pytest.raises(BadInputError, match="no such file or folder"):
        open_corpus([str(path)])


@pytest.mark.parametrize("dataset_id", ["", "two words", "x.csv", "/x", "folder/"])
def test_an_id_that_looks_like_a_file_cannot_be_registered(tmp_path, dataset_id):
    path = _write(tmp_path / "a.csv", LINES)
    with pytest.raises(BadInputError, match="expected one like dpr-w100/trivia-qa/test"):
        register_dpr_questions(dataset_id, path)


def test_a_file_that_is_not_there_cannot_be_registered(tmp_path):
    with pytest.raises(BadInputError, match=r"none\.csv: no such file"):
        register_dpr_questions("dpr-w100/natural-questions/test", tmp_path / "none.csv")
