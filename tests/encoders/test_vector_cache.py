"""The cache of query vectors: exact, bounded, by subnet."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from elasticdenser import ElasticQueryEncoder
from elasticdenser.encoders.vector_cache import VectorCache
from elasticdenser.errors import QueryError
from elasticdenser.subnet import Subnet

BIG, SMALL = Subnet(1.0, 2), Subnet(0.5, 1)


class Counting:
    """Computes vectors, and records the queries of each call."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, queries: list[str]) -> np.ndarray:
        self.calls.append(queries)
        return np.array([[len(query), sum(map(ord, query))] for query in queries], np.float32)


def test_what_is_there_is_not_computed_again():
    cache, compute = VectorCache(10), Counting()
    first = cache.get_or_compute(["a", "bb", "a"], BIG, compute)
    again = cache.get_or_compute(["bb", "ccc"], BIG, compute)
    assert compute.calls == [["a", "bb"], ["ccc"]]
    assert np.array_equal(first, Counting()(["a", "bb", "a"])) and np.array_equal(again, Counting()(["bb", "ccc"]))
    assert (cache.hits, cache.misses, len(cache)) == (2, 3, 3)


def test_subnets_do_not_share_vectors():
    cache, compute = VectorCache(10), Counting()
    for subnet in (BIG, SMALL):
        cache.get_or_compute(["a"], subnet, compute)
    assert compute.calls == [["a"], ["a"]]


def test_it_is_bounded_and_forgets_what_was_asked_longest_ago():
    cache, compute = VectorCache(2), Counting()
    for query in ("a", "b", "a", "c", "a", "b"):
        cache.get_or_compute([query], BIG, compute)
    assert compute.calls == [["a"], ["b"], ["c"], ["b"]] and len(cache) == 2
    many = [str(at) for at in range(20)]
    assert np.array_equal(cache.get_or_compute(many, BIG, compute), Counting()(many)) and len(cache) == 2


def test_what_a_caller_does_to_vectors_stays_with_the_caller():
    cache, compute = VectorCache(2), Counting()
    cache.get_or_compute(["a"], BIG, compute)[:] = 0
    assert np.array_equal(cache.get_or_compute(["a"], BIG, compute), Counting()(["a"]))


def test_threads():
    cache, compute = VectorCache(5), Counting()
    batches = [[f"{(start * 7 + at) % 13}" for at in range(4)] for start in range(200)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda batch: cache.get_or_compute(batch, BIG, compute), batches))
    assert all(np.array_equal(vectors, Counting()(batch)) for vectors, batch in zip(results, batches, strict=True))
    assert cache.hits + cache.misses == 800 and len(cache) == 5


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


def test_a_cache_of_nothing_is_refused():
    for max_vectors in (-1, 0, 2.5, True):
        with pytest.raises(QueryError, match=f"got a cache of {max_vectors} vectors, expected a whole number above 0"):
            VectorCache(max_vectors)


def test_no_queries():
    assert VectorCache(2).get_or_compute([], BIG, lambda missing: np.empty((len(missing), 4), np.float32)).shape == (
        0,
        4,
    )
