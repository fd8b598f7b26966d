"""Mean load of a replica, by a clock of the test."""

from __future__ import annotations

import pytest

from elasticdenser.index.sharding.remote.load_meter import LoadMeter


def test_the_load_is_the_mean_over_time_of_requests_that_run_and_wait():
    now = [0.0]
    meter = LoadMeter(lambda: now[0])
    now[0] = 2.0
    with meter.running(3.0):
        now[0] = 3.0  # 1 second of 1 + 3
        with meter.running(0.5):
            now[0] = 5.0  # 2 seconds of 2 + 0.5
    now[0] = 10.0  # nothing waits for a replica that is idle
    assert meter.take_mean() == pytest.approx((4 + 5) / 10)
    now[0] = 12.0
    assert meter.take_mean() == 0.0
    assert meter.take_mean() == 0.0  # at once
