"""File formats beside JSON lines and TSV: JSON arrays, CSV, Parquet, whole texts, TREC topics."""

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdenser.datasets import FieldNames, Passage, load_answers, load_queries, open_corpus
from elasticdenser.datasets import files as text_files
from elasticdenser.datasets.formats import json_array
from elasticdenser.datasets.formats.csv import CommaSeparated
from elasticdenser.errors import BadInputError


def _write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _passages(path: Path, format="auto", skip_bad=False, **names) -> list[Passage]:
    return list(open_corpus(path, format=format, skip_bad=skip_bad, fields=FieldNames(**names)))


RECORDS = [{"_id": 1, "text": 'x, ]}\\"'}, {"id": "2", "title": "[{é", "text": "y", "n": [[{}], "\\"]}]
PASSAGES = [Passage("1", 'x, ]}\\"'), Passage("2", "y", "[{é")]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_arrays_of_json_are_split_anywhere(tmp_path, monkeypatch, indent, block, ascii_only):
    monkeypatch.setattr(json_array, "_BLOCK_BYTES", block)
    text = json.dumps(RECORDS, indent=indent, ensure_ascii=ascii_only)
    assert _passages(_write(tmp_path / "a.json", text)) == PASSAGES
    assert _passages(_write(tmp_path / "b.jsonl", f" \n{text}\n\n")) == PASSAGES


@pytest.mark.slow
@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.text(max_size=3), st.recursive(st.text(max_size=4), st.lists, max_leaves=3))))
def test_any_array_of_objects_gives_its_elements(tmp_path_factory, records):
    path = _write(tmp_path_factory.mktemp("arrays") / "a.json", json.dumps(records, ensure_ascii=False))
    assert [json.loads(element) for _, element in json_array.array_elements(str(path))] == records


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"_id": 1, "text": "x"},\n', r"a\.json:1: the JSON array is not closed"),
        ('[{"_id": 1, "text": "x', "the JSON array is not closed"),
        ('[{"_id": 1, "text": "x"}]\n{"_id": 2}', "something follows the JSON array"),
        ('[\n\n{"_id": 1, "text": "x"},\n7]', r"a\.json:4: got a JSON number, expected an object"),
        ('[{"_id": 1},\n {"_id": 2}]', r"a\.json:1: no 'text'"),
        ('{\n"_id": 1}', "expected one JSON object a line, or one array of objects"),
    ],
)
def test_bad_arrays_are_named_by_line(tmp_path, text, message):
    with pytest.raises(BadInputError, match=message):
        _passages(_write(tmp_path / "a.json", text))


def test_a_bad_element_can_be_skipped_and_an_endless_one_is_refused(tmp_path, monkeypatch):
    path = _write(tmp_path / "a.json", b'[{"_id": 1, "text": "\xff"},\n{"_id": 2, "text": "y"}]')
    assert _passages(path, skip_bad=True) == [Passage("2", "y")]
    monkeypatch.setattr(text_files, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(json_array, "_BLOCK_BYTES", 100)
    with pytest.raises(BadInputError, match="an element of the array is longer than"):
        _passages(_write(tmp_path / "b.json", '[{"_id": "' + "x" * 5000))


@pytest.mark.parametrize(
    "text",
    [
        'id,title,text\n1,T,"a, ""b""\nc"\n\n2,,y\n',
        '\ufeffID;Title;Text\r\n1;T;"a, ""b""\r\nc"\r\n2;;y',
    ],
)
def test_csv_of_spreadsheets(tmp_path, text):
    assert _passages(_write(tmp_path / "a.csv", text)) == [Passage("1", 'a, "b"\nc', "T"), Passage("2", "y")]


def test_columns_of_a_csv_are_named_or_numbered(tmp_path):
    path = _write(tmp_path / "a.csv", "key,head,body\n1,h,b\n")
    with pytest.raises(BadInputError, match=r"a\.csv:1: got the columns 'key, head, body', expected a header"):
        _passages(path)
    with pytest.raises(BadInputError, match=r"a\.csv: no column is called 'text': the columns are body, head, key"):
        _passages(path, id="key", text="text")
    assert _passages(path, id="key", title="head", text="body") == [Passage("1", "b", "h")]
    assert _passages(_write(tmp_path / "b.csv", "1,h,b\n"), id="1", text="2+3") == [Passage("1", "h\nb")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,x\n2,y,z\n", r"a\.csv:3: got 3 columns, expected 2 as in the header"),
        ('1,x\n\n"2"3,y\n', r"a\.csv:4: cannot be split into columns"),
        ('1,"x\ny\n3,z\n', r"a\.csv:2: a quote opened in this row is not closed"),
        (b"1,x\n2,\xff\n", r"a\.csv:3: byte 0xff at column 3 is not UTF-8"),
        ("1,x\n, y\n", r"a\.csv:3: the id is empty"),
    ],
)
def test_bad_rows_of_a_csv_are_named_by_line(tmp_path, rows, message):
    path = _write(tmp_path / "a.csv", b"id,text\n" + (rows if isinstance(rows, bytes) else rows.encode()))
    with pytest.raises(BadInputError, match=message):
        _passages(path)


