"""Memory of a process, and its growth."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

PROC = Path("/proc")


def resident_bytes(process_id: int, proc: Path = PROC) -> int | None:
    """Return the resident memory of a process and its descendants; None if the system has no proc file system.

    Memory that several processes share, such as mapped files, counts for each of them.

    Args:
        process_id: The process.
        proc: Mount point of the proc file system.
    """
    try:
        n_pages = int((proc / str(process_id) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    of_children = (resident_bytes(child, proc) for child in _children(process_id, proc))
    return n_pages * os.sysconf("SC_PAGE_SIZE") + sum(n_bytes for n_bytes in of_children if n_bytes is not None)


def _children(process_id: int, proc: Path) -> list[int]:
    children: list[int] = []
    for file in (proc / str(process_id) / "task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            children += map(int, file.read_text().split())
    return children


def growth_per_hour(samples: Sequence[tuple[float, int]]) -> float | None:
    """Return the growth in bytes per hour: the slope of a line fitted to (seconds, bytes); None below three samples."""
    if len(samples) < 3:
        return None
    seconds, n_bytes = np.asarray(samples, float).T
    if np.ptp(seconds) <= 0:
        return None
    return float(np.polyfit(seconds - seconds[0], n_bytes, 1)[0] * 3600)
