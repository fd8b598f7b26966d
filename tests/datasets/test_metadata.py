"""Metadata of records: which fields are kept, their types, and their checksum."""

import datetime
import json

import numpy as np
import pytest

from elasticdenser.datasets import Passage, as_corpus, open_corpus, scan_corpus
from elasticdenser.datasets.metadata import FieldType, MetadataSelection
from elasticdenser.datasets.metadata.dates import parse_date
from elasticdenser.errors import BadInputError

RECORDS = [
    {"_id": "a", "text": "x", "section": "ops", "date": "2026-01-01", "price": 3, "tags": ["p", "q"], "ok": True},
    {"_id": "b", "text": "y", "section": " ", "date": "2026-01-02T10:00:00Z", "price": 3.5, "tags": [], "ok": None},
]


@pytest.fixture
def jsonl(tmp_path):
    def write(*records):
        path = tmp_path / "corpus.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    return write


def types_of(corpus, folder):
    return {name: str(kind) for name, kind in scan_corpus(corpus, folder).metadata.items()}


def test_no_field_is_kept_unless_it_is_asked_for(jsonl, tmp_path):
    corpus = open_corpus(jsonl(*RECORDS))
    assert [passage.metadata for passage in corpus] == [None, None]
    assert types_of(corpus, tmp_path) == {}


def test_all_fields_are_kept_with_inferred_types(jsonl, tmp_path):
    corpus = open_corpus(jsonl(*RECORDS), metadata="all")
    first, second = (passage.metadata for passage in corpus)
    assert first == {key: value for key, value in RECORDS[0].items() if key not in ("_id", "text")}
    assert second == {"date": "2026-01-02T10:00:00Z", "price": 3.5}
    assert types_of(corpus, tmp_path) == {
        "section": "text", "date": "date", "price": "number", "tags": "text[]", "ok": "boolean"
    }  # fmt: skip


def test_declared_types_convert_the_values_of_text_files(tmp_path):
    (tmp_path / "a.csv").write_text("id,text,price,ok,day,tag\n1,hello,12.50,True,2026-01-31,red\n2,you,,,,\n")
    corpus = open_corpus(tmp_path / "a.csv", metadata="price:number,ok:boolean,day:date,tag:text[]")
    assert [passage.metadata for passage in corpus] == [
        {"price": 12.5, "ok": True, "day": "2026-01-31", "tag": ["red"]},
        None,
    ]


def test_fields_of_a_nested_object_are_read_too(jsonl):
    records = (
        {"_id": "a", "text": "x", "metadata": {"lang": "de", "year": 1999}},
        {"_id": "b", "text": "y", "lang": "en"},
    )
    corpus = open_corpus(jsonl(*records), metadata="lang,year")
    assert [passage.metadata for passage in corpus] == [{"lang": "de", "year": 1999}, {"lang": "en"}]
    assert [passage.metadata for passage in open_corpus(jsonl(*records), metadata="all")] == [
        {"lang": "de", "year": 1999},
        {"lang": "en"},
    ]


def test_objects_are_left_out_with_all_and_refused_by_name(jsonl):
    path = jsonl({"_id": "a", "text": "x", "place": {"city": "Ulm"}, "n": 1})
    remarks = []
    assert [passage.metadata for passage in open_corpus(path, metadata="all", remark=remarks.append)] == [{"n": 1}]
    assert remarks[0].startswith("not read: place;")
    with pytest.raises(BadInputError, match=r"jsonl:1: record 'a', field 'place': got an object, expected text"):
        list(open_corpus(path, metadata="place"))


def test_text_of_dates_and_other_text_is_text(jsonl, tmp_path):
    records = (
        {"_id": str(n), "text": "x", "when": when} for n, when in enumerate(["2026-01-01", "soon", "2026-01-02"])
    )
    assert types_of(open_corpus(jsonl(*records), metadata="when"), tmp_path) == {"when": "text"}


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (1, "n/a", r"got the text 'n/a', expected a number, as in earlier records; .*--metadata f:text\)"),
        ("x", 1, "got the number 1, expected text"),
        (True, 1, "got the number 1, expected true or false"),
        ("x", ["x"], r"got a list of text, expected text, as in earlier records.*--metadata f:text\[\]\)"),
        ([1], ["x"], "got a list of text, expected a list of number"),
        ([1, "x"], 1, "got a list of number and text, expected values of one type"),
    ],
)
def test_a_value_of_another_type_names_record_and_field(jsonl, tmp_path, first, second, message):
    path = jsonl({"_id": "r1", "text": "x", "f": first}, {"_id": "r2", "text": "y", "f": second})
    with pytest.raises(BadInputError, match=rf"jsonl:[12]: record 'r[12]', field 'f': {message}"):
        scan_corpus(open_corpus(path, metadata="f"), tmp_path)


def test_bad_values_of_declared_fields_are_skipped_with_their_lines(jsonl, tmp_path):
    path = jsonl({"_id": "a", "text": "x", "n": 1}, {"_id": "b", "text": "y", "n": "many"})
    corpus = open_corpus(path, metadata="n:number", skip_bad=True)
    assert scan_corpus(corpus, tmp_path).skipped == {"bad metadata": 1}
    with pytest.raises(BadInputError, match=r"record 'b', field 'n': got the text 'many', expected a number"):
        list(open_corpus(path, metadata="n:number"))


