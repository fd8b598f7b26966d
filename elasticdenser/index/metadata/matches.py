"""Passages that meet a filter, and a cache of those of the last filters."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Positions
from elasticdenser.index.filters import Filter

MAX_CACHED_BYTES = 1 << 26
"""Memory of a cache: the masks of 350 filters of 191,000 passages, or of 7 filters of 9 million."""


class Matches:
    """Some of the passages of an index or a segment, such as those that meet a filter; immutable.

    Args:
        mask: bool, (n_passages,): True for those that do.

    Attributes:
        mask: The mask, read-only.
        n: Their number.
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask, self.n = mask, int(np.count_nonzero(mask))
        mask.setflags(write=False)

    @cached_property
    def positions(self) -> Positions:
        """Their positions, int64, (n,), rising."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask in bits, the first passage in the lowest one: uint8, (n_passages / 8, rounded up)."""
        return np.packbits(self.mask, bitorder="little")

    @property
    def share(self) -> float:
        """Share of the passages that meet the filter."""
        return self.n / len(self.mask)


class IndexMatches(Matches):
    """Passages of an index of several segments; immutable.

    Args:
        mask: bool, (n_passages,): True for those that meet the filter, by position.
        by_segment: The same by the rows of each segment, where deleted passages are rows that do not meet it.
    """

    def __init__(self, mask: NDArray[np.bool_], by_segment: Sequence[Matches]) -> None:
        super().__init__(mask)
        self.by_segment = tuple(by_segment)

    @property
    def n_bytes(self) -> int:
        """Memory of the masks."""
        arrays = {id(mask): mask.nbytes for mask in (self.mask, *(own.mask for own in self.by_segment))}
        return sum(arrays.values())


class MatchCache:
    """The matches of the filters that were used last, in bounded memory; safe to use from several threads.

    Args:
        max_bytes: Memory for masks.
    """

    def __init__(self, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self._max_bytes, self._n_bytes = max_bytes, 0
        self._matches: OrderedDict[Filter, IndexMatches] = OrderedDict()
        self._lock = Lock()

    def get(self, filter: Filter, evaluate: Callable[[Filter], IndexMatches]) -> IndexMatches:
        """Return the matches of a filter, evaluated if they are not known."""
        with self._lock:
            if filter in self._matches:
                self._matches.move_to_end(filter)
                return self._matches[filter]
        matches = evaluate(filter)  # two threads may do this at once, with the same result
        with self._lock:
            if filter not in self._matches:
                self._matches[filter] = matches
                self._n_bytes += matches.n_bytes
            while self._n_bytes > self._max_bytes and len(self._matches) > 1:
                self._n_bytes -= self._matches.popitem(last=False)[1].n_bytes
        return matches
