"""Fields of records: no text is lost without a word."""

import json
import logging

import pytest

from elasticdenser.datasets import FieldNames, Passage, open_corpus
from elasticdenser.errors import BadInputError


@pytest.fixture
def read(tmp_path):
    """Return a function that writes records to a file and reads them as a corpus, as (passages, remarks)."""

    def function(*records, name="corpus.jsonl", skip_bad=False, **names):
        text = records[0] if name != "corpus.jsonl" else "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / name).write_text(text, encoding="utf-8")
        remarks: list[str] = []
        corpus = open_corpus(tmp_path / name, fields=FieldNames(**names), remark=remarks.append, skip_bad=skip_bad)
        passages = list(corpus)
        assert list(corpus) == passages, "a corpus is read twice"
        return passages, remarks

    return function


@pytest.mark.parametrize("field", ["body", "segment", "abstract", "passage", "Text"])
def test_a_record_whose_text_has_another_name_is_an_error_until_it_is_named(read, field):
    record = {"_id": 1, "title": "a", field: "b"}
    message = rf"corpus\.jsonl:1: no 'text' or 'contents' in the record; its fields are .*{field}.*--text"
    with pytest.raises(BadInputError, match=message):
        read(record)
    assert read(record, text=field) == ([Passage("1", "b", "a")], [])


@pytest.mark.parametrize("lost", [["one", "two"], {"en": "x"}, "x"])
def test_one_such_record_among_others_is_an_error(read, lost):
    with pytest.raises(BadInputError, match=r"corpus\.jsonl:2: no 'text'"):
        read({"_id": 1, "title": "a", "text": "b"}, {"_id": 2, "title": "c", "body": lost})


def test_a_title_may_stand_alone_where_nothing_else_is_lost(read):
    records = [{"_id": 1, "title": "a"}, {"_id": 2, "title": "b", "year": 1999, "metadata": {}, "tags": []}]
    passages, remarks = read(*records)
    assert passages == [Passage("1", "", "a"), Passage("2", "", "b")]
    assert remarks[0].startswith("not read: year;")
    assert remarks[1:] == ["2 of 2 records have no 'text' or 'contents', only a title"]
    assert read({"_id": 1, "title": "a", "text": ""}) == ([Passage("1", "", "a")], [])


def test_fields_that_are_not_read_are_named_once(read):
    passages, remarks = read(
        {"_id": 1, "text": "a", "url": "u", "n": 0, "empty": "", "none": None, "metadata": {"color": "red", "url": 1}},
        {"_id": 2, "text": "b", "url": "u", "x": ["y"], "metadata": {"draft": False, "empty": []}},
    )
    assert len(passages) == 2
    assert remarks == [
        "not read: color, draft, n, url, x; --text, --title and --id choose other fields, and join several "
        "(--text abstract+body); --metadata keeps fields to filter by"
    ]


def test_the_first_usual_field_that_is_not_blank_is_read(read):
    assert read({"_id": None, "id": 2, "text": " ", "contents": "x"})[0] == [Passage("2", "x")]


def test_several_fields_are_joined(read):
    record = {"doc": "d", "part": 3, "head": "h", "abstract": "a", "body": ["b", "c"]}
    passages, remarks = read(record, id="doc+part", title="head", text="abstract + body")
    assert (passages, remarks) == ([Passage("d-3", "a\nb\nc", "h")], [])
    assert read({"_id": 1, "a": "", "b": "x"}, text="a+b")[0] == [Passage("1", "x")]


def test_a_record_may_lack_a_named_text_if_it_has_a_title(read):
    passages, remarks = read(
        {"_id": 1, "title": "a", "url": "u"}, {"_id": 2, "title": "b", "abstract": "x"}, text="abstract"
    )
    assert passages == [Passage("1", "", "a"), Passage("2", "x", "b")]
    assert remarks[1] == "1 of 2 records have no 'abstract', only a title"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"text": "abstarct"},
            "no record of the corpus 'corpus' has a field 'abstarct': the fields are _id, body, title",
        ),
        ({"text": "body", "title": "headline"}, "has a field 'headline'"),
        ({"text": "body+boddy"}, "has a field 'boddy'"),
        ({"id": "key", "text": "body"}, "no 'key' in the record; its fields are _id, body, title"),
        ({"id": "_id+key", "text": "body"}, "no '_id' and 'key' in the record"),
        ({"text": ""}, "--text is '', expected the name of a field"),
        ({"text": "a+"}, r"--text is 'a\+'"),
    ],
)
def test_names_that_do_not_fit_are_errors(read, names, message):
    with pytest.raises(BadInputError, match=message):
        read({"_id": 1, "title": "a", "body": "b"}, **names)


