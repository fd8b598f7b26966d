"""Searching: exact scores, ties, filters, batches, threads."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from hashing import GivenVectors, make_corpus, unit_vectors

from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex

DIM = 32
MANY = 20_500
SCAN = f"PQ{DIM // 2}x4fs"


@pytest.fixture(scope="module")
def vectors():
    """Clustered, as real ones are, with 700 copies of one passage and 40 of another scattered among them."""
    rng = np.random.default_rng(1)
    vectors = unit_vectors(300, DIM, 2)[rng.integers(300, size=MANY)] + 0.15 * rng.standard_normal((MANY, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    places = rng.permutation(MANY)
    vectors[places[:700]] = vectors[places[0]]
    vectors[places[700:740]] = vectors[places[700]]
    vectors.setflags(write=False)
    return vectors


@pytest.fixture(scope="module")
def queries(vectors):
    rng = np.random.default_rng(3)
    near = vectors[rng.choice(MANY, 64, replace=False)] + 0.05 * rng.standard_normal((64, DIM)).astype(np.float32)
    copies, counts = np.unique(vectors, axis=0, return_counts=True)
    queries = np.concatenate([near, copies[counts > 1]])
    return (queries / np.linalg.norm(queries, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module", params=["Flat", SCAN, "IVF16,Flat", f"IVF16,{SCAN} + {SCAN}"])
def index(request, vectors, tmp_path_factory):
    path = tmp_path_factory.mktemp("search") / "index"
    return PassageIndex.build(make_corpus(MANY), path, GivenVectors(vectors), factory=request.param, texts=False)


def brute_force(queries, vectors, k):
    """Return the positions of the k best in float64, equal vectors in the order of their positions."""
    _, group = np.unique(vectors, axis=0, return_inverse=True)
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    for row in scores:  # equal vectors get equal scores, whatever the order of summation
        row[:] = row[np.unique(group, return_index=True)[1]][group]
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, 1), order


@pytest.fixture(scope="module")
def best_among(queries, vectors):
    """Return a function that draws passages, and finds the best of them by brute force; once for each argument."""

    @cache
    def find(n_allowed, k):
        within = np.random.default_rng(4).permutation(MANY)[:n_allowed]
        ordered = np.sort(within)
        scores, rows = brute_force(queries, vectors[ordered], k)
        return within, scores, ordered[rows]

    return find


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 10, 100])
def test_scores_are_those_of_brute_force(index, vectors, queries, best_among, k):
    scores, positions = index.search(queries, k)
    exact = (vectors[positions].astype(np.float64) * queries[:, None].astype(np.float64)).sum(-1)
    assert np.abs(scores - exact).max() < 1e-5
    _, expected, _ = best_among(MANY, 100)
    expected = expected[:, :k]
    share_found = (scores[:, -1] >= expected[:, -1] - 1e-5).mean()
    assert share_found == 1.0 if index.manifest.structure.factory == "Flat" else share_found >= 0.9


@pytest.mark.parametrize("k", [1, 5, 39, 41, 300, 750])
def test_copies_come_in_the_order_of_ids(index, vectors, queries, k):
    copies = queries[-2:]
    _, positions = index.search(copies, k)
    for copy, positions_of_query in zip(copies, positions, strict=True):
        same = np.flatnonzero((vectors == vectors[np.argmax(vectors @ copy)]).all(axis=1))[:k]
        assert positions_of_query[: len(same)].tolist() == same.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 10, 97])
@pytest.mark.parametrize("exact", [False, True])
def test_same_alone_and_in_a_batch(index, queries, k, exact):
    scores, positions = index.search(queries, k, exact=exact)
    for row in range(len(queries)):
        alone = index.search(queries[row : row + 1], k, exact=exact)
        assert np.array_equal(alone[0][0], scores[row])
        assert np.array_equal(alone[1][0], positions[row])
    shuffled = np.random.default_rng(5).permutation(len(queries))
    again = index.search(queries[shuffled], k, exact=exact)
    assert np.array_equal(again[0], scores[shuffled])
    assert np.array_equal(again[1], positions[shuffled])


@pytest.mark.slow
def test_same_from_eight_threads(index, queries):
    expected = index.search(queries, 20)
    with ThreadPoolExecutor(8) as pool:
        for scores, positions in pool.map(lambda _: index.search(queries, 20), range(24)):
            assert np.array_equal(scores, expected[0])
            assert np.array_equal(positions, expected[1])


@pytest.mark.slow
@pytest.mark.parametrize("n_allowed", [1, 7, 1000, MANY])
def test_filter_is_exact_search_over_the_subset(index, queries, best_among, n_allowed):
    within, expected, best = best_among(n_allowed, 12)
    doubled = np.concatenate([within, within[:5]])
    scores, positions = index.search(queries, 12, within=doubled)
    assert positions.shape == (len(queries), min(12, n_allowed))
    assert np.abs(scores - expected).max() < 1e-5
    assert (positions == best).mean() > 0.999  # near ties may differ in the last bit


def test_a_filter_gives_the_same_hits_in_small_blocks(index, queries, monkeypatch):
    from elasticdenser.index.structures import exhaustive

    within = np.arange(1, MANY, 3)
    expected = index.search(queries, 9, within=within)
    monkeypatch.setattr(exhaustive, "_FILTERED_AT_ONCE", 500)
    assert all(np.array_equal(*pair) for pair in zip(expected, index.search(queries, 9, within=within), strict=True))


def test_empty_filter_and_no_queries(index, queries):
    assert index.search(queries, 5, within=np.empty(0, np.int64))[1].shape == (len(queries), 0)
    assert index.search(queries, 5, within=[])[0].shape == (len(queries), 0)
    assert index.search(queries[:0], 5)[0].shape == (0, 5)
    assert index.search(queries[:0], 5, exact=True)[1].shape == (0, 5)


def test_bad_arguments_are_refused(index, queries):
    nan = queries[:1].copy()
    nan[0, 3] = np.nan
    for call, what in [
        (lambda: index.search(queries, 0), "k = 0, expected at least 1"),
        (lambda: index.search(nan, 5), "not finite"),
        (lambda: index.search(queries[:, :-1], 5), r"shape \(66, 31\), expected \(n_queries, 32\)"),
        (lambda: index.search(queries[0], 5), r"shape \(32,\)"),
        (lambda: index.search(queries, 5, within=np.array([-1, 4])), "positions from -1 to 4, expected 0 to"),
        (lambda: index.search(queries, 5, within=np.array([MANY])), f"expected 0 to {MANY - 1}"),
        (lambda: index.search(queries, 5, within=np.ones(MANY, bool)), "type bool, expected whole numbers"),
        (lambda: index.search(queries, 5, within=np.array([1.5])), "type float64"),
    ]:
        with pytest.raises(QueryError, match=what):
            call()


def test_k_is_capped_at_the_number_of_passages(index_of):
    vectors = unit_vectors(7, 8)
    for name, factory in (("a", "Flat"), ("b", "HNSW4")):
        scores, positions = index_of(vectors, factory, name).search(vectors, 100)
        assert scores.shape == (7, 7)
        assert np.array_equal(np.sort(positions, axis=1), np.tile(np.arange(7), (7, 1)))


def test_an_index_of_one_passage_is_searched(index_of):
    scores, positions = index_of(unit_vectors(1, 8)).search(unit_vectors(1, 8), 10)
    assert positions.tolist() == [[0]]
    assert abs(scores[0, 0] - 1) < 1e-6


@pytest.mark.slow
def test_few_probed_lists_still_give_k_hits(index_of):
    vectors = unit_vectors(2000, 8)
    index = index_of(vectors, "IVF64,Flat")
    _, positions = index.search(vectors[:3], 1900)
    assert (positions >= 0).all()
    assert all(len(set(row)) == 1900 for row in positions.tolist())


@pytest.mark.slow
@pytest.mark.parametrize(
    "factory", [f"IVF64,{SCAN} + {SCAN}", "IVF64,PQ16x4fs", "PCA28,IVF64,Flat", "IVF64,PQ16x4fs,RFlat", "HNSW16", SCAN]
)
def test_less_effort_finds_less_in_less_of_the_index(index_of, vectors, factory):
    index = index_of(vectors[:6000], factory)
    queries = vectors[6000:6200] + vectors[6200:6400] + vectors[6400:6600]
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    kth_scores = index.search(queries, 10, exact=True)[0][:, -1:]
    recalls = []
    for effort in index.manifest.structure.efforts:
        scores, positions = index.search(queries, 10, recall=effort.recall_at_10)
        recalls.append((scores >= kth_scores - 1e-5).mean())
        alone = [index.search(queries[row : row + 1], 10, recall=effort.recall_at_10)[1][0] for row in range(20)]
        assert np.array_equal(alone, positions[:20])
        # Hits are scored exactly, however they were found.
        exact = np.einsum("qd,qkd->qk", queries, index.vectors[positions])
        assert np.abs(scores - exact)[positions >= 0].max() < 1e-5
    assert recalls == sorted(recalls)
    assert abs(recalls[0] - index.manifest.structure.efforts[0].recall_at_10) < 0.1
    assert np.array_equal(index.search(queries, 10)[1], index.search(queries, 10, recall=1.0)[1])


@pytest.mark.parametrize("recall", [0, -0.5, 1.01, float("nan"), True, "0.9"])
def test_recall_out_of_range_is_refused(index, queries, recall):
    with pytest.raises(QueryError, match="expected a number above 0 and at most 1"):
        index.search(queries, 5, recall=recall)


FACTORIES = [
    "IVF32,Flat",
    "HNSW16",
    "PCA16,SQ8",
    "PQ16x4fs,RFlat",
    "SQ8",
    "IVF32,PQ16x4fs",
    "PCA28,IVF32,Flat",
    pytest.param("OPQ8,PQ16x4fs", marks=pytest.mark.slow),
    "IVF32_HNSW8,SQ8",
    "IVF32,PQ16x4fs + PQ16x4fs",
]


@pytest.mark.slow
@pytest.mark.parametrize("factory", FACTORIES)
def test_factory_strings_are_built_and_reach_their_recall(index_of, vectors, factory):
    index = index_of(vectors[:3000], factory)
    structure = index.manifest.structure
    assert structure.factory == factory
    assert 0.9 <= structure.recall_at_10 <= 1.0
    assert structure.n_sampled == 256
    recalls = [effort.recall_at_10 for effort in structure.efforts]
    assert recalls == sorted(set(recalls))
    assert all((effort.nprobe is None) == (effort.part == 1 or "IVF" not in factory) for effort in structure.efforts)
    assert len(structure.files) == len(factory.split(" + "))
    assert all((effort.ef_search is not None) == factory.startswith("HNSW") for effort in structure.efforts)
    queries = vectors[3000:3050]
    scores, positions = index.search(queries, 10)
    again = PassageIndex.open(index.path)
    assert again.manifest.structure == structure
    again_scores, again_positions = again.search(queries, 10)
    assert np.array_equal(again_scores, scores) and np.array_equal(again_positions, positions)
    exact = index.search(queries, 10, exact=True)[0]
    assert (scores[:, -1] >= exact[:, -1] - 1e-5).mean() >= 0.8


def test_a_search_leaves_the_threads_of_other_libraries_alone(index, queries):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(3)  # shared with FAISS, where both use the same OpenMP
    try:
        index.search(queries[:2], 5)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
