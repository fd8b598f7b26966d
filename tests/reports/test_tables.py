from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from fake_comparison import realistic

from elasticdenser.reports import result_rows
from elasticdenser.reports.tables import difference_table, extremes, result_table
from elasticdenser.reports.text import count, milliseconds, p_value, plain, short_name, shortened, signed, slug


def test_result_rows_for_the_terminal(comparison):
    columns, rows = result_rows(comparison, "trivia")
    assert columns == ["System", "nDCG@10", "RR@10", "R@100", "R@1000", "ms/query"]
    assert [row[0] for row in rows] == ["exact", "auto", "bm25", "rrf", "weighted"]
    difference = comparison.difference("trivia", "bm25", "nDCG@10")
    assert difference.is_significant() and difference.difference < 0
    assert rows[2][1] == f"{comparison.cell('trivia', 'bm25').mean('nDCG@10'):.4f} ▼"
    assert rows[3][-1] == "–"  # not timed
    assert all(re.fullmatch(r"[01]\.\d{4}( [▲▼])?", entry) for row in rows for entry in row[1:-1])
    with pytest.raises(KeyError):
        result_rows(comparison, "nothing")


def test_result_table_has_bests_intervals_and_notes(comparison):
    table = result_table(comparison, comparison.query_sets[2])
    for column in range(1, 4):
        shown = [row[column].text for row in table.rows]
        best = max(text for text in shown if text != "–")
        assert {row[column].text for row in table.rows if row[column].strong} == {best}
    assert [row[-1].strong for row in table.rows] == [False, False, True, False, False]
    interval = comparison.interval("trec-dl", "rrf", "nDCG@10")
    assert table.rows[3][1].small == f"{interval.low:.4f}–{interval.high:.4f}"
    # A system that was not run has a row, with a note.
    assert [entry.text for entry in table.rows[4]] == ["weighted", "–", "–", "–", "–"]
    assert table.notes == ("not run: no queries to fit the weights on",)
    assert table.rows[4][0].notes == (1,)


def test_difference_table_counts_every_query(comparison):
    info = comparison.query_sets[0]
    table = difference_table(comparison, info)
    assert [row[0].text for row in table.rows] == ["auto", "bm25", "rrf", "weighted"]
    for row in table.rows:
        assert sum(int(entry.text.replace(",", "")) for entry in row[5:]) == len(info.queries)
    assert difference_table(replace(comparison, differences=()), info) is None


def test_extremes_are_the_largest_changes(comparison):
    info = comparison.query_sets[0]
    cell, baseline = (comparison.cell(info.name, name) for name in ("bm25", "exact"))
    share, table = extremes(info, cell, baseline)
    difference = comparison.difference(info.name, "bm25", "RR@10")
    assert share == f"5 of {difference.n_better} gains, 5 of {difference.n_worse} losses"
    changes = [float(row[-1].text.replace("−", "-")) for row in table.rows]
    values = {q: cell.values["RR@10"][q] - baseline.values["RR@10"][q] for q in info.queries}
    assert changes == [round(v, 4) for v in sorted(values.values())[:-6:-1] + sorted(values.values())[:5]]
    assert table.rows[0][0].text == info.queries[table.rows[0][1].text]
    assert extremes(info, baseline, baseline) == ("0 of 0 gains, 0 of 0 losses", None)


def test_foreign_texts_are_cleaned_and_shortened():
    assert plain(" a\x00\x1b[1m\tb\u202ec\ud800\r\nd\u2028e ") == "a [1m b c d e"
    assert plain("e\u0301 👩\u200d🚀 日本") == "e\u0301 👩\u200d🚀 日本"
    assert shortened("word " * 50, 20) == "word word word word…"
    assert len(shortened("x" * 500, 120)) == 120
    assert short_name("a-very-long-name-of-a-system-v2") == "a-very-long…-system-v2"
    assert slug("Set <x>/ÄÖ 1.0") == "set-x-1.0"


def test_numbers_are_formatted():
    assert [signed(x) for x in (0.5, -0.5, 0.0, -0.00001)] == ["+0.5000", "−0.5000", "0.0000", "0.0000"]
    assert [p_value(p) for p in (1.0, 0.05, 0.0002)] == ["1.000", "0.050", "< 0.001"]
    assert [milliseconds(x) for x in (None, 0.123, 4.0, 18.24, 1234.5)] == ["–", "0.12", "4.00", "18.2", "1,234"]
    assert [count(1, "query"), count(2000, "query"), count(2, "loss")] == ["1 query", "2,000 queries", "2 losses"]


def test_rows_for_the_terminal_do_not_load_matplotlib():
    code = "import sys, elasticdenser.reports; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_realistic_is_repeatable():
    assert realistic((5, 5, 5)) == realistic((5, 5, 5))