def test_a_quote_that_swallows_the_file_is_bounded_and_long_fields_are_read(tmp_path, monkeypatch):
    long = "x" * 200_000
    assert _passages(_write(tmp_path / "a.csv", f"id,text\n1,{long}\n")) == [Passage("1", long)]
    monkeypatch.setattr(text_files, "MAX_LINE_BYTES", 1000)
    with pytest.raises(BadInputError, match=r"b\.csv:2: the row is longer than .* close its quotes"):
        _passages(_write(tmp_path / "b.csv", 'id,text\n1,"' + "line\n" * 1000))
    assert CommaSeparated.name == "csv"


@pytest.mark.slow
def test_parquet_files_are_read_without_the_columns_that_are_not_needed(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {"key": [1, 2], "Title": ["T", None], "a": ["x", "y"], "b": [["p", "q"], []], "url": ["u", "v"], "n": [1, 2]}
    )
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path)
    remarks: list[str] = []
    corpus = open_corpus(path, fields=FieldNames(id="key", text="a+b"), remark=remarks.append)
    assert list(corpus) == [Passage("1", "x\np\nq", "T"), Passage("2", "y")]
    assert remarks == [
        "not read: n, url; --text, --title and --id choose other fields, and join several (--text abstract+body); "
        "--metadata keeps fields to filter by"
    ]
    with pytest.raises(BadInputError, match=r"a\.parquet:1: no '_id' .*its fields are a, b, key, n, title, url"):
        _passages(path)
    with pytest.raises(BadInputError, match="no column is called 'body'"):
        _passages(path, id="key", text="body")
    parquet.write_table(pyarrow.table({"qid": [1], "query": ["who"], "answers": [["Herbert"]]}), path)
    assert load_queries(path) == [("1", "who")]
    assert load_answers(path) == {"1": ["Herbert"]}


@pytest.mark.parametrize("content", [b"", b"no parquet at all", b"PAR1" + bytes(64) + b"PAR1"])
def test_damaged_parquet_files_are_errors(tmp_path, content):
    pytest.importorskip("pyarrow")
    with pytest.raises(BadInputError, match=r"a\.parquet: cannot be read as Parquet"):
        _passages(_write(tmp_path / "a.parquet", content))


def test_without_pyarrow_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadInputError, match=r"a\.parquet: .*pip install 'elasticdenser\[parquet\]'"):
        _passages(_write(tmp_path / "a.parquet", b"PAR1"))


