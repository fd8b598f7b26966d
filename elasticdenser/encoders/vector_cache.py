"""Cache of query vectors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.errors import QueryError
from elasticdenser.subnet import Subnet


class VectorCache:
    """Least-recently-used cache of one encoder's vectors by subnet and query; safe to use from several threads.

    A vector does not depend on its batch, so a cached one may stand for a new one: in int8 it is the same to the bit,
    else within the bounds in `elasticdenser.encoders.backends`.

    Attributes:
        hits: Queries whose vector was cached.
        misses: Queries whose vector had to be computed.

    Args:
        max_vectors: Vectors to keep.

    Raises:
        QueryError: `max_vectors` is not a whole number above 0.
    """

    def __init__(self, max_vectors: int) -> None:
        if type(max_vectors) is not int or max_vectors < 1:
            raise QueryError(f"got a cache of {max_vectors!r} vectors, expected a whole number above 0, or no cache")
        self.max_vectors, self.hits, self.misses = max_vectors, 0, 0
        self._vectors: OrderedDict[tuple[Subnet, str], Vectors] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._vectors)

    def get_or_compute(
        self, queries: Sequence[str], subnet: Subnet, compute: Callable[[list[str]], Vectors]
    ) -> Vectors:
        """Return the vectors of queries, float32, (n_queries, dim), computing those that are not cached.

        Args:
            queries: The queries; there may be none.
            subnet: The subnet to encode them with.
            compute: Computes the vectors of the missing queries; called at most once, with each query once.
        """
        vectors: dict[str, Vectors] = {}
        with self._lock:
            for query in queries:
                vector = self._vectors.get((subnet, query))
                if vector is not None:
                    self._vectors.move_to_end((subnet, query))
                    vectors[query] = vector
        missing = [query for query in dict.fromkeys(queries) if query not in vectors]
        if missing:
            # Copies: a cached row must not keep its whole batch in memory.
            vectors |= {query: row.copy() for query, row in zip(missing, compute(missing), strict=True)}
        with self._lock:
            self.hits += len(queries) - len(missing)
            self.misses += len(missing)
            for query in missing:
                self._vectors[subnet, query] = vectors[query]
            while len(self._vectors) > self.max_vectors:
                self._vectors.popitem(last=False)
        return np.stack([vectors[query] for query in queries]) if len(queries) else compute([])
