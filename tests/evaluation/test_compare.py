import json
import random

import pytest
from ir_measures import Qrel, ScoredDoc

from elasticdenser.datasets.runs import read_run, write_run
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation import QuerySet, System, compare, time_systems
from elasticdenser.evaluation.cache import ResultCache
from elasticdenser.evaluation.cells import evaluate_systems
from elasticdenser.evaluation.resumable_runs import write_run_in_parts
from elasticdenser.fingerprint import fingerprint_of

QUERIES = {f"q{number}": f"question {number}" for number in range(40)}
QUERY_SET = QuerySet(
    name="forty",
    queries=QUERIES,
    qrels=[Qrel(query_id, f"good-{query_id}", 1) for query_id in QUERIES],
    measures=["RR@10", "R@5"],
    k=10,
)


class Ranker:
    """Search that puts the relevant document at a rank that depends on the query, and records its calls."""

    def __init__(self, worst: int, seed: int = 0, fails_after: int = 1000):
        self.worst, self.seed, self.fails_after, self.searched = worst, seed, fails_after, []

    def __call__(self, queries, k):
        for query_id in queries:
            self.searched.append((query_id, k))
            if len(self.searched) > self.fails_after:
                raise KeyboardInterrupt
            good_rank = random.Random(f"{query_id}{self.seed}").randrange(self.worst)
            for rank in range(k):
                yield ScoredDoc(query_id, f"good-{query_id}" if rank == good_rank else f"bad-{rank}", 1.0 - rank / 100)


def first(runs, k):
    """Fuse by returning the hits of the first system."""
    return list(runs[0])


def test_anything_that_maps_queries_to_hits_can_be_compared():
    comparison = compare(QUERY_SET, {"good": Ranker(2), "bad": Ranker(9)}, timed_queries=3)
    good, bad = comparison.cell("forty", "good"), comparison.cell("forty", "bad")
    assert good.mean("RR@10") > 0.6 > bad.mean("RR@10") > 0.1
    assert good.mean("R@5") == 1.0
    assert good.curve[2] == 1.0 and good.curve[1] < 1
    assert list(good.values["RR@10"]) == list(bad.values["RR@10"]) == list(QUERIES)
    difference = comparison.difference("forty", "bad", "RR@10")
    assert difference.difference == pytest.approx(bad.mean("RR@10") - good.mean("RR@10"))
    assert difference.is_significant() and difference.low < difference.difference < difference.high < 0
    assert comparison.difference("forty", "good", "RR@10") is None
    interval = comparison.interval("forty", "good", "RR@10")
    assert interval.low < good.mean("RR@10") < interval.high
    assert good.ms_per_query > 0
    assert comparison.environment["versions"]["ir-measures"]


def test_cached_results_are_used_and_changed_ones_computed_again(tmp_path):
    def evaluate(query_set=QUERY_SET, fingerprint="1", **options):
        ranker = Ranker(5)
        system = System(name="ranker", search=ranker, fingerprint=fingerprint)
        cells = evaluate_systems(query_set, [system], ResultCache(tmp_path), timed_queries=0, **options)
        return cells, len(ranker.searched)

    cells, n_searched = evaluate()
    assert n_searched == 40
    assert evaluate() == (cells, 0)
    assert evaluate(fingerprint="2")[1] == 40
    assert evaluate(fingerprint="")[1] == 40 == evaluate(fingerprint="")[1]
    more = QuerySet(name="forty", queries=QUERIES, qrels=QUERY_SET.qrels, measures=["RR@10", "Success@1"], k=10)
    changed, n_searched = evaluate(more)
    assert n_searched == 0 and list(changed[0].values) == ["RR@10", "Success@1"]
    other_qrels = QuerySet(name="forty", queries=QUERIES, qrels=QUERY_SET.qrels[:9], measures=["RR@10"], k=10)
    assert evaluate(other_qrels)[1] == 9


def test_a_damaged_record_is_computed_again(tmp_path):
    compute = lambda: {"x": 1}  # noqa: E731
    cache = ResultCache(tmp_path)
    assert cache.get_or_compute("cells", "a", fingerprint_of("a"), compute) == {"x": 1}
    (file,) = (tmp_path / "cells").iterdir()
    file.write_text(json.dumps({"fingerprint": fingerprint_of("a"), "value": {"x": 2}}))
    assert cache.get_or_compute("cells", "a", fingerprint_of("a"), compute) == {"x": 2}
    file.write_text("{")
    assert cache.get_or_compute("cells", "a", fingerprint_of("a"), compute) == {"x": 1}


def test_an_interrupted_run_continues_where_it_stopped(tmp_path):
    queries = {f"q{number}": "x" for number in range(1200)}
    file = tmp_path / "runs" / "a.trec.gz"
    with pytest.raises(KeyboardInterrupt):
        write_run_in_parts(Ranker(3, fails_after=1100), queries, 3, file, tag="a")
    assert not file.exists()
    ranker = Ranker(3)
    write_run_in_parts(ranker, queries, 3, file, tag="a")
    assert len(ranker.searched) == 200
    assert [hit.query_id for hit in read_run(file)[::3]] == list(queries)
    assert list(file.parent.iterdir()) == [file]


