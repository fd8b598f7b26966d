"""Types of the arrays that are passed between packages, and the normalisation of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Any dtype, any shape."""

Floats = NDArray[np.float32]
"""float32, any shape."""

Vectors = NDArray[np.float32]
"""float32, (n, dim): a vector in each row."""

Scores = NDArray[np.float32]
"""float32: inner products of queries and passages, or other scores of hits."""

Positions = NDArray[np.int64]
"""int64: positions of passages in an index, -1 for none."""

_MIN_LENGTH = np.float32(1e-12)


def l2_normalised(vectors: Vectors) -> Vectors:
    """Return vectors of length 1, float32, (n, dim); zeros stay zeros. A row does not depend on the others."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    normalised: Vectors = vectors / np.maximum(lengths, _MIN_LENGTH)
    return normalised
