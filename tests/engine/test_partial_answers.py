"""Answers from a part of the index say so."""

from __future__ import annotations

from engine_helpers import PROFILE

from elasticdenser.engine.batch_search import BatchSearch, PartialHits
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.index.coverage import collected_coverage, report_coverage


class HalfSearch(BatchSearch):
    """Search that reaches half of the index for the query "half"."""

    def search_batch(self, queries, level):
        return [PartialHits(["d1"], 0.5) if query.text == "half" else ["d1", "d2"] for query in queries]


def test_an_answer_has_the_coverage_of_its_hits():
    with RetrievalEngine(HalfSearch(), PROFILE, workers=1, slo_s=5.0) as engine:
        half, whole = engine.ask("half"), engine.ask("whole")
    assert (half.hits, half.coverage) == (["d1"], 0.5)
    assert (whole.hits, whole.coverage) == (["d1", "d2"], 1.0)


def test_coverage_is_collected_in_the_innermost_search_only():
    report_coverage(0.1)  # nobody collects
    with collected_coverage() as outer:
        report_coverage(0.5)
        with collected_coverage() as inner:
            report_coverage(0.7)
        report_coverage(1.0)
    assert (outer, inner) == ([0.5, 1.0], [0.7])


def test_the_least_coverage_of_a_batch_is_that_of_its_hits():
    from elasticdenser.engine.batch_search import RetrieverSearch
    from elasticdenser.engine.request import Query

    search = object.__new__(RetrieverSearch)

    def fake(queries, level):
        for share in (1.0, 0.75):
            report_coverage(share)
        return [[] for _ in queries]

    search._search = fake
    hits = search.search_batch([Query(text="a"), Query(text="b")], "level0")
    assert [row.coverage for row in hits] == [0.75, 0.75]
    search._search = lambda queries, level: [[] for _ in queries]
    assert type(search.search_batch([Query(text="a")], "level0")[0]) is list
