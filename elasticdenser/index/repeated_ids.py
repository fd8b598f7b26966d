"""Ids that are in several parts of an index, found by their hashes, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_COMPARED_AT_ONCE = 1 << 22
"""Hashes that are copied into memory at a time: 32 MB."""


def hashes_in_several(parts: Sequence[Hashes], at_once: int = _COMPARED_AT_ONCE) -> Hashes:
    """Return the hashes that are in more than one part: uint64, (n,), in rising order.

    Args:
        parts: The hashes of each part, uint64, in rising order, in memory or memory-mapped.
        at_once: How many hashes are compared at a time, if they are spread evenly.
    """
    if len(parts) < 2:
        return np.empty(0, np.uint64)
    n_ranges = max(1, sum(map(len, parts)) // at_once)
    bounds = [np.uint64(2**64 * number // n_ranges) for number in range(1, n_ranges)]
    ends = [[0, *np.searchsorted(part, np.array(bounds, np.uint64)).tolist(), len(part)] for part in parts]
    found = [
        _in_several([part[own[i] : own[i + 1]] for part, own in zip(parts, ends, strict=True)]) for i in range(n_ranges)
    ]
    return np.concatenate(found)


def _in_several(parts: Sequence[Hashes]) -> Hashes:
    together = np.sort(np.concatenate([np.unique(part) for part in parts]))
    return np.unique(together[1:][together[1:] == together[:-1]])
