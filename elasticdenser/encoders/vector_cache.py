"""Vectors of queries that were asked before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.errors import QueryError
from elasticdenser.subnet import Subnet


class VectorCache:
    """The vectors of the queries asked last, by size and text, of one encoder; safe to use from several threads.

    A query's vector does not depend on its batch, so a kept one is the very one that would be computed.

    Attributes:
        hits: Queries whose vector was there.
        misses: Queries whose vector had to be computed.

    Args:
        most: Vectors that are kept at most; the one that was not asked for the longest goes first.

    Raises:
        QueryError: `most` is no whole number above 0.
    """

    def __init__(self, most: int) -> None:
        if type(most) is not int or most < 1:
            raise QueryError(f"got a cache of {most!r} vectors; expected a whole number above 0, or no cache")
        self.most, self.hits, self.misses = most, 0, 0
        self._kept: OrderedDict[tuple[Subnet, str], Vectors] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def encode(self, queries: Sequence[str], subnet: Subnet, compute: Callable[[list[str]], Vectors]) -> Vectors:
        """Return the vectors of queries, float32, (n_queries, dim), computing those that are not there.

        Args:
            queries: Any number, or none.
            subnet: Their size.
            compute: Called, if at all, once with those that are missing, each once.
        """
        found: dict[str, Vectors] = {}
        with self._lock:
            for query in queries:
                vector = self._kept.get((subnet, query))
                if vector is not None:
                    self._kept.move_to_end((subnet, query))
                    found[query] = vector
        missing = [query for query in dict.fromkeys(queries) if query not in found]
        if missing:
            # Copies: a row that is kept must not hold its whole batch.
            found |= {query: row.copy() for query, row in zip(missing, compute(missing), strict=True)}
        with self._lock:
            self.hits += len(queries) - len(missing)
            self.misses += len(missing)
            for query in missing:
                self._kept[subnet, query] = found[query]
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return np.stack([found[query] for query in queries]) if len(queries) else compute([])
