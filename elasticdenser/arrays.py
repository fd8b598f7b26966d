"""Names for the arrays that pass between packages."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of any dtype."""

Floats = NDArray[np.float32]
"""float32, of any shape."""

Vectors = NDArray[np.float32]
"""float32, (n, dim): a vector in each row."""

Scores = NDArray[np.float32]
"""float32: inner products of queries with passages."""

Positions = NDArray[np.int64]
"""int64: positions of passages in an index, -1 where there is none."""
