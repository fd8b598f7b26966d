"""Arrays that are made once, in chunks of rows, and kept on disk: an interruption costs one chunk."""

from __future__ import annotations

import os
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdenser.artifacts import explained_os_errors, flush_folder, flush_to_disk
from elasticdenser.errors import BuildError
from elasticdenser.index.locking import exclusive_lock

CHUNK = 4096
"""Texts that are encoded and saved together: about this much work is done twice after a kill."""


def kept_rows(
    path: Path,
    shape: tuple[int, ...],
    dtype: str,
    make: Callable[[slice], NDArray[Any]],
    progress: Callable[[int, int], None],
) -> NDArray[Any]:
    """Open the array kept at `path`; where there is none, make it in chunks of rows, going on with an earlier try.

    Raises:
        BuildError: Another process makes it, it is damaged, or the disk refuses.
    """
    n_bytes = prod(shape) * np.dtype(dtype).itemsize
    if not path.exists():
        with exclusive_lock(path), explained_os_errors(path):
            if not path.exists():
                _make_rows(path, shape[0], n_bytes // shape[0], lambda rows: make(rows).astype(dtype), progress)
    if path.stat().st_size != n_bytes:
        message = f"{path} has {path.stat().st_size} bytes; expected {n_bytes}: remove it, and it is made again"
        raise BuildError(message)
    return np.memmap(path, dtype, "r", shape=shape)


def _make_rows(
    path: Path, n_rows: int, row_bytes: int, make: Callable[[slice], NDArray[Any]], progress: Callable[[int, int], None]
) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    with open(unfinished, "ab") as file:
        # The last chunk of an earlier try may be cut, or after a power cut not be on the disk: it is made again.
        done = max(0, file.tell() - 1) // (row_bytes * CHUNK) * CHUNK
        file.truncate(done * row_bytes)
        for start in range(done, n_rows, CHUNK):
            progress(start, n_rows)
            file.write(make(slice(start, min(start + CHUNK, n_rows))).tobytes())
            flush_to_disk(file)
    os.replace(unfinished, path)
    flush_folder(path.parent)
    progress(n_rows, n_rows)
