from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from fake_comparison import cell, finished, query_set

from elasticdenser.artifacts import sha256_of
from elasticdenser.errors import BuildError
from elasticdenser.evaluation import Comparison, Skipped, SystemInfo
from elasticdenser.reports import write_report
from elasticdenser.reports.markdown import escape
from elasticdenser.reports.text import plain

VOID = {"meta", "br"}
NASTY = "<script>alert('x')</script> | `a` $x$ *b* _c_ [d](e) \x1b\x07\ud800 &amp; \\"


class Page(HTMLParser):
    """Text, tags and addresses of a page; fails if tags are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.addresses, self.ids = [], [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data", "action")]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def read(folder):
    return (folder / "report.md").read_text("utf-8"), (folder / "report.html").read_text("utf-8")


def small(names=("base", "other"), n=6, *, timed=True, ranks=None, title="Small", **changes):
    """Small comparison on one query set."""
    rng = np.random.default_rng(0)
    info = query_set("set", "A set", ("RR@10", "R@100"), n)
    cells = [
        cell(
            "set",
            name,
            rng.integers(1, 30, n) if ranks is None else ranks,
            info.measures,
            ms=2.0 + i if timed else None,
        )
        for i, name in enumerate(names)
    ]
    systems = tuple(SystemInfo(name=name, title=f"system {name}", settings={}) for name in names)
    fields = {"query_sets": (info,), "systems": systems, "cells": tuple(cells)} | changes
    return finished(Comparison(title=title, baseline=names[0], **fields))


@pytest.mark.slow
def test_all_results_appear_in_both_reports(comparison, report):
    markdown, html = read(report)
    page = " ".join(Page(html).texts)
    for text in (markdown, page):
        for info in comparison.query_sets:
            assert info.name in text and all(measure in text for measure in info.measures)
            assert f"{len(info.queries):,} queries over {info.n_passages:,} passages" in text
        for result in comparison.cells:
            assert result.run in text and result.fingerprint[:12] in text
            assert all(f"{result.mean(measure):.4f}" in text for measure in result.values)
        for interval in comparison.intervals:
            assert f"{interval.low:.4f}–{interval.high:.4f}" in text
        for system in comparison.systems:
            assert system.title in text
        for skipped in comparison.skipped:
            assert text.count(skipped.reason) >= 2  # at the beginning and at the end
        for command in comparison.commands:
            assert command in text
        assert "3 query sets, 5 systems" in text and "bm25.k1 = 0.9" in text and "3.11.9" in text
        assert "▲" in text and "▼" in text and "12 of 3,000 queries have no hits" in text


def test_the_page_is_complete_and_loads_nothing(report):
    _, html = read(report)
    page = Page(html)
    assert page.tags.count("svg") == 9 and page.tags.count("html") == 1
    assert all(address.startswith("#") for address in page.addresses)
    assert {address[1:] for address in page.addresses} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(page.tags)
    assert not re.search(r"https?:|@import|url\((?!#)", html)
    assert html.count("aria-label=") == 10  # each chart and the contents


def test_markdown_points_to_files_that_exist(report):
    markdown, _ = read(report)
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", markdown)
    assert len(pictures) == 9 and all((report / picture).is_file() for picture in pictures)
    assert sorted(path.name for path in report.iterdir()) == ["pictures", "report.html", "report.md"]
    assert sorted(f"pictures/{path.name}" for path in (report / "pictures").iterdir()) == sorted(pictures)
    anchors = re.findall(r"\]\(#([^)]+)\)", markdown)
    assert len(anchors) == 4 and all(f'<a id="{anchor}"></a>' in markdown for anchor in anchors)


def test_rows_of_markdown_tables_have_equally_many_columns(report):
    markdown, _ = read(report)
    for table in re.findall(r"(?:^\|.*\|\n)+", markdown, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


@pytest.mark.slow
def test_the_same_comparison_gives_the_same_bytes(comparison, report, tmp_path):
    comparison.write(tmp_path / "comparison.json")
    written = write_report(Comparison.read(tmp_path / "comparison.json"), tmp_path / "again")
    assert [path.name for path in written[:2]] == ["report.md", "report.html"] and len(written) == 11
    for path in written:
        assert sha256_of(path) == sha256_of(report / path.relative_to(tmp_path / "again"))


def test_foreign_texts_are_escaped(tmp_path):
    base = small((f"a {NASTY}", f"b {NASTY}"), title=NASTY)
    info = replace(base.query_sets[0], title=NASTY, queries=dict.fromkeys(base.query_sets[0].queries, NASTY))
    systems = tuple(replace(system, title=NASTY, settings={NASTY: NASTY}) for system in base.systems)
    skipped = (Skipped(query_set=NASTY, system=NASTY, reason=NASTY),)
    extra = {"skipped": skipped, "commands": (NASTY, "a\nb ``` c"), "environment": {NASTY: [NASTY]}}
    cells = tuple(replace(result, warnings=(NASTY,), run=NASTY, fingerprint=NASTY) for result in base.cells)
    nasty = replace(base, query_sets=(info,), systems=systems, cells=cells, **extra)
    write_report(nasty, tmp_path)
    markdown, html = read(tmp_path)
    page = Page(html)
    assert "script" not in page.tags and "<script" not in html
    assert " ".join(page.texts).count(plain(NASTY)) > 20
    assert not re.search("[\x00-\x08\x0b-\x1f]", markdown + html)
    fenced = re.search(r"^(`{4,})sh\n.*?^\1$", markdown, flags=re.MULTILINE | re.DOTALL)
    assert "<script" not in markdown.replace(fenced[0], "")
    for line in markdown.replace(fenced[0], "").splitlines():
        if not line.startswith("<details>"):  # HTML, where Markdown has no meaning
            assert not re.search(r"(?<!\\)\$x|(?<!\\)\*b|(?<![\\`])`a", line)
    test_rows_of_markdown_tables_have_equally_many_columns(tmp_path)
    chart = (tmp_path / "pictures" / "set1-set-curves.svg").read_text("utf-8")
    assert "&lt;script" in chart and "<script" not in chart


def test_escaped_text_is_shown_unchanged():
    assert escape("nq_dev R(rel=2)@5") == "nq_dev R(rel=2)@5"
    assert escape("_a_ <b> & |") == r"\_a\_ &lt;b&gt; &amp; \|"
    assert unescape(escape("see https://x.org www.x.org")) == "see https://x.org www.x.org"
    assert not re.search(r"https?:|www\.", escape("see https://x.org www.x.org"))


SMALL = small()


def with_cells(*changes):
    """The small comparison with changed cells; the changes must not concern the values, which have differences."""
    return replace(
        SMALL, cells=tuple(replace(result, **change) for result, change in zip(SMALL.cells, changes, strict=True))
    )


EDGE_CASES = {
    "one query": lambda: small(n=1),
    "one system": lambda: small(("base",)),
    "nothing found": lambda: small(ranks=np.full(6, 5000)),
    "everything found": lambda: small(ranks=np.ones(6)),
    "no times": lambda: small(timed=False),
    "twenty systems": lambda: small([f"system-{i}" for i in range(20)]),
    "no curves": lambda: with_cells({"curve": {}}, {"curve": {}}),
    "one cut-off": lambda: with_cells({"curve": {10: 0.5}}, {"curve": {10: 0.5}}),
    "no baseline": lambda: small(cells=SMALL.cells[1:]),
    "baseline alone": lambda: small(cells=SMALL.cells[:1]),
    "no cells": lambda: small(cells=()),
    "no query sets": lambda: small(query_sets=(), cells=()),
    "not compared": lambda: replace(SMALL, intervals=(), differences=()),
    "equal times": lambda: with_cells({"ms_per_query": 3.0}, {"ms_per_query": 3.0}),
    "far times": lambda: with_cells({"ms_per_query": 0.001}, {"ms_per_query": 1e5}),
    "time of zero": lambda: with_cells({"ms_per_query": 0.0}, {}),
    "no passages": lambda: replace(SMALL, query_sets=(replace(SMALL.query_sets[0], n_passages=None),)),
    "same slug": lambda: replace(SMALL, query_sets=(SMALL.query_sets[0], replace(SMALL.query_sets[0], name="set?"))),
    "no names": lambda: small(("", "  ")),
    "quoted": lambda: replace(SMALL, title='{body} "} {title}'),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EDGE_CASES)
def test_unusual_comparisons_have_reports_too(name, tmp_path):
    written = write_report(EDGE_CASES[name](), tmp_path)
    markdown, html = read(tmp_path)
    page = " ".join(Page(html).texts)
    assert len(set(written)) == len(written) and not re.search(r"\bnan\b", markdown)
    expected = {
        "one query": "1 query over",
        "one system": "nothing to compare it with",
        "everything found": "RR@10 is the same for every query.",
        "no times": "No system was timed here",
        "no baseline": "was not run on this query set",
        "baseline alone": "not run",
        "no cells": "Nothing was measured on this query set.",
    }
    for text in (markdown, page):
        assert expected.get(name, "How it was made") in text


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="not a folder"):
        write_report(SMALL, tmp_path / "file")
