"""Delay after which a second request is sent."""

from __future__ import annotations

import math

import pytest

from elasticdenser.errors import QueryError
from elasticdenser.hedging import HedgeDelay


def test_the_delay_is_the_percentile_of_the_latest_replies_of_a_kind():
    delay = HedgeDelay(90)
    for number in range(100):
        delay.observe("a", number / 100)
    assert delay.delay_s("a") == 0.9
    assert delay.delay_s("b") == math.inf  # no reply of this kind yet


def test_old_replies_are_forgotten():
    delay = HedgeDelay(50)
    for seconds in [10.0] * 300 + [1.0] * 256:
        delay.observe("a", seconds)
    assert delay.delay_s("a") == 1.0


def test_nothing_is_hedged_after_a_few_replies_or_without_a_percentile():
    few, never = HedgeDelay(50), HedgeDelay(None)
    for _ in range(20):
        few.observe("a", 1.0)
    for _ in range(200):
        never.observe("a", 1.0)
    assert few.delay_s("a") == never.delay_s("a") == math.inf


@pytest.mark.parametrize("percentile", [0, 100, -1])
def test_a_percentile_out_of_range_is_refused(percentile):
    with pytest.raises(QueryError, match="above 0 and below 100"):
        HedgeDelay(percentile)
