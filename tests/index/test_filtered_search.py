"""Searching with filters: as many hits as there are, exact where few passages match, by the structure where many do."""

import numpy as np
import pytest
from hashing import GivenVectors, unit_vectors

from elasticdenser.datasets import Passage
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex, filtered_search
from elasticdenser.index.efforts import Effort
from elasticdenser.index.filtered_search import MaskedSource, SelectedSource, exact_source, filtered_source
from elasticdenser.index.manifest import StructureInfo
from elasticdenser.index.metadata.matches import Matches
from elasticdenser.index.rescoring import best_candidates
from elasticdenser.index.structures import IndexStructure
from elasticdenser.index.structures.faiss_structure import FaissStructure
from elasticdenser.index.structures.threads import faiss_threads
from elasticdenser.progress import silent

DIM, N = 32, 4000
SCAN = f"PQ{DIM // 2}x4fs"


@pytest.fixture(scope="module")
def vectors():
    """Clustered, as real ones are, with 300 copies of one passage scattered among them."""
    rng = np.random.default_rng(1)
    vectors = unit_vectors(100, DIM, 2)[rng.integers(100, size=N)] + 0.15 * rng.standard_normal((N, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    copies = rng.permutation(N)[:300]
    vectors[copies] = vectors[copies[0]]
    return vectors


@pytest.fixture(scope="module")
def queries(vectors):
    rng = np.random.default_rng(3)
    queries = vectors[rng.choice(N, 24, replace=False)] + 0.05 * rng.standard_normal((24, DIM)).astype(np.float32)
    return (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=["Flat", SCAN, f"IVF16,{SCAN}", "HNSW16"])
def index(request, vectors, queries, tmp_path_factory):
    """Field `share`: uniform in [0, 1); `far`: rank among the passages that are least similar to the first query."""
    share = np.random.default_rng(5).random(N)
    far = np.argsort(np.argsort(vectors @ queries[0]))
    passages = [
        Passage(f"d{i}", f"number {i}", metadata={"share": float(share[i]), "far": int(far[i]), "n": i})
        for i in range(N)
    ]
    path = tmp_path_factory.mktemp("filtered") / "index"
    return PassageIndex.build(passages, path, GivenVectors(vectors), factory=request.param, texts=False)


@pytest.fixture(params=["planned", "by structure"])
def planned(request, monkeypatch):
    """The planner as it is, and one that always uses the search structure."""
    if request.param == "by structure":
        monkeypatch.setattr(filtered_search, "is_exact_faster", lambda chosen, k: False)
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("filter", ["share < .5", "share < .1", "share < .01", "far < 15", "far < 1500", "n = 7"])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_there_are_always_k_hits_and_all_match(index, planned, queries, filter, k):
    matches = index.matches(filter)
    for recall in (None, 0.1):
        scores, positions = index.search(queries, k, filter=filter, recall=recall)
        assert positions.shape == scores.shape == (len(queries), min(k, matches.n))
        assert matches.mask[positions].all()
        assert all(len(set(row)) == len(row) for row in positions.tolist())
        assert (scores[:, 1:] <= scores[:, :-1]).all()


@pytest.mark.parametrize("filter", ["share < .5", "share < .1", "far < 1500"])
def test_the_structure_finds_nearly_all_and_exact_search_finds_all(index, monkeypatch, queries, filter):
    positions = index.matches(filter).positions
    exact = index.search(queries, 10, within=positions)
    for left, right in zip(exact, index.search(queries, 10, filter=filter, exact=True), strict=True):
        assert np.array_equal(left, right)
    monkeypatch.setattr(filtered_search, "is_exact_faster", lambda chosen, k: False)
    found = index.search(queries, 10, filter=filter)[1]
    assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact[1], strict=True)]) >= 0.98


def test_few_matching_passages_are_searched_exactly(index, queries):
    filter = "share < .03 or n in (5, 6)"
    expected = index.search(queries, 10, within=index.matches(filter).positions)
    for n_queries in (1, len(queries)):
        for left, right in zip(expected, index.search(queries[:n_queries], 10, filter=filter), strict=True):
            assert np.array_equal(left[:n_queries], right)