def test_parts_that_another_search_of_the_same_name_left_are_not_used(tmp_path):
    queries = {f"q{number}": "x" for number in range(600)}
    qrels = [Qrel(query_id, f"good-{query_id}", 1) for query_id in queries]
    query_set = QuerySet(name="many", queries=queries, qrels=qrels, measures=["R@1"], k=3)
    with pytest.raises(KeyboardInterrupt):
        compare(query_set, {"mine": Ranker(1, fails_after=550)}, folder=tmp_path, timed_queries=0)

    def poor(queries, k):
        return [ScoredDoc(query_id, "bad", 1.0) for query_id in queries]

    comparison = compare(query_set, {"mine": poor}, folder=tmp_path, timed_queries=0)
    assert comparison.cell("many", "mine").mean("R@1") == 0


def test_queries_without_any_hit_are_absent_from_the_run(tmp_path):
    file = tmp_path / "a.trec.gz"
    search = lambda queries, k: [ScoredDoc("q7", "d", 1.0)] if "q7" in queries else []  # noqa: E731
    write_run_in_parts(search, {f"q{number}": "x" for number in range(1200)}, 3, file, tag="a")
    assert read_run(file) == [ScoredDoc("q7", "d", 1.0)]


def test_fusions_use_the_cached_runs_of_their_parts_and_are_timed_live(tmp_path):
    ranker = Ranker(4)
    part = System(name="part", search=ranker, fingerprint="p")
    fused = System(name="fused", parts=[part, part], fuse=first, fingerprint="f")
    cells = evaluate_systems(QUERY_SET, [part, fused], ResultCache(tmp_path), timed_queries=0)
    assert cells[0].values == cells[1].values
    assert len(ranker.searched) == 40
    timed = evaluate_systems(QUERY_SET, [part, fused], ResultCache(tmp_path), timed_queries=2)
    assert {cell.ms_per_query is not None for cell in timed} == {True}
    # Two queries in four rounds, by the system alone and twice in the fusion; with no more hits than the query set's k.
    assert ranker.searched[40:] and {k for _, k in ranker.searched} == {10}


def test_parts_give_the_hits_that_a_fusion_needs(tmp_path):
    ranker = Ranker(4)
    part = System(name="part", search=ranker, fingerprint="p")
    fused = System(name="fused", parts=[part], fuse=first, fingerprint="f", min_part_hits=15)
    evaluate_systems(QUERY_SET, [fused], ResultCache(tmp_path), timed_queries=1)
    assert {k for _, k in ranker.searched} == {10, 15}  # for the run the k of the query set, in timings at least 15


def test_parts_without_a_fingerprint_are_searched_once_per_call(tmp_path):
    ranker = Ranker(4)
    part = System(name="part", search=ranker)
    evaluate_systems(
        QUERY_SET, [part, System(name="fused", parts=[part], fuse=first)], ResultCache(tmp_path), timed_queries=0
    )
    assert len(ranker.searched) == 40


def test_a_finished_run_is_a_system_without_a_time(tmp_path):
    write_run(tmp_path / "given.trec", Ranker(2)(QUERIES, 10))
    system = System(name="given", run=tmp_path / "given.trec", fingerprint="g")
    (cell,) = evaluate_systems(QUERY_SET, [system], ResultCache(tmp_path / "out"), timed_queries=5)
    assert cell.mean("R@5") == 1.0
    assert cell.ms_per_query is None


def test_warnings_are_in_the_cell_also_when_it_comes_from_the_cache(tmp_path):
    system = System(name="some", search=lambda queries, k: Ranker(2)(list(queries)[:30], k), fingerprint="s")
    for _ in range(2):
        (cell,) = evaluate_systems(QUERY_SET, [system], ResultCache(tmp_path), timed_queries=0)
        assert cell.warnings == ("10 of 40 judged queries are missing in the run: they count 0",)


def test_systems_are_timed_in_turns():
    order = []

    def make(name):
        def search(queries, k):
            order.append((name, *queries))
            yield from ()

        return search

    times = time_systems({"a": make("a"), "b": make("b")}, {"q1": "x", "q2": "y"}, rounds=2)
    assert order == [("a", "q1"), ("a", "q2"), ("b", "q1"), ("b", "q2")] * 3
    assert set(times) == {"a", "b"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"systems": {}}, "got no systems, expected at least one"),
        ({"query_sets": [QUERY_SET, QUERY_SET]}, "got two query sets named 'forty'"),
        ({"baseline": "none"}, "got the baseline 'none', expected one of the systems: a"),
    ],
)
def test_repeated_names_and_an_unknown_baseline_are_refused(arguments, message):
    with pytest.raises(BadInputError, match=message):
        compare(**{"query_sets": QUERY_SET, "systems": {"a": Ranker(2)}, "timed_queries": 0, **arguments})


def test_a_system_has_exactly_one_source_of_hits():
    for arguments in ({}, {"search": Ranker(1), "run": "x"}, {"parts": [1]}):
        with pytest.raises(BadInputError, match="exactly one of"):
            System(name="a", **arguments)


def test_names_that_cannot_be_part_of_a_file_name_are_refused():
    with pytest.raises(BadInputError, match="the name 'a/b' of a system cannot be part of a file name"):
        System(name="a/b", search=Ranker(1))
    with pytest.raises(BadInputError, match="of a query set"):
        QuerySet(name="two words", queries={"q": "x"}, qrels=QUERY_SET.qrels, measures=["RR@10"])
