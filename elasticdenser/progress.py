"""Progress of long work, reported to a callback."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with the name of the current step, how much of it is done, and how much there is in all (0 if unknown)."""


def silent(step: str, done: int, total: int) -> None:
    """Report nothing."""
