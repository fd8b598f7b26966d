"""Arrival times of requests: models of traffic, and recorded traffic at any rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticdenser.datasets.files import read_lines
from elasticdenser.errors import BadInputError, QueryError

Times = NDArray[np.float64]
"""Times in seconds, rising."""


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """Clients that each send a request, wait for its end, pause, and send the next.

    Args:
        clients: Number of clients.
        think_s: Mean pause between an answer and the next request, exponentially distributed.

    Raises:
        QueryError: There is no client, or the time is negative.
    """

    clients: int
    think_s: float = 0.0

    def __post_init__(self) -> None:
        if self.clients < 1 or not 0 <= self.think_s < math.inf:
            message = f"got {self.clients} clients that pause for {self.think_s} s"
            raise QueryError(f"{message}; expected at least 1 client, and seconds of at least 0")


def poisson(rate_per_s: float, seconds: float, rng: np.random.Generator) -> Times:
    """Return arrival times of a Poisson process.

    Args:
        rate_per_s: Arrivals a second.
        seconds: Length of the period.
        rng: Random number generator.

    Returns:
        Times in seconds, float64, rising, in [0, seconds).

    Raises:
        QueryError: The rate or the length is not above 0.
    """
    _check(rate_per_s, seconds)
    return np.sort(rng.uniform(0.0, seconds, rng.poisson(rate_per_s * seconds)))


def bursts(
    calm_per_s: float,
    burst_per_s: float,
    seconds: float,
    rng: np.random.Generator,
    *,
    mean_calm_s: float = 4.0,
    mean_burst_s: float = 1.0,
) -> Times:
    """Return arrival times of a Markov-modulated Poisson process of two states, the calm one first.

    Args:
        calm_per_s: Arrivals a second between bursts.
        burst_per_s: Arrivals a second in bursts.
        seconds: Length of the period.
        rng: Random number generator.
        mean_calm_s: Mean time between bursts, exponentially distributed.
        mean_burst_s: Mean length of a burst, exponentially distributed.

    Returns:
        Times in seconds, float64, rising, in [0, seconds).

    Raises:
        QueryError: A rate or a time is not above 0.
    """
    for mean_s in (mean_calm_s, mean_burst_s):
        _check(mean_s, seconds)
    parts: list[Times] = []
    start_s, is_burst = 0.0, False
    while start_s < seconds:
        length_s = min(rng.exponential(mean_burst_s if is_burst else mean_calm_s), seconds - start_s)
        length_s = max(length_s, 1e-9)  # `poisson` refuses a length of 0
        parts.append(start_s + poisson(burst_per_s if is_burst else calm_per_s, length_s, rng))
        start_s, is_burst = start_s + length_s, not is_burst
    return np.concatenate(parts)


def day(mean_per_s: float, seconds: float, rng: np.random.Generator, *, peak: float = 2.0) -> Times:
    """Return arrival times over one day, compressed to `seconds`: quiet nights, busy afternoons.

    Args:
        mean_per_s: Mean arrivals a second.
        seconds: Length of the period.
        rng: Random number generator.
        peak: Rate at the busiest time, 3 p.m., as a multiple of the mean: between 1 and 2.

    Returns:
        Times in seconds, float64, rising, in [0, seconds).

    Raises:
        QueryError: A value is out of range.
    """
    if not 1 <= peak <= 2:
        raise QueryError(f"got a peak of {peak} times the mean; expected between 1 and 2")

    def relative_rate(at_s: Times) -> Times:
        return np.asarray(1 + (peak - 1) * np.cos(2 * np.pi * (at_s / seconds - 15 / 24)))

    return _thinned(relative_rate, peak, mean_per_s, seconds, rng)


def replayed(path: str | Path, rate_per_s: float, seconds: float) -> Times:
    """Return the arrival times of a trace, compressed or stretched so that its mean rate is `rate_per_s`.

    Args:
        path: A text file, plain or compressed, with a time in seconds on each line, in rising order.
        rate_per_s: Mean arrivals a second over the whole trace.
        seconds: Length of the period; a trace that ends before is repeated.

    Returns:
        Times in seconds, float64, rising, in [0, seconds).

    Raises:
        BadInputError: The file is missing, or a line is not a time, or is earlier than the line before.
        QueryError: The rate or the length is not above 0.
    """
    _check(rate_per_s, seconds)
    times: list[float] = []
    for number, line in read_lines(path):
        try:
            time_s = float(line)
        except ValueError:
            time_s = math.nan
        if not math.isfinite(time_s) or (times and time_s < times[-1]):
            raise BadInputError(f"got {line[:40]!r}; expected a time in seconds, not before the last one", path, number)
        times.append(time_s)
    if len(times) < 2 or times[-1] == times[0]:
        raise BadInputError(f"got a trace of {len(times)} arrivals; expected at least two at different times", path)
    trace = np.asarray(times) - times[0]
    # From the last arrival to the first of the repetition there is an average gap.
    period_s = len(trace) / rate_per_s
    trace *= period_s * (len(trace) - 1) / len(trace) / trace[-1]
    repetitions = [trace + number * period_s for number in range(math.ceil(seconds / period_s))]
    arrivals = np.concatenate(repetitions)
    return arrivals[arrivals < seconds]


def _thinned(
    relative_rate: Callable[[Times], Times], peak: float, mean_per_s: float, seconds: float, rng: np.random.Generator
) -> Times:
    """Return a Poisson process of changing rate: a process at the peak rate, thinned (Lewis and Shedler, 1979)."""
    times = poisson(peak * mean_per_s, seconds, rng)
    return times[rng.uniform(0.0, peak, len(times)) < relative_rate(times)]


def _check(rate_per_s: float, seconds: float) -> None:
    if not (0 < rate_per_s < math.inf and 0 < seconds < math.inf):
        raise QueryError(f"got {rate_per_s:g} a second over {seconds:g} s; expected both above 0")