@pytest.mark.parametrize("value", [True, 1.5, {"a": 1}, [1], ["x", None]])
def test_a_named_field_that_holds_no_text_is_an_error(read, value):
    with pytest.raises(BadInputError, match=r"'body' is a .*expected a string"):
        read({"_id": 1, "body": value}, text="body")


def test_skipped_records_do_not_hide_a_wrong_name(read):
    with pytest.raises(BadInputError, match="no record of the corpus 'corpus' has a field 'bodi'"):
        read({"title": "no id"}, {"_id": 1, "title": "a", "body": "b"}, text="bodi", skip_bad=True)


def test_plain_text_has_no_fields(read):
    with pytest.raises(BadInputError, match=r"notes\.txt: plain text has no fields: leave out --id, --text"):
        read("one\n", name="notes.txt", text="a", id="b")


HEADERS = [
    "id\ttext\n1\tx\n",
    "doc_id\ttext\ttitle\n1\tx\tt\n",
    "ID\tTitle\tText\n1\tt\tx\n",
    "pid\turl\ttext\n 1 \tu\tx\n",
]


@pytest.mark.parametrize("text", HEADERS)
def test_a_header_of_a_tsv_is_recognised(read, text, caplog):
    (passage,), remarks = read(text, name="a.tsv")
    assert (passage.doc_id, passage.text) == ("1", "x")
    assert passage.title == ("t" if "itle" in text else "")
    assert remarks == ([] if "url" not in text else remarks) and not caplog.records


def test_columns_of_a_tsv_are_named_or_numbered(read):
    text = "docid\turl\ttitle\tbody\n1\tu\tt\tb\n"
    with pytest.raises(BadInputError, match=r"a\.tsv:2: no 'text' .*its fields are body, docid, title, url"):
        read(text, name="a.tsv")
    with pytest.raises(BadInputError, match=r"a\.tsv: no column is called 'bodi': the columns are body, docid"):
        read(text, name="a.tsv", text="bodi")
    assert read(text, name="a.tsv", text="body")[0] == [Passage("1", "b", "t")]
    assert read("1\tu\tt\tb\n", name="b.tsv", id="1", text="4", title="3")[0] == [Passage("1", "b", "t")]
    with pytest.raises(BadInputError, match="two columns are called 'id'"):
        read("id\tid\ttext\n", name="c.tsv")
    with pytest.raises(BadInputError, match=r":2: got 2 tab-separated columns, expected 4 as in the header"):
        read("docid\turl\ttitle\ttext\n1\tu\n", name="d.tsv")


def test_a_line_that_only_looks_like_a_header_is_read_with_a_warning(read, caplog):
    with caplog.at_level(logging.WARNING):
        passages, _ = read("key\ttext\n1\tx\n", name="a.tsv")
    assert [passage.doc_id for passage in passages] == ["key", "1"]
    (record,) = caplog.records
    assert "a.tsv:1: key text looks like a header, but is read as a record" in record.getMessage()


@pytest.mark.parametrize("doc_id", ["a b", " a", "a\u00a0b", "a\u2028", "a\x1cb", "a\r"])
def test_ids_with_white_space_are_refused_when_the_corpus_is_read(read, doc_id):
    with pytest.raises(BadInputError, match=r"corpus\.jsonl:1: the id .* holds white space, .*: write '"):
        read({"_id": doc_id, "text": "x"})
    assert read({"_id": doc_id, "text": "x"}, {"_id": "b", "text": "x"}, skip_bad=True)[0] == [Passage("b", "x")]


def test_a_byte_order_mark_is_no_part_of_an_id(read):
    assert read({"_id": "\ufeff7", "text": "x"})[0] == [Passage("7", "x")]