def test_values_of_python_numpy_and_passages_are_kept():
    given = {
        "day": datetime.date(2026, 1, 31),
        "moment": datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC),
        "n": np.int64(3),
        "many": np.array([1.5, np.nan]),
        "none": None,
        "nan": float("nan"),
        "big": 1 << 70,
    }
    (passage,) = as_corpus([Passage("a", "x", metadata=given)])
    assert passage.metadata == {
        "day": "2026-01-31", "moment": "2026-01-31T12:00:00+00:00", "n": 3, "many": [1.5], "big": float(1 << 70)
    }  # fmt: skip
    (passage,) = as_corpus([{"_id": "a", "text": "x", "n": 1, "other": 2}], metadata={"n": "number"})
    assert passage.metadata == {"n": 1}


@pytest.mark.parametrize("value", [float("inf"), "a\0b", {"a": 1}, [[1]], b"bytes", 10**400])
def test_values_that_metadata_cannot_hold_are_refused(value):
    with pytest.raises(BadInputError, match=r"record 'a', field 'f': got .*, expected"):
        list(as_corpus([Passage("a", "x", metadata={"f": value})]))


def test_all_may_be_joined_by_declared_fields_and_be_the_name_of_one():
    assert MetadataSelection.parse("all,n:number") == MetadataSelection({"n": FieldType("number")}, keeps_all=True)
    assert MetadataSelection.parse("all:text").types == MetadataSelection.parse({"all": "text"}).types
    assert not MetadataSelection.parse({"all": None}).keeps_all and not MetadataSelection.parse(None)


def test_too_many_fields_are_refused(tmp_path):
    with pytest.raises(BadInputError, match="got more than 1,000 different fields of metadata: name those to keep"):
        scan_corpus(as_corpus([Passage("a", "x", metadata={f"f{n}": n for n in range(1001)})]), tmp_path)


@pytest.mark.parametrize("selection", ["a:foo", "a,,b", "a,a", ":text", {"a": "list"}])
def test_a_wrong_selection_is_refused(selection):
    with pytest.raises(BadInputError, match=r"expected|twice|without a name"):
        MetadataSelection.parse(selection)


def test_names_that_no_record_has_and_plain_text_are_refused(jsonl, tmp_path):
    with pytest.raises(BadInputError, match=r"no record of the corpus .* has a field 'nope'"):
        list(open_corpus(jsonl(*RECORDS), metadata="section,nope"))
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(BadInputError, match="plain text has no fields: leave out --metadata"):
        open_corpus(tmp_path / "a.txt", metadata="x")
    (tmp_path / "a.csv").write_text("id,text\n1,x\n")
    with pytest.raises(BadInputError, match=r"no record of the corpus 'a' has a field 'x': the fields are id, text"):
        list(open_corpus(tmp_path / "a.csv", metadata="x"))
    (tmp_path / "b.csv").write_text("id,text,x\n2,y,z\n")
    both = open_corpus([tmp_path / "a.csv", tmp_path / "b.csv"], metadata="x")
    assert [passage.metadata for passage in both] == [None, {"x": "z"}]


def test_columns_of_parquet_are_kept(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    day = datetime.date(2026, 1, 31)
    table = pyarrow.table({"id": ["a", "b"], "text": ["x", "y"], "day": [day, None], "tags": [["p"], []], "n": [1, 2]})
    parquet.write_table(table, tmp_path / "a.parquet")
    corpus = open_corpus(tmp_path / "a.parquet", metadata="day,tags")
    assert [passage.metadata for passage in corpus] == [{"day": "2026-01-31", "tags": ["p"]}, None]
    corpus = open_corpus(tmp_path / "a.parquet", metadata="all")
    assert [passage.metadata for passage in corpus] == [{"day": "2026-01-31", "tags": ["p"], "n": 1}, {"n": 2}]


def test_the_checksum_includes_metadata_only_where_there_is_any(jsonl, tmp_path):
    path = jsonl(*RECORDS)
    plain, repeated, other = (
        scan_corpus(open_corpus(path, metadata=metadata), tmp_path).sha256 for metadata in (None, None, "section")
    )
    assert plain == repeated != other
    # As every version has computed it.
    assert plain == scan_corpus(as_corpus([Passage("a", "x"), Passage("b", "y")]), tmp_path).sha256


@pytest.mark.parametrize(
    ("text", "length_us"),
    [
        ("2026-01-31", 86_400_000_000),
        ("2026-01-31T12:00", 1),
        ("2026-01-31 12:00:30.25+02:00", 1),
        ("0001-01-01", 86_400_000_000),
        ("9999-12-31T23:59:59.999999Z", 1),
    ],
)
def test_dates_are_spans_of_time(text, length_us):
    span = parse_date(text)
    assert span.end - span.start == length_us


@pytest.mark.parametrize("text", ["2026", "2026-02-30", "2026-1-1", "20260101", "2026-01-01T25:00", "2026-01-01Z", ""])
def test_other_text_is_no_date(text):
    assert parse_date(text) is None


def test_an_offset_is_taken_into_account():
    assert parse_date("2026-01-31T12:00+02:00") == parse_date("2026-01-31T10:00Z") == parse_date("2026-01-31 10:00")


@pytest.mark.parametrize("spelling", ["text", "number", "boolean[]", "date"])
def test_types_are_spelled_as_they_are_read(spelling):
    assert str(FieldType.parse(spelling)) == spelling
