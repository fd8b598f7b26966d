"""Exact scores of candidates: the kernel against FAISS and numpy."""

import numpy as np
import pytest

from elasticdenser.index import rescoring
from elasticdenser.index.rescoring import rescore
from elasticdenser.kernel.paths import has_fast_path, kernel_paths, path_number

needs_kernel = pytest.mark.skipif(not kernel_paths(), reason="the kernel was not built")


def random_case(dim, n_candidates, n_queries=5, n=400, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, dim)).astype(np.float32)
    vectors[7:20] = vectors[300]  # copies
    queries = rng.standard_normal((n_queries, dim)).astype(np.float32)
    queries[0] = vectors[300]
    candidates = np.stack([rng.permutation(n)[:n_candidates] for _ in queries])
    return queries, candidates, vectors


@pytest.fixture(params=["kernel", "faiss"])
def implementation(request, monkeypatch):
    if request.param == "faiss":
        monkeypatch.setattr(rescoring, "has_fast_path", lambda: False)
    elif not has_fast_path():
        pytest.skip("the kernel was not built, or has no fast path here")


@pytest.mark.parametrize("dim", [1, 7, 16, 63, 64, 100, 384])
@pytest.mark.parametrize(("n_candidates", "k"), [(1, 1), (9, 9), (100, 1), (100, 10), (400, 37), (400, 400)])
def test_best_of_the_candidates(implementation, dim, n_candidates, k):
    queries, candidates, vectors = random_case(dim, n_candidates)
    rescored = rescore(queries, candidates, vectors, k)
    exact = np.einsum("qd,qnd->qn", queries.astype(np.float64), vectors[candidates].astype(np.float64))
    for row, exact_scores in enumerate(exact):
        assert np.abs(rescored.scores[row] - np.sort(exact_scores)[::-1][:k]).max() < 1e-4
        assert np.isclose(rescored.least[row], exact_scores.min(), atol=1e-4)
        of_position = dict(zip(candidates[row].tolist(), exact_scores.tolist(), strict=True))
        assert np.allclose(
            rescored.scores[row], [of_position[position] for position in rescored.positions[row].tolist()], atol=1e-4
        )
    pairs = [list(zip(-s, p, strict=True)) for s, p in zip(rescored.scores, rescored.positions, strict=True)]
    assert pairs == [sorted(row) for row in pairs]
    lengths = np.linalg.norm(queries, axis=1) * np.linalg.norm(vectors[rescored.positions[:, -1]], axis=1)
    assert np.allclose(rescored.length, lengths, rtol=1e-5)


def test_copies_are_counted_and_in_order(implementation):
    queries, _, vectors = random_case(64, 10)
    candidates = np.random.default_rng(1).permutation(400)[None]
    rescored = rescore(queries[:1], candidates, vectors, 5)
    assert rescored.positions.tolist() == [[7, 8, 9, 10, 11]]
    assert rescored.n_tied.tolist() == [14]
    assert rescored.may_miss(13).tolist() == [True]
    assert rescored.may_miss(14).tolist() == [False]


def test_fewer_candidates_than_wanted(implementation):
    queries, candidates, vectors = random_case(32, 6)
    candidates[:, 2:] = -1
    rescored = rescore(queries, candidates, vectors, 4)
    assert (np.sort(rescored.positions[:, :2]) == np.sort(candidates[:, :2])).all()
    assert (rescored.positions[:, 2:] == -1).all()
    assert np.isneginf(rescored.scores[:, 2:]).all()
    assert np.isneginf(rescored.least).all()
    assert not rescored.may_miss(1).any()


@needs_kernel
def test_the_same_on_every_path():
    from elasticdenser.kernel import _kernel

    queries, candidates, vectors = random_case(384, 200)
    expected = rescore(queries, candidates, vectors, 20)
    for path in map(path_number, kernel_paths()):
        scores, positions = np.empty((5, 20), np.float32), np.empty((5, 20), np.int64)
        room, margins = np.empty(200, np.float32), np.empty(5, rescoring._MARGIN)
        _kernel.rescore(path, vectors, 384, queries, candidates, 20, room, scores, positions, margins)
        assert np.allclose(scores, expected.scores, atol=1e-4)
        assert np.array_equal(positions, expected.positions)


@needs_kernel
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"k": 0}, "got k = 0"),
        ({"k": 7}, "got k = 7, expected 1 to 6"),
        ({"dim": 0}, "got 0 dimensions"),
        ({"dim": 64}, "bytes of queries"),
        ({"candidates": np.full((5, 6), 400)}, "got position 400, expected less than 400"),
        ({"scores": np.empty(3, np.float32)}, "bytes of scores"),
        ({"positions": np.empty(3, np.int64)}, "bytes of positions"),
        ({"all_scores": np.empty(3, np.float32)}, "bytes of all_scores"),
    ],
)
def test_arrays_of_wrong_size_or_content_are_refused(changes, message):
    from elasticdenser.kernel import _kernel

    queries, candidates, vectors = random_case(32, 6)
    arguments = {"path": 0, "vectors": vectors, "dim": 32, "queries": queries, "candidates": candidates, "k": 2}
    arguments |= {"all_scores": np.empty(6, np.float32), "scores": np.empty((5, 2), np.float32)}
    arguments |= {"positions": np.empty((5, 2), np.int64), "margins": np.empty(5, rescoring._MARGIN)}
    with pytest.raises(ValueError, match=message):
        _kernel.rescore(*(arguments | changes).values())
