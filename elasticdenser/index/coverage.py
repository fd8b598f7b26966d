"""Coverage of searches: the share of the passages that a search has seen where parts of an index are out of reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_shares: ContextVar[list[float] | None] = ContextVar("shares", default=None)


def report_coverage(share: float) -> None:
    """Record the share of the passages, from 0 to 1, that a search in this thread has seen."""
    shares = _shares.get()
    if shares is not None:
        shares.append(share)


@contextmanager
def collected_coverage() -> Iterator[list[float]]:
    """Collect what searches in this thread report, in the yielded list; searches of everything need not report."""
    shares: list[float] = []
    token = _shares.set(shares)
    try:
        yield shares
    finally:
        _shares.reset(token)
