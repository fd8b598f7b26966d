"""SQLite databases as corpora."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from elasticdenser.datasets import FieldNames, Passage, open_corpus
from elasticdenser.errors import BadInputError


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "my docs.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, title TEXT, body TEXT, url TEXT)")
        rows = [(1, "T", "one", "u"), (2, None, "two?query=", "v")]
        connection.executemany("INSERT INTO docs VALUES (?, ?, ?, ?)", rows)
    return path


def _passages(source, **names) -> list[Passage]:
    return list(open_corpus(source, fields=FieldNames(**names)))


BOTH = [Passage("1", "one", "T"), Passage("2", "two?query=")]


def test_a_query_is_a_corpus(database):
    source = f"sqlite:{database}?query=SELECT id, title, body AS text FROM docs WHERE body != '?query='"
    corpus = open_corpus(source)
    assert list(corpus) == list(corpus) == BOTH
    assert corpus.name == "my docs"
    assert _passages(f"sqlite:{database}?query=SELECT * FROM docs", text="body") == BOTH


def test_the_only_table_of_a_file_is_read_without_a_query(database):
    remarks: list[str] = []
    corpus = open_corpus(database, fields=FieldNames(text="body"), remark=remarks.append)
    assert list(corpus) == BOTH
    assert remarks[0].startswith("not read: url;")
    assert _passages(f"sqlite:{database}", text="url+body")[0].text == "u\none"
    other = database.rename(database.with_suffix(".data"))
    assert list(open_corpus(other, format="sqlite", fields=FieldNames(text="body"))) == BOTH


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELEC 1", r"cannot be read by the query 'SELEC 1' \(near \"SELEC\": syntax error\)"),
        ("SELECT nope FROM docs", "no such column: nope"),
        ("SELECT id FROM docs; SELECT 1", "one statement at a time"),
        ("DELETE FROM docs", "does more than read: expected a SELECT"),
        ("ATTACH 'other.db' AS other", "does more than read"),
        ("PRAGMA user_version = 3", "does more than read"),
        ("-- nothing", "returns no rows: expected a SELECT"),
        ("SELECT id, id FROM docs", "two columns are called 'id'"),
        ("SELECT id, title, body FROM docs", r"my docs\.db:1: no 'text' or 'contents' in the record"),
        ("SELECT title AS text FROM docs", r":1: no '_id' or 'id' .*in the record"),
        ("SELECT id, x'00ff' AS text FROM docs", "'text' is a bytes, expected a string"),
        ("SELECT id, CAST(x'ff' AS TEXT) AS text FROM docs", ":1: a value of this row is not UTF-8"),
        ("SELECT * FROM docs WHERE id = 9", "holds no passages"),
    ],
)
def test_wrong_queries_are_errors_and_change_nothing(database, tmp_path, query, message):
    from elasticdenser.datasets import scan_corpus

    before = database.read_bytes()
    with pytest.raises(BadInputError, match=message):
        scan_corpus(open_corpus(f"sqlite:{database}?query={query}"), tmp_path / "scratch")
    assert database.read_bytes() == before
    assert not (tmp_path / "other.db").exists()


def test_a_database_of_several_tables_needs_a_query(database, tmp_path):
    with closing(sqlite3.connect(database)) as connection:
        connection.execute('CREATE TABLE "odd ""name" (x)')
    with pytest.raises(
        BadInputError, match=r'the database has 2 tables \(docs, odd "name\), expected one: give a query'
    ):
        _passages(database)
    sqlite3.connect(tmp_path / "empty.db").close()
    with pytest.raises(BadInputError, match="the database has no table"):
        _passages(tmp_path / "empty.db")


def test_files_that_are_no_database_are_errors(tmp_path):
    (tmp_path / "a.db").write_bytes(b"no database" * 100)
    with pytest.raises(BadInputError, match=r"a\.db: this is no SQLite database"):
        _passages(tmp_path / "a.db")
    with pytest.raises(BadInputError, match=r"absent\.db: no such file"):
        _passages(f"sqlite:{tmp_path / 'absent.db'}?query=SELECT 1")
    assert not (tmp_path / "absent.db").exists()


def test_rows_are_streamed(database):
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id, 'x' AS text FROM n"
    passages = iter(open_corpus(f"sqlite:{database}?query={numbers}"))  # without an end
    assert [next(passages).doc_id for _ in range(3)] == ["1", "2", "3"]


def test_a_stream_can_go_on_in_another_thread(database):
    passages = iter(open_corpus(database, fields=FieldNames(text="body")))
    first = next(passages)
    with ThreadPoolExecutor(1) as pool:
        assert [first, *pool.submit(list, passages).result()] == BOTH


def test_a_wrong_row_can_be_skipped(database):
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE docs SET body = CAST(x'ff' AS TEXT) WHERE id = 1")
    corpus = open_corpus(database, fields=FieldNames(text="body"), skip_bad=True)
    assert list(corpus) == BOTH[1:]
    assert corpus.skipped.counts == {"not UTF-8": 1}
