"""How much memory a process holds, and whether it grows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

PROCESSES = Path("/proc")


def held_bytes(process: int, processes: Path = PROCESSES) -> int | None:
    """Return the resident memory of a process and of those it has started, None where the system does not tell.

    What several of them share, such as mapped files, counts for each.

    Args:
        process: Its id.
        processes: Where the system tells of processes.
    """
    try:
        pages = int((processes / str(process) / "statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    started = (held_bytes(one, processes) for one in _started_by(process, processes))
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(size for size in started if size is not None)


def _started_by(process: int, processes: Path) -> list[int]:
    found: list[int] = []
    for thread in (processes / str(process) / "task").glob("*/children"):
        with suppress(OSError):  # a thread that has just ended
            found += map(int, thread.read_text().split())
    return found


def growth_per_hour(held: Sequence[tuple[float, int]]) -> float | None:
    """Return bytes gained an hour: the slope of a line through (seconds, bytes); None for fewer than three points."""
    if len(held) < 3:
        return None
    at_s, value = np.asarray(held, float).T
    if np.ptp(at_s) <= 0:
        return None
    return float(np.polyfit(at_s - at_s[0], value, 1)[0] * 3600)