def test_a_query_has_the_same_hits_alone_and_in_a_batch(index, planned, queries):
    for filter in ("share < .3", "far < 1500"):
        scores, positions = index.search(queries, 10, filter=filter)
        for row in range(0, len(queries), 5):
            alone = index.search(queries[row : row + 1], 10, filter=filter)
            assert np.array_equal(alone[0][0], scores[row]) and np.array_equal(alone[1][0], positions[row])


def test_ties_are_in_the_order_of_the_index(index, planned, vectors):
    _, group, counts = np.unique(vectors, axis=0, return_inverse=True, return_counts=True)
    copies = np.flatnonzero(counts[group] > 1)
    query = np.ascontiguousarray(vectors[copies[:1]])
    matching = copies[index.matches("share < .5").mask[copies]]
    assert np.array_equal(index.search(query, 100, filter="share < .5")[1][0], matching[:100])


def test_no_match_gives_no_hits(index, queries):
    scores, positions = index.search(queries, 10, filter="n < 0")
    assert scores.shape == positions.shape == (len(queries), 0)


def test_a_filter_within_given_positions(index, queries):
    positions = index.search(queries, 50, within=np.arange(100), filter="n < 20 and not n = 3")[1]
    assert {*positions[0].tolist()} == {*range(20)} - {3} and positions.shape[1] == 19


def test_faults_are_refused_before_the_search(index, queries):
    for filter in ("nowhere = 1", "n = 'x'", "n >", {"field": "n"}):
        with pytest.raises(QueryError, match=r"^filter[,:] "):
            index.search(queries, 3, filter=filter)


def test_the_form_in_json_is_taken(index, queries):
    filter = {
        "must": [{"field": "n", "operator": "<", "value": 50}],
        "must_not": [{"field": "n", "operator": "=", "value": 1}],
    }
    expected = index.search(queries, 10, filter="n < 50 and n != 1")[1]
    assert np.array_equal(index.search(queries, 10, filter=filter)[1], expected)


class Ranked:
    """Source that proposes the passages 0, 1, 2, ... to every query, and notes how many were requested."""

    def __init__(self, n):
        self.max_candidates, self.requests = n, []

    def n_candidates(self, k):
        return 10

    def candidates(self, queries, n_candidates):
        self.requests.append(n_candidates)
        return np.tile(np.arange(n_candidates), (len(queries), 1))


def test_more_candidates_are_requested_until_twice_as_many_match_or_exact_scores_cost_less():
    n = 100_000
    vectors, query = np.ones((n, 4), np.float32), np.ones((1, 4), np.float32)
    of_source, of_wider = {}, {}
    for first in (0, 50, 1_000, 60_000):
        matches = Matches(np.arange(n) >= first)
        source, wider = Ranked(n), Ranked(n)
        found = MaskedSource(source, vectors, matches, wider).candidates(query, 10)
        assert matches.mask[found].all() and len(set(found[0].tolist())) == 10
        of_source[first], of_wider[first] = source.requests, wider.requests
    assert of_source == {0: [10], 50: [11], 1_000: [12], 60_000: [44]}
    assert of_wider == {0: [], 50: [704], 1_000: [768, 49_152], 60_000: [2_816]}  # the last: exact scores cost less


