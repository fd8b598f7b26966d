"""The cache of query vectors: exact, bounded, by subnet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from elasticdenser import ElasticQueryEncoder
from elasticdenser.encoders.vector_cache import VectorCache
from elasticdenser.errors import QueryError
from elasticdenser.subnet import Subnet

LARGE, SMALL = Subnet(1.0, 2), Subnet(0.5, 1)


class RecordingEncoder:
    """Computes vectors, and records the queries of each call."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, queries: list[str]) -> np.ndarray:
        self.calls.append(queries)
        return np.array([[len(query), sum(map(ord, query))] for query in queries], np.float32)


def test_cached_vectors_are_not_computed_again():
    cache, compute = VectorCache(10), RecordingEncoder()
    first = cache.get_or_compute(["a", "bb", "a"], LARGE, compute)
    again = cache.get_or_compute(["bb", "ccc"], LARGE, compute)
    assert compute.calls == [["a", "bb"], ["ccc"]]
    assert np.array_equal(first, RecordingEncoder()(["a", "bb", "a"])) and np.array_equal(
        again, RecordingEncoder()(["bb", "ccc"])
    )
    assert (cache.hits, cache.misses, len(cache)) == (2, 3, 3)


def test_subnets_do_not_share_vectors():
    cache, compute = VectorCache(10), RecordingEncoder()
    for subnet in (LARGE, SMALL):
        cache.get_or_compute(["a"], subnet, compute)
    assert compute.calls == [["a"], ["a"]]


def test_it_is_bounded_and_evicts_the_least_recently_used():
    cache, compute = VectorCache(2), RecordingEncoder()
    for query in ("a", "b", "a", "c", "a", "b"):
        cache.get_or_compute([query], LARGE, compute)
    assert compute.calls == [["a"], ["b"], ["c"], ["b"]] and len(cache) == 2
    many = [str(number) for number in range(20)]
    assert np.array_equal(cache.get_or_compute(many, LARGE, compute), RecordingEncoder()(many)) and len(cache) == 2


def test_changes_of_returned_vectors_do_not_reach_the_cache():
    cache, compute = VectorCache(2), RecordingEncoder()
    cache.get_or_compute(["a"], LARGE, compute)[:] = 0
    assert np.array_equal(cache.get_or_compute(["a"], LARGE, compute), RecordingEncoder()(["a"]))


def test_threads_get_the_right_vectors():
    cache, compute = VectorCache(5), RecordingEncoder()
    batches = [[f"{(start * 7 + offset) % 13}" for offset in range(4)] for start in range(200)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda batch: cache.get_or_compute(batch, LARGE, compute), batches))
    assert all(
        np.array_equal(vectors, RecordingEncoder()(batch)) for vectors, batch in zip(results, batches, strict=True)
    )
    assert cache.hits + cache.misses == 800 and len(cache) == 5


@pytest.mark.slow
def test_an_encoder_with_a_cache_gives_the_same_vectors(tiny_elastic):
    plain = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    cached = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu", cache=3)
    for subnet in plain.subnets:
        for queries in (["dune"], ["dune", "who wrote dune"], ["spice", "dune"]):
            np.testing.assert_allclose(cached.encode(queries, subnet), plain.encode(queries, subnet), atol=2e-6)
    assert cached.cache.hits == 2 * len(plain.subnets)
    assert plain.cache is None
    with pytest.raises(QueryError, match="query number 1"):
        cached.encode([" "])


def test_a_maximum_below_one_is_refused():
    for max_vectors in (-1, 0, 2.5, True):
        with pytest.raises(QueryError, match=f"got a cache of {max_vectors} vectors, expected a whole number above 0"):
            VectorCache(max_vectors)


def test_no_queries_give_no_vectors():
    assert VectorCache(2).get_or_compute([], LARGE, lambda missing: np.empty((len(missing), 4), np.float32)).shape == (
        0,
        4,
    )
