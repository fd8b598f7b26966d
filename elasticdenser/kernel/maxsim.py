"""Late interaction: the highest cosines of a query's tokens to those of passages, computed by the kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elasticdenser.arrays import Floats
from elasticdenser.kernel.packing import padded
from elasticdenser.kernel.paths import path_number


def highest_cosines(
    rows: NDArray[np.uint8], dim: int, bounds: NDArray[np.int64], query: Floats, *, path: str | None = None
) -> Floats:
    """Return the highest cosine of each token of a query to one of each passage, in the calling thread.

    Those of a passage do not depend on the other passages, to the bit.

    Args:
        rows: Vectors of the passages' tokens: whole numbers of 8 bits, and whatever stands behind them; uint8,
            (n_rows, row bytes).
        dim: Numbers of a vector; below 1,041, or sums of their products are rounded.
        bounds: The first row of each passage and the one behind its last, int64, (n_passages, 2).
        query: Vectors of the query's tokens, whole numbers from -127 to 127, float32, (n_tokens, dim).
        path: One of `kernel_paths`; None is the fastest.

    Returns:
        float32, (n_passages, n_tokens); -infinity for passages without tokens.
    """
    from elasticdenser.kernel import _kernel

    n_tokens = len(query)
    columns = np.zeros((dim, padded(n_tokens, 16)), np.float32)
    columns[:, :n_tokens] = query.T
    highest = np.empty((len(bounds), columns.shape[1]), np.float32)
    _kernel.maxsim(
        path_number(path),
        np.ascontiguousarray(rows),
        rows.shape[1],
        dim,
        np.ascontiguousarray(bounds, np.int64),
        columns,
        highest,
    )
    norms = np.sqrt(np.maximum((query * query).sum(axis=1), np.float32(1)))
    cosines: Floats = highest[:, :n_tokens] / norms
    return cosines
