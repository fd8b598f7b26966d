"""Search in a sharded index: the hits of one index of all passages, to the bit, ties included."""

import pickle

import numpy as np
import pytest
from hashing import GivenVectors, make_corpus, make_passages, unit_vectors, write_jsonl
from sharded import make_sharded

from elasticdenser.datasets import open_corpus
from elasticdenser.index import PassageIndex
from elasticdenser.index.efforts import Effort
from elasticdenser.index.manifest import StructureInfo
from elasticdenser.index.merged_manifest import common_efforts
from elasticdenser.index.structures.faiss_structure import FaissStructure

N, DIM = 1200, 16


def vectors_with_ties():
    """Return vectors of which a third are equal to others in other shards, so that scores tie."""
    vectors = unit_vectors(N, DIM)
    vectors[N // 3 : 2 * N // 3] = vectors[: N // 3]
    return np.ascontiguousarray(vectors[np.random.default_rng(1).permutation(N)])


VECTORS = vectors_with_ties()
QUERIES = np.concatenate([unit_vectors(20, DIM, seed=2), VECTORS[:10]])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return PassageIndex.build(make_corpus(N), tmp_path_factory.mktemp("whole") / "index", GivenVectors(VECTORS))


@pytest.fixture(scope="module", params=["Flat", "HNSW8", "IVF8,PQ4x4fs + PQ4x4fs"])
def sharded(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded")
    corpus = open_corpus(write_jsonl(folder / "corpus.jsonl", make_passages(N)))
    return PassageIndex.build(corpus, folder / "index", GivenVectors(VECTORS), shards=5, factory=request.param)


def assert_equal(hits, expected):
    assert np.array_equal(hits[1], expected[1])
    assert np.array_equal(hits[0].view(np.uint32), expected[0].view(np.uint32))


@pytest.mark.slow
@pytest.mark.parametrize("k", [1, 10, 300, N + 1])
def test_exact_hits_are_those_of_one_index(whole, sharded, k):
    expected = whole.search(QUERIES, k, exact=True)
    assert_equal(sharded.search(QUERIES, k, exact=True), expected)
    for query, scores, positions in zip(QUERIES, *expected, strict=True):
        assert_equal(sharded.search(query[None], k, exact=True), (scores[None], positions[None]))


@pytest.mark.parametrize("k", [1, 10, 300])
def test_hits_within_some_passages_are_those_of_one_index(whole, sharded, k):
    within = np.random.default_rng(0).choice(N, 400, replace=False)
    assert_equal(sharded.search(QUERIES, k, within=within), whole.search(QUERIES, k, within=within))


def test_threads_find_the_same(sharded):
    threaded = PassageIndex.open(sharded.path, threads=3)
    assert_equal(threaded.search(QUERIES, 10), sharded.search(QUERIES, 10))
    assert_equal(threaded.search(QUERIES, 10, exact=True), sharded.search(QUERIES, 10, exact=True))
    again = pickle.loads(pickle.dumps(threaded))
    assert_equal(again.search(QUERIES, 10), sharded.search(QUERIES, 10))


@pytest.mark.slow
def test_a_search_by_structures_finds_at_least_what_one_index_finds(whole, sharded, tmp_path):
    """With codebooks of its own, one index proposes fewer candidates than all shards together."""
    factory = sharded.manifest.structure.factory
    one = PassageIndex.build(make_corpus(N), tmp_path / "one", GivenVectors(VECTORS), factory=factory)
    best = whole.search(QUERIES, 10, exact=True)[0]
    found, found_by_one = (np.mean(index.search(QUERIES, 10)[0] == best) for index in (sharded, one))
    assert found >= found_by_one - 0.02
    assert found >= 0.98


def test_every_recall_is_reached_by_the_whole(whole, sharded):
    best = whole.search(QUERIES, 10, exact=True)[0]
    for effort in sharded.manifest.structure.efforts:
        scores, _ = sharded.search(QUERIES, 10, recall=effort.recall_at_10)
        assert np.mean(scores >= best[:, -1:]) >= effort.recall_at_10 - 0.05


@pytest.mark.slow
def test_hits_with_shared_codebooks_are_those_of_one_index_with_them(tmp_path, monkeypatch):
    """All lists visited and all candidates rescored, approximate structures are exact, whatever the shards."""
    monkeypatch.setattr(FaissStructure, "efforts", lambda self: [Effort(nprobe=4, rescored=N)])
    corpus = open_corpus(write_jsonl(tmp_path / "corpus.jsonl", make_passages(N)))
    options = {"encoder": GivenVectors(VECTORS), "factory": "IVF4,PQ4x4fs"}
    sharded, one = (PassageIndex.build(corpus, tmp_path / f"{n}", shards=n, **options) for n in (4, 1))
    assert_equal(sharded.search(QUERIES, 50), one.search(QUERIES, 50))
    assert_equal(sharded.search(QUERIES, 50), one.search(QUERIES, 50, exact=True))


@pytest.mark.slow
def test_shards_of_a_few_passages_fill_up_the_hits(tmp_path):
    passages = make_passages(7)
    index = make_sharded(tmp_path / "index", passages, GivenVectors(VECTORS), 7)
    assert sorted(index.search(QUERIES[:1], 10)[1][0].tolist()) == list(range(7))


def structure(*recalls):
    return StructureInfo(
        factory="X", n_sampled=1, efforts=tuple(Effort(rescored=10 + i, recall_at_10=r) for i, r in enumerate(recalls))
    )


def test_efforts_of_the_whole_are_reached_in_every_shard():
    efforts = common_efforts([structure(0.9, 0.95, 1.0), structure(0.92, 0.97)])
    assert [effort.recall_at_10 for effort in efforts] == [0.9, 0.92, 0.95, 0.97]
    assert [effort.recall_at_10 for effort in common_efforts([structure(0.5)])] == [0.5]
