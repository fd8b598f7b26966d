"""Cache of arrays on disk, computed in chunks of rows: an interruption costs one chunk."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np

from elasticdenser.arrays import Array
from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk, replace_file
from elasticdenser.errors import BuildError
from elasticdenser.index.locking import exclusive_lock

CHUNK_ROWS = 4096
"""Rows that are computed and saved together: some seconds of encoding, which a kill repeats."""


def cached_rows(
    path: Path,
    shape: tuple[int, ...],
    dtype: str,
    compute: Callable[[slice], Array],
    progress: Callable[[int, int], None],
    *,
    chunk_rows: int | None = None,
) -> Array:
    """Return the array in the file `path`, memory-mapped; compute it first where the file is missing.

    Args:
        path: The file: the bytes of the array and nothing else.
        shape: Shape of the array.
        dtype: Type of the array, such as `<f2`.
        compute: Returns the rows of a slice.
        progress: Called with the number of rows that are done, and of all rows.
        chunk_rows: Rows that are computed and saved together; None is `CHUNK_ROWS`.

    Raises:
        BuildError: Another process computes it, or the file is damaged or cannot be written.
    """
    path = path.resolve()  # unfinished rows must be on the disk of the file that a link leads to
    n_bytes = prod(shape) * np.dtype(dtype).itemsize
    if not path.exists():
        with exclusive_lock(path), explained_os_errors(path):
            if not path.exists():  # another process may have finished it meanwhile
                n_chunk = chunk_rows or CHUNK_ROWS
                row_bytes = n_bytes // shape[0]
                _compute_file(path, shape[0], row_bytes, n_chunk, lambda rows: compute(rows).astype(dtype), progress)
    if path.stat().st_size != n_bytes:
        raise BuildError(
            f"{path} has {path.stat().st_size} bytes, expected {n_bytes}: remove it, then run the same command again"
        )
    return np.memmap(path, dtype, "r", shape=shape)


def _compute_file(
    path: Path,
    n_rows: int,
    row_bytes: int,
    n_chunk: int,
    compute: Callable[[slice], Array],
    progress: Callable[[int, int], None],
) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    with open(unfinished, "ab") as file:
        # The last chunk of an earlier call may be cut, or not be on the disk after a power cut: compute it again.
        done = max(0, file.tell() - 1) // (row_bytes * n_chunk) * n_chunk
        file.truncate(done * row_bytes)
        for start in range(done, n_rows, n_chunk):
            progress(start, n_rows)
            file.write(compute(slice(start, min(start + n_chunk, n_rows))).tobytes())
            flush_to_disk(file)
    replace_file(unfinished, path)
    flush_folder(path.parent)
    progress(n_rows, n_rows)
