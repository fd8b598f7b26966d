"""Correction of profiled run times by observed ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.engine.latency_correction import LatencyCorrection


def test_a_slow_machine_is_noticed_within_ten_batches_and_forgotten_later():
    correction = LatencyCorrection()
    for _ in range(15):
        correction.observe(0.001, 0.002)
    assert correction.ratio == pytest.approx(2, rel=0.1)
    for _ in range(100):
        correction.observe(0.001, 0.001)
    assert correction.ratio == pytest.approx(1, rel=0.1)


def test_a_single_pause_counts_for_little():
    correction = LatencyCorrection()
    correction.observe(0.001, 5.0)
    assert correction.ratio <= 1.2


def test_the_ratio_decays_without_observations():
    correction = LatencyCorrection(half_life_s=1.0)
    correction.decay(100.0)
    for _ in range(50):
        correction.observe(0.001, 0.005)
    slow = correction.ratio
    correction.decay(100.0)
    assert correction.ratio == slow
    correction.decay(101.0)
    assert correction.ratio - 1 == pytest.approx((slow - 1) / 2)


@given(st.lists(st.floats(1e-6, 10), max_size=200))
def test_the_ratio_stays_within_its_bounds(times_s):
    correction = LatencyCorrection(lowest=0.5, highest=4)
    for run_s in times_s:
        correction.observe(0.001, run_s)
        assert 0.5 <= correction.ratio <= 4
