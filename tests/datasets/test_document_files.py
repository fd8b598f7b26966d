"""Documents as corpora: folders of Markdown, HTML, PDF and plain text."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pdf_files import write_pdf

from elasticdenser.datasets import FieldNames, Passage, load_queries, open_corpus, scan_corpus
from elasticdenser.datasets import files as text_files
from elasticdenser.datasets.documents import document_records
from elasticdenser.datasets.formats import RECORD_FORMATS
from elasticdenser.datasets.formats.markdown import markdown_blocks
from elasticdenser.datasets.front_matter import split_front_matter
from elasticdenser.datasets.html_blocks import html_blocks, parse_html
from elasticdenser.datasets.records import checked_id
from elasticdenser.datasets.schema import PASSAGES
from elasticdenser.datasets.sections import section_records
from elasticdenser.errors import BadInputError, MissingExtraError


def _write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _passages(path: Path, format="auto", remark=lambda text: None, **names) -> list[Passage]:
    return list(open_corpus(path, format=format, remark=remark, fields=FieldNames(**names)))


def _markdown(tmp_path, text: str, name="a.md") -> list[Passage]:
    return _passages(_write(tmp_path / name, text))


def _html(tmp_path, text: str | bytes) -> list[Passage]:
    return _passages(_write(tmp_path / "a.html", text))


def test_a_markdown_file_becomes_its_sections(tmp_path):
    text = "# Guide\n\nIntro\nof it.\n\n## Install\n\n### Linux\n\n- one\n- two\n\n## Use\n\nRun.\n\n## Use\n\nAgain.\n"
    assert _markdown(tmp_path, text) == [
        Passage("a.md", "Intro of it.", "Guide"),
        Passage("a.md#linux", "one\n\ntwo", "Guide > Install > Linux"),
        Passage("a.md#use", "Run.", "Guide > Use"),
        Passage("a.md#use-1", "Again.", "Guide > Use"),
    ]


def test_the_markup_of_markdown_is_no_text(tmp_path):
    text = (
        "Guide\n=====\nSee **the** [manual](x.md) ![a *plan*](p.png) and `f(*a)`.<br>Next\\\nline &amp; end\n\n"
        "<!-- hidden -->\n<script>no()</script>\n\n<p align='center'>Shown</p>\n\n```py\n# no heading\nx = 1\n```\n\n"
        "| a | b |\n|---|---|\n| 1 | **2** |\n\n> # quoted\n\n[ref]: http://example.org\n"
    )
    (passage,) = _markdown(tmp_path, text)
    assert passage.title == "Guide"
    assert passage.text.split("\n\n") == [
        *("See the manual a plan and f(*a). Next line & end", "Shown", "# no heading\nx = 1", "a | b", "1 | 2"),
        "quoted",
    ]


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        ("# A\nx\n# B\ny\n", ["A", "A > B"]),
        ("## A\nx\n## B\ny\n", ["my notes > A", "my notes > B"]),
        ("## A\nx\n### B\ny\n", ["A", "A > B"]),
        ("text\n## A\nx\n", ["A"]),
        ("no heading\n", ["my notes"]),
        ("---\ntitle: T\n---\nx\n# A\ny\n", ["T > A"]),
        ("---\ntitle: A\n---\n# A\ny\n## B\nz\n", ["A", "A > B"]),
        ("<h1>A</h1>\n\nx\n\n## B\ny\n", ["A", "A > B"]),
        ("# A\n## B\n# C\n", ["A"]),
    ],
)
def test_the_title_is_the_first_heading_or_the_name_of_the_file(tmp_path, text, titles):
    assert [passage.title for passage in _markdown(tmp_path, text, "my_notes.md")] == titles


def test_a_document_of_headings_alone_is_a_passage_and_an_empty_one_is_none(tmp_path):
    assert _markdown(tmp_path, "# A\n## B\n# C\n") == [Passage("a.md", "B\n\nC", "A")]
    _write(tmp_path / "empty.md", "---\nx: 1\n---\n\n")
    assert [passage.doc_id for passage in _passages(tmp_path)] == ["a.md"]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("---\ntags: [a, b]\ndate: 2026-01-02\nn: 3\nok: true\ndeep: {a: 1}\n---\nx", ["a", "b"]),
        ("+++\ntags = ['a', 'b']\ndate = 2026-01-02\nn = 3\nok = true\n+++\nx", ["a", "b"]),
        ("---\ntags: a\ndate: '2026-01-02'\nn: 3\nok: {{ template }}\n...\nx", "a"),
    ],
)
def test_front_matter_is_no_text_but_fields(tmp_path, text, fields):
    path = str(_write(tmp_path / "a.md", text))
    ((line, record),) = RECORD_FORMATS["markdown"].records(path, "a.md", PASSAGES)
    assert record["text"] == "x" and line == text.count("\n") + 1
    assert record["tags"] == fields and record["date"] == "2026-01-02" and str(record["n"]) == "3"
    assert "deep" not in record


def test_front_matter_cannot_fill_the_memory(tmp_path):
    lists = "\n".join(f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]" for number in range(1, 30))
    text = f'---\na0: &a0 [x]\n{lists}\ntitle: 2024\nbad: "\\uD800"\n---\ny'
    fields, rest = split_front_matter(text)
    assert fields == {"a0": ["x"], "title": 2024, "bad": "?"} and rest.strip() == "y"
    assert _markdown(tmp_path, text)[0].title == "2024"


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.sampled_from("# \n-ab<p>h1/='`|*[]()!\u00a0é\x1f&;:"), max_size=60))
def test_any_text_gives_ids_without_white_space_that_occur_once(text):
    page = parse_html(text)
    blocks = {"markdown": list(markdown_blocks(text)), "html": [] if page is None else list(html_blocks(page))}
    for name, found in blocks.items():
        records = [record for _, record in section_records(found, "a")]
        ids = [checked_id(record["_id"]) for record in records]
        assert len(set(ids)) == len(ids), name
        assert all(record["text"].strip() or record["title"].strip() for record in records), name


def test_lines_between_rules_are_text(tmp_path):
    (passage,) = _markdown(tmp_path, "---\nNo fields, only\na paragraph.\n\n---\n\nx\n")
    assert passage.text == "No fields, only a paragraph.\n\nx"


def test_records_of_documents_hold_path_time_and_heading(tmp_path):
    path = _write(tmp_path / "a b.md", "# T\nx\n## S\ny\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))
    records = RECORD_FORMATS["markdown"].records(str(path), "a_b.md", PASSAGES)
    rows = [record for _, record in document_records(records, str(path), "sub/a b.md", may_be_left_out=False)]
    assert [(row["_id"], row["heading"]) for row in rows] == [("a_b.md", "T"), ("a_b.md#s", "S")]
    assert {(row["path"], row["modified"]) for row in rows} == {("sub/a b.md", "2023-11-14T22:13:20Z")}


PAGE = """<!doctype html><html><head><title>Site: T</title><style>p {}</style></head><body>
<nav><ul><li>Home</li></ul></nav><header><a href="/">Site</a></header>
<h1>Caf&eacute; <a class="headerlink" href="#c">¶</a></h1><p>One <b>two</b>\n  three.<script>x()</script> Four</p>
<div id="s1"><h2>Sub</h2><ul><li>a<li>b</ul><table><tr><th>k<th>v<tr><td>1<td>2</table><pre>x = 1\n  y</pre></div>
<p hidden>hidden</p><div style="display: none">hidden</div><aside>related</aside><footer>imprint</footer>"""


def test_a_page_becomes_its_sections_without_navigation(tmp_path):
    assert _html(tmp_path, PAGE) == [
        Passage("a.html", "One two three. Four", "Café"),
        Passage("a.html#s1", "a\n\nb\n\nk | v\n\n1 | 2\n\nx = 1\n  y", "Café > Sub"),
    ]


@pytest.mark.parametrize("main", ["<main>{}</main>", "<div role='main'>{}</div>", "<article>{}</article>"])
def test_only_the_main_part_of_a_page_is_read(tmp_path, main):
    body = "<p>before</p>" + main.format("<header>x</header><aside>note</aside>") + "<p>after</p>"
    assert _html(tmp_path, body) == [Passage("a.html", "x\n\nnote", "a")]


def test_two_articles_are_no_main_part(tmp_path):
    (passage,) = _html(tmp_path, "<title>T</title><article>x</article><article>y</article>")
    assert (passage.title, passage.text) == ("T", "x\n\ny")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('<meta charset="latin1"><p>caf\xe9 \x93a\x94'.encode("latin1"), "café “a”"),
        ('<?xml version="1.0" encoding="UTF-8"?><html><body>é</body></html>', "é"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=koi8-r"><p>да'.encode("koi8-r"), "да"),
        ("<p>unclosed <b>markup <div>x</i></p>", "unclosed markup\n\nx"),
        ("no markup", "no markup"),
        ("<div>" * 1500 + "deep", "deep"),
    ],
)
def test_pages_are_decoded_and_mended(tmp_path, content, text):
    assert [passage.text for passage in _html(tmp_path, content)] == [text]


def test_a_page_of_which_a_part_would_be_lost_is_an_error(tmp_path):
    with pytest.raises(BadInputError, match=r"cannot be read as HTML .*depth"):
        _html(tmp_path, "<div>" * 5000 + "deep")


def test_pages_without_text_hold_no_passage(tmp_path):
    for content in ("", "<script>x</script>", "<!-- x -->", "<html></html>"):
        with pytest.raises(BadInputError, match="holds no passages"):
            scan_corpus(open_corpus(_write(tmp_path / "a.html", content)), tmp_path / "scratch")


def test_hidden_files_and_folders_are_passed_over(tmp_path):
    for name in ("a.md", ".b.md", ".git/c.md", "sub/.d/e.md", "sub/f.markdown"):
        _write(tmp_path / name, "x")
    assert [passage.doc_id for passage in _passages(tmp_path)] == ["a.md", "sub/f.markdown"]


def test_documents_that_cannot_be_read_are_left_out_of_a_folder_and_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "MAX_LINE_BYTES", 1000)
    _write(tmp_path / "good.md", "x")
    _write(tmp_path / "binary.txt", b"x\0y")
    _write(tmp_path / "large.html", "x" * 2000)
    _write(tmp_path / "latin.md", b"x\ncaf\xe9")
    _write(tmp_path / "odd.html", b"<meta charset=odd>caf\xe9")
    _write(tmp_path / "wide.txt", "x".encode("utf-16"))
    _write(tmp_path / "picture.png", b"x")
    remarks: list[str] = []
    corpus = open_corpus(tmp_path, remark=remarks.append)
    assert [passage.doc_id for passage in corpus] == ["good.md"]
    assert corpus.skipped.counts == {"binary": 1, "too large": 1, "not UTF-8": 2, "bad encoding": 1}
    assert remarks[0] == "not read: 1 file (1 .png), which are of other kinds"
    assert remarks[-1].startswith(f"left out: {tmp_path / 'binary.txt'} (binary), ")
    with pytest.raises(BadInputError, match=r"latin\.md:2: byte 0xe9 at column 4 is not UTF-8"):
        _passages(tmp_path / "latin.md")
    with pytest.raises(BadInputError, match=r"binary\.txt:1: the file is binary"):
        _passages(tmp_path / "binary.txt", "text")


def test_documents_beside_records_are_left_out_with_a_remark(tmp_path):
    _write(tmp_path / "README.md", "# About\nx")
    _write(tmp_path / "a.jsonl", '{"_id": "j", "text": "y"}\n')
    _write(tmp_path / "b.txt", "z")
    remarks: list[str] = []
    assert [passage.doc_id for passage in _passages(tmp_path, remark=remarks.append)] == ["j", "b.txt"]
    assert remarks[0].startswith(
        "not read: 1 file (1 .md), because there are files of records beside them (--format doc"
    )
    assert [passage.doc_id for passage in _passages(tmp_path, "documents")] == ["README.md", "b.txt"]
    assert [passage.doc_id for passage in _passages(tmp_path, "markdown")] == ["README.md"]
    with pytest.raises(BadInputError, match="the format documents is a folder with documents in it"):
        _passages(tmp_path / "README.md", "documents")


def test_documents_of_two_folders_are_told_apart(tmp_path):
    folders = [_write(tmp_path / name / "a.md", "x\n## S\ny\n## S\nz").parent for name in ("p", "q")]
    assert [passage.doc_id for passage in open_corpus(folders)] == [
        f"{name}/a.md{anchor}" for name in ("p", "q") for anchor in ("", "#s", "#s-1")
    ]


def test_fields_of_front_matter_can_be_chosen_but_ids_cannot(tmp_path):
    path = _write(tmp_path / "a.md", "---\nsummary: S\n---\n# T\nx")
    assert _passages(path, title="summary+title", text="summary+text") == [Passage("a.md", "S\nx", "S T")]
    remarks: list[str] = []
    _passages(path, remark=remarks.append)
    assert "not read: summary; " in remarks[-1] and "heading" not in remarks[-1]
    with pytest.raises(BadInputError, match="ids of documents are made of their paths: leave out --id"):
        _passages(path, id="summary")


def test_documents_hold_no_queries(tmp_path):
    with pytest.raises(BadInputError, match="the file's name does not tell its format"):
        load_queries(_write(tmp_path / "a.md", "who?"))


@pytest.mark.slow
def test_pages_of_a_pdf_are_passages(tmp_path):
    pytest.importorskip("pypdf")
    path = write_pdf(tmp_path / "my paper.pdf", ["First divi-\nded page.", "", "Third."], title="A  Title")
    assert _passages(path) == [
        Passage("my_paper.pdf#page=1", "First divided page.", "A Title"),
        Passage("my_paper.pdf#page=3", "Third.", "A Title"),
    ]
    write_pdf(tmp_path / "plain.pdf", ["x"])
    assert _passages(tmp_path / "plain.pdf")[0].title == "plain"


def test_unusable_pdf_files_are_left_out_by_reason(tmp_path):
    pypdf = pytest.importorskip("pypdf")
    good = write_pdf(tmp_path / "good.pdf", ["x"])
    write_pdf(tmp_path / "scan.pdf", ["", ""])
    _write(tmp_path / "cut.pdf", good.read_bytes()[:200])
    _write(tmp_path / "fake.pdf", "no PDF at all")
    _write(tmp_path / "empty.pdf", "")
    for name, password in (("locked.pdf", "secret"), ("open.pdf", "")):
        writer = pypdf.PdfWriter(clone_from=good)
        writer.encrypt(user_password=password, owner_password="owner", algorithm="RC4-128")
        writer.write(tmp_path / name)
    corpus = open_corpus(tmp_path)
    assert [passage.doc_id for passage in corpus] == ["good.pdf#page=1", "open.pdf#page=1"]
    assert corpus.skipped.counts == {"encrypted PDF": 1, "damaged PDF": 3, "PDF without text": 1}
    with pytest.raises(BadInputError, match=r"locked\.pdf:1: the file is encrypted with a password: save a copy"):
        _passages(tmp_path / "locked.pdf")


def test_without_pypdf_the_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pypdf", None)
    monkeypatch.setattr("elasticdenser.datasets.folders.is_installed", lambda *modules: False)
    path = write_pdf(tmp_path / "a.pdf", ["x"])
    with pytest.raises(MissingExtraError, match=r"\(extra 'pdf'\): pip install '"):
        _passages(path)
    with pytest.raises(MissingExtraError, match=r"\(extra 'pdf'\)"):
        _passages(tmp_path)
    _write(tmp_path / "b.md", "x")
    remarks: list[str] = []
    assert [passage.doc_id for passage in _passages(tmp_path, remark=remarks.append)] == ["b.md"]
    assert remarks[0].startswith("not read: 1 file (1 .pdf): reading PDF files needs packages")
