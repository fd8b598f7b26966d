"""Models of traffic: rates, shapes, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from elasticdenser.engine.simulation.arrivals import ClosedLoop, bursts, day, poisson, replayed
from elasticdenser.errors import BadInputError, QueryError


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def check(times, seconds):
    assert (np.diff(times) >= 0).all()
    assert not len(times) or (times[0] >= 0 and times[-1] < seconds)


def test_poisson(rng):
    times = poisson(200, 50, rng)
    check(times, 50)
    assert len(times) == pytest.approx(10_000, rel=0.05)
    gaps = np.diff(times)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.1)


def test_bursts_have_two_rates_and_start_calm(rng):
    times = bursts(50, 2000, 200, rng, mean_calm_s=4, mean_burst_s=1)
    check(times, 200)
    per_s, _ = np.histogram(times, bins=200, range=(0, 200))
    assert (per_s < 120).sum() > 80 and (per_s > 1500).sum() > 5
    assert len(bursts(50, 2000, 0.01, rng)) < 20


def test_a_day_is_quiet_at_night_and_busy_in_the_afternoon(rng):
    times = day(500, 24, rng, peak=1.8)
    check(times, 24)
    per_hour, _ = np.histogram(times, bins=24, range=(0, 24))
    assert len(times) == pytest.approx(12_000, rel=0.05)
    assert per_hour[14:16].mean() == pytest.approx(900, rel=0.1)
    assert per_hour[2:4].mean() == pytest.approx(100, rel=0.3)


def test_a_trace_is_replayed_at_any_rate_and_repeated(tmp_path):
    path = tmp_path / "trace.txt"
    path.write_text("10\n11\n11\n17\n")
    assert replayed(path, 4, 1) == pytest.approx([0, 0.25 * 3 / 7, 0.25 * 3 / 7, 0.75])
    times = replayed(path, 400, 2.5)
    check(times, 2.5)
    assert len(times) == 1000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "0 arrivals"),
        ("1\n", "1 arrivals"),
        ("2\n2\n", "2 arrivals"),
        ("1\nx\n", ":2: got 'x'"),
        ("2\n1\n", ":2: got '1'"),
        ("1\nnan\n", ":2: got 'nan'"),
        ("1\n\n", ":2: got ''"),
    ],
)
def test_files_that_are_no_trace_are_refused(tmp_path, content, said):
    path = tmp_path / "trace.txt"
    path.write_text(content)
    with pytest.raises(BadInputError, match=said):
        replayed(path, 10, 1)


def test_values_out_of_range_are_refused(rng):
    for refused in (
        lambda: poisson(0, 1, rng),
        lambda: poisson(1, math.inf, rng),
        lambda: bursts(1, 2, 1, rng, mean_burst_s=0),
        lambda: day(1, 1, rng, peak=3),
        lambda: ClosedLoop(clients=0),
        lambda: ClosedLoop(clients=1, think_s=-1),
    ):
        with pytest.raises(QueryError, match="expected"):
            refused()
