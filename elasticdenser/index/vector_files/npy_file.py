"""Files of NumPy, `.npy`, that hold one vector in each row."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np

from elasticdenser.arrays import Array, Vectors
from elasticdenser.errors import BadInputError

_UNKNOWN: str | None = None
"""The file does not say how its vectors are compared."""

_MAGIC = b"\x93NUMPY"


class NpyFile:
    """File of NumPy with a table of floating-point numbers; a `VectorFile`.

    Args:
        path: The file.
        table: Its content, floats, (n_vectors, dim), memory-mapped.
    """

    def __init__(self, path: Path, table: Array) -> None:
        self.path, self._table = path, table
        self.n_vectors, self.dim = table.shape
        self.is_lossy, self.metric = False, _UNKNOWN

    @classmethod
    def accepts(cls, path: Path) -> bool:
        """Return whether a file has the first bytes or the suffix of NumPy's files."""
        with open(path, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC or path.suffix.lower() == ".npy"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Open a file.

        Raises:
            BadInputError: NumPy cannot read it, or it holds something else than a table of floating-point numbers.
        """
        try:
            table = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # the header is a literal of Python, whose faults are of many types
            raise BadInputError(f"NumPy cannot read it ({error}), expected a .npy file of numbers", path) from None
        if table.ndim != 2 or table.dtype.kind != "f":
            got = f"got an array of {table.dtype} and shape {table.shape}"
            raise BadInputError(f"{got}, expected floating-point numbers, one vector in each row", path)
        return cls(path, table)

    def vectors(self, start: int, n_vectors: int) -> Vectors:
        """Return some of the vectors, float32, (n_vectors, dim)."""
        return np.ascontiguousarray(self._table[start : start + n_vectors], np.float32)
