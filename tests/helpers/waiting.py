"""Waiting in tests of threads and processes."""

from __future__ import annotations

import time

LONG_DEADLINE_S = 5.0
"""A deadline that no pause of a busy machine exceeds."""


def wait_until(condition, timeout_s: float = 20.0, interval_s: float = 0.005) -> None:
    """Wait until a condition holds, checking it every `interval_s`; fail the test if it does not within `timeout_s`."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"the condition did not hold within {timeout_s:g} s"
        time.sleep(interval_s)
