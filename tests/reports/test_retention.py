from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from fake_comparison import cell, finished, query_set

from elasticdenser.evaluation import Comparison, SystemInfo
from elasticdenser.reports import write_report
from elasticdenser.reports.charts.cost import retention_chart
from elasticdenser.reports.retention import retention_rows, retentions

SUBNETS = ("w1-d6", "w0.5-d3", "level0")
# Ranks of the one good passage of two queries; RR@10 on the first set, R@100 on the second.
RANKS = {
    ("first", "w1-d6"): (1, 2),
    ("first", "w0.5-d3"): (1, 4),
    ("first", "level0"): (2, 10),
    ("second", "w1-d6"): (1, 1),
    ("second", "w0.5-d3"): (1, 1),
    ("second", "level0"): (1, 999),
    ("first-typo1", "w1-d6"): (2, 2),
    ("first-typo1", "w0.5-d3"): (2, 4),
    ("first-typo1", "level0"): (999, 999),
    ("second-typo1", "w1-d6"): (1, 999),
    ("second-typo1", "w0.5-d3"): (999, 999),
    ("second-typo1", "level0"): (999, 999),
    ("first-typo2", "w1-d6"): (4, 4),
    ("first-typo2", "w0.5-d3"): (5, 5),
    ("first-typo2", "level0"): (10, 10),
}


@pytest.fixture
def family() -> Comparison:
    """Three subnets and another system on two query sets, with one typing error, and on the first also with two."""
    sets = []
    for name in dict.fromkeys(name for name, _ in RANKS):
        origin, _, errors = name.partition("-typo")
        measures = ("RR@10", "nDCG@10") if origin == "first" else ("R@100",)
        info = query_set(name, name, measures, 2)
        sets.append(replace(info, origin=origin, typing_errors=int(errors or 0)))
    measures = {info.name: info.measures for info in sets}
    cells = [
        cell(name, f"auto.{subnet}", ranks, measures[name], ms=8.0 / 2 ** SUBNETS.index(subnet))
        for (name, subnet), ranks in RANKS.items()
    ]
    cells += [cell(info.name, "bm25", np.array([3, 3]), info.measures) for info in sets]
    systems = [
        SystemInfo(name=f"auto.{subnet}", title=subnet, settings={}, family="auto", subnet=subnet) for subnet in SUBNETS
    ]
    bm25 = SystemInfo(name="bm25", title="", settings={})
    return finished(
        Comparison(
            title="Subnets",
            baseline="auto.w1-d6",
            query_sets=tuple(sets),
            systems=(bm25, *systems),
            cells=tuple(cells),
        )
    )


def test_shares_of_the_largest_subnet_without_typing_errors(family):
    (retention,) = retentions(family)
    columns, rows = retention_rows(retention)
    assert columns == ["Subnet", "first: RR@10", "second: R@100", "Mean", "1 error", "2 errors", "ms/query"]
    assert rows == [
        # (1/2 + 1/2) / (1 + 1/2) and 1/2 with one error; 1/2 / (3/2) with two, on the first set alone.
        ["w1-d6", "100.0%", "100.0%", "100.0%", "58.3%", "33.3%", "8.00"],
        ["w0.5-d3", "83.3%", "100.0%", "91.7%", "25.0%", "26.7%", "4.00"],
        ["level0", "40.0%", "50.0%", "45.0%", "0.0%", "13.3%", "2.00"],
    ]


def test_slips_of_words_have_columns_behind_those_of_typing_errors(family):
    sets = [
        replace(info, typing_errors=0, perturbation="dropped-word") if info.name == "first-typo1" else info
        for info in family.query_sets
    ]
    (retention,) = retentions(replace(family, query_sets=tuple(sets)))
    assert list(retention.with_slips) == ["1 error", "2 errors", "dropped-word"]
    assert retention.mean_share(retention.largest, "dropped-word") == pytest.approx(1 / 1.5)
    assert [info.name for info in retention.existing_with("dropped-word")] == ["first"]


@pytest.mark.slow
def test_the_report_has_table_chart_and_explanations(family, tmp_path):
    write_report(family, tmp_path)
    markdown, html = ((tmp_path / f"report.{kind}").read_text() for kind in ("md", "html"))
    for text in (markdown, html):
        assert "Retention by subnet: auto" in text and "91.7%" in text
        assert "With 2 errors: first only." in text and "With 1 error:" not in text
    assert markdown.index("## At a glance") < markdown.index("## Retention") < markdown.index('<a id="set1')
    assert "](#subnets1)" in markdown and '<a id="subnets1"></a>' in markdown and 'id="subnets1"' in html
    svg = ET.parse(tmp_path / "pictures" / "subnets1-cost.svg")
    shown = [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert {*SUBNETS, "mean retention, %"} <= set(shown) and "bm25" not in shown
    assert "w0.5-d3 91.7% at 4.00 ms" in markdown


@pytest.mark.slow
def test_the_main_table_of_a_single_query_set_comes_first(family, tmp_path):
    cells = tuple(cell for cell in family.cells if cell.query_set == "first")
    write_report(replace(family, query_sets=family.query_sets[:1], cells=cells), tmp_path)
    text = (tmp_path / "report.md").read_text()
    places = [text.index(mark) for mark in ('<a id="set1', "## Retention by subnet", "## How it was made")]
    assert places == sorted(places) and "At a glance" not in text
    contents = text[text.index("Contents:") : places[0]]
    assert re.findall(r"\]\(#([a-z]+)", contents) == ["set", "subnets", "how"]


def test_missing_figures_have_no_share(family):
    without = replace(
        family, cells=tuple(c for c in family.cells if (c.query_set, c.system) != ("first", "auto.level0"))
    )
    (retention,) = retentions(without)
    assert retention_rows(retention)[1][2] == ["level0", "–", "50.0%", "–", "0.0%", "13.3%", "–"]
    assert "level0" not in retention_chart(retention, "p").description
    untimed = replace(family, cells=tuple(replace(c, ms_per_query=None) for c in family.cells))
    assert retention_chart(retentions(untimed)[0], "p") is None
    # A query set on which the largest subnet has a quality of 0 has no shares.
    nothing = replace(family, cells=tuple(c for c in family.cells if c.query_set.startswith("second")))
    (retention,) = retentions(nothing)
    assert retention_rows(retention)[0] == ["Subnet", "second: R@100", "Mean", "1 error", "ms/query"]


def test_a_system_with_a_single_subnet_has_no_retention_section(family, comparison):
    assert retentions(comparison) == []
    single = replace(family, systems=family.systems[:2])
    assert retentions(single) == []


def test_subnets_and_typing_errors_are_written_and_read(family, tmp_path):
    family.write(tmp_path / "results.json")
    assert Comparison.read(tmp_path / "results.json") == family