def test_all_lists_are_visited_where_too_few_candidates_match(vectors):
    structure = structure_of(vectors, (f"IVF16,{SCAN}",), (Effort(nprobe=2, rescored=10, recall_at_10=0.9),))
    for first_match in (0, N // 2):
        matches, first = Matches((np.arange(N) % 2 == 1) & (np.arange(N) >= first_match)), Ranked(N)
        found = SelectedSource(first, structure.source_among(matches), matches).candidates(vectors[:3], 10)
        assert len(first.requests) == 1 and matches.mask[found].all()
        is_from_first = np.array_equal(found, np.tile(matches.positions[:10], (3, 1)))
        assert is_from_first == (first_match == 0)


@pytest.mark.slow
@pytest.mark.parametrize("factory", [f"IVF16,{SCAN}", "IVF16,Flat", "IVF16,SQ8"])
def test_inverted_lists_propose_matching_passages_alone_and_as_many_as_there_are(vectors, factory):
    structure = structure_of(vectors, (factory, SCAN), (Effort(rescored=64, recall_at_10=0.99, part=1),))
    matches = Matches(np.arange(N) % 7 == 0)
    source = structure.source_among(matches)
    assert source.n_candidates(10) == 64
    found = source.candidates(vectors[:5], matches.n)
    assert all(np.array_equal(np.sort(row), matches.positions) for row in found)


@pytest.mark.slow
def test_a_filter_of_one_topic_is_searched_by_one_scan(vectors, queries, monkeypatch):
    """Nothing that is near the query matches: the farthest half of the passages does."""
    efforts = (Effort(nprobe=2, rescored=64, recall_at_10=0.8), Effort(rescored=256, recall_at_10=0.99, part=1))
    structure = structure_of(vectors, (f"IVF16,{SCAN}", SCAN), efforts)
    monkeypatch.setattr(filtered_search, "is_exact_faster", lambda chosen, k: False)
    matches = Matches(np.argsort(np.argsort(vectors @ queries[0])) < N // 2)
    for recall in (None, 0.8):
        source = filtered_source(structure.source_for(recall), vectors, matches, 10, 1, structure, recall)
        assert isinstance(source, SelectedSource)
        found = best_candidates(queries[:1], source, vectors, 10, check_order=True)[0]
        exact = best_candidates(queries[:1], exact_source(vectors, matches.positions, 1), vectors, 10)[0]
        assert np.isclose(found, exact, atol=1e-5).mean() >= 0.9


@pytest.mark.slow
def test_candidates_of_structures_without_lists_are_masked(vectors):
    structure = structure_of(vectors, (SCAN,), (Effort(rescored=64, recall_at_10=0.99),))
    matches = Matches(np.arange(N) % 2 == 0)
    assert structure.source_among(matches) is None
    assert isinstance(filtered_source(structure.source_for(), vectors, matches, 10, 1, structure), MaskedSource)


def test_more_candidates_are_requested_where_hits_stand_in_the_last_half():
    n = 4000
    vectors, query = np.zeros((n, 4), np.float32), np.array([[1, 0, 0, 0]], np.float32)
    vectors[:, 0] = 0.5 - np.arange(n) / 10_000
    vectors[7, 0], vectors[35, 0] = 0.9, 1.0  # the order of the source puts them too late
    for check_order, requests, hits in ((False, [10], [7]), (True, [10, 40, 160], [35])):
        source = Ranked(n)
        assert best_candidates(query, source, vectors, 1, check_order=check_order)[1].tolist() == [hits]
        assert source.requests == requests


def structure_of(vectors, factories, efforts):
    with faiss_threads(1):
        parts = [FaissStructure.build(factory, vectors, silent) for factory in factories]
    info = StructureInfo(factory=" + ".join(factories), efforts=efforts, n_sampled=0)
    return IndexStructure(parts, info)


@pytest.mark.slow
def test_fewer_passages_are_searched_in_more_lists(vectors):
    efforts = (
        Effort(nprobe=2, rescored=16, recall_at_10=0.8),
        Effort(nprobe=8, rescored=16, recall_at_10=0.9),
        Effort(rescored=64, recall_at_10=0.99, part=1),
    )
    structure = structure_of(vectors, ("IVF32,Flat", SCAN), efforts)
    sources = {share: structure.source_for(0.8, share=share) for share in (1, 0.5, 0.2, 0.05)}
    assert sources[1] is sources[0.5] is structure.source_for(0.8)
    assert sources[0.2] is structure.source_for(0.9) and sources[0.05] is structure.source_for(0.99)
    ends_with_lists = structure_of(vectors, ("IVF32,Flat", SCAN), efforts[:2])
    scan = ends_with_lists.source_for(share=0.05)
    assert (scan.candidates(vectors[:3], N) >= 0).all()  # nothing is left out, as lists would


def test_lists_without_a_scan_beside_them_are_visited_in_proportion(vectors):
    structure = structure_of(vectors, ("IVF32,Flat",), (Effort(nprobe=2, rescored=16, recall_at_10=0.9),))
    reached = [
        (structure.source_for(share=share).candidates(vectors[:9], N) >= 0).sum() for share in (1, 0.2, 0.1, 0.001)
    ]
    assert reached == sorted(reached) and 1.5 * reached[0] < reached[1] < reached[2] < reached[3] == 9 * N
