"""Timing of several cases in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TypeVar

from elasticdenser.progress import Progress

Case = TypeVar("Case")


def time_in_turns(
    cases: Mapping[Case, Callable[[int], object]], rounds: int, progress: Progress, what: str
) -> dict[Case, list[float]]:
    """Return the run times of each case in seconds.

    Args:
        cases: The cases; each is called with the number of the round.
        rounds: Number of times that each case runs. In every round all of them take their turn, so that a noisy moment
            affects all alike. A round before the first loads and warms up, and is not counted.
        progress: Called with (`what`, done, total).
        what: Name of the work.
    """
    times: dict[Case, list[float]] = {case: [] for case in cases}
    for number in range(rounds + 1):
        progress(what, number, rounds + 1)
        for case, run in cases.items():
            started_s = perf_counter()
            run(number)
            if number:
                times[case].append(perf_counter() - started_s)
    progress(what, rounds + 1, rounds + 1)
    return times