def test_a_folder_of_texts_is_a_passage_a_file_and_a_file_a_passage_a_line(tmp_path):
    folder = tmp_path / "my notes"
    _write(folder / "one two.txt", "\ufefffirst\r\nsecond\n")
    _write(folder / "sub" / "three.txt", "third")
    _write(folder / "empty.txt", " \n")
    remarks: list[str] = []
    assert list(open_corpus(folder, remark=remarks.append)) == [
        Passage("one_two.txt", "first\nsecond", "one two"),
        Passage("sub/three.txt", "third", "three"),
    ]
    assert [passage.doc_id for passage in _passages(folder, "lines")] == ["one_two-1", "one_two-2", "three-1"]
    assert [passage.doc_id for passage in _passages(folder / "one two.txt")] == ["one_two-1", "one_two-2"]
    assert _passages(folder / "one two.txt", "text") == [Passage("one_two.txt", "first\nsecond", "one two")]
    open_corpus(folder / "one two.txt", remark=remarks.append)
    assert remarks == [
        "3 files of plain text: each is one passage (--format lines: each line is one)",
        "1 file of plain text: each line is one passage (--format text: each file is one)",
    ]


def test_texts_of_two_folders_are_told_apart(tmp_path):
    folders = [_write(tmp_path / name / "a.txt", name).parent for name in ("x", "y")]
    assert [passage.doc_id for passage in open_corpus(folders)] == ["x/a.txt", "y/a.txt"]


def test_a_text_that_is_no_text_is_an_error(tmp_path, monkeypatch):
    with pytest.raises(BadInputError, match=r"a\.txt:2: byte 0xff at column 1 is not UTF-8"):
        _passages(_write(tmp_path / "a.txt", b"x\n\xff"), "text")
    monkeypatch.setattr(text_files, "MAX_LINE_BYTES", 1000)
    with pytest.raises(BadInputError, match="which is too much for one text: split it"):
        _passages(_write(tmp_path / "b.txt", "x\n" * 1000), "text")


TOPICS = [
    (
        "topics.txt",
        "<top>\n<num> Number: 301\n<title> Organized\nCrime\n\n<desc> Description:\nIt: x\n<narr> y\n</top>\n\n"
        "<top>\n<num> Number: 302 \n<title> Topic: A &amp; b\n<desc> d\n</top>\n",
        [("301", "Organized Crime"), ("302", "A & b")],
    ),
    (
        "topics.xml",
        '<?xml version="1.0"?>\n<!-- <topic number="0"><query>no</query></topic> -->\n<topics task="x">\n'
        '<topic number="1">\n<query>first one</query>\n<question>q?</question></topic>\n'
        '<topic number="2" type="faceted"><query>second</query><description>z</description></topic>\n</topics>',
        [("1", "first one"), ("2", "second")],
    ),
    ("a.xml", '<topics><topic number="1">\nOne\ntext\n</topic></topics>', [("1", "One text")]),
    ("mb.topics", "<top>\n<num> Number: MB1 </num>\n<title> News </title>\n</top>", [("MB1", "News")]),
    ("none", "\ufeff<top>\n<num>7\n<title>x\n<top>\n<num>8\n<title>y\n", [("7", "x"), ("8", "y")]),
]


@pytest.mark.parametrize(("name", "text", "queries"), TOPICS)
def test_trec_topics_are_queries(tmp_path, name, text, queries):
    assert load_queries(_write(tmp_path / name, text)) == queries


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('<topics>\n<topic number="3"><desc>d</desc></topic></topics>', ":2: topic 3 has no title, .*: got <desc>"),
        ("<top>\n<title>x\n</top>", ":1: the topic has no number"),
        ("<top>\n<num>1\n<title>\n</top>", "topic 1 has no title"),
        ("<top><num>1 2<title>x</top>", "the id '1 2' holds white space"),
        ("<top><num>1<title>x</top>\n<top><num>1<title>y</top>", ":2: query id '1' is already that of line 1"),
        ("<q/>", "the file holds no query"),
    ],
)
def test_bad_topics_are_named_by_line(tmp_path, text, message):
    with pytest.raises(BadInputError, match=r"a\.xml" + message if message[0] == ":" else message):
        load_queries(_write(tmp_path / "a.xml", text))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'qid,query\n1,"who, what"\n'),
        ("a.tsv", "query_id\tquery\n1\twho, what\n"),
        ("a.json", '[{"id": 1, "question": "who, what"}]'),
    ],
)
def test_queries_come_in_the_formats_of_corpora(tmp_path, name, text):
    assert load_queries(_write(tmp_path / name, text)) == [("1", "who, what")]
