"""Minimum levels and minimum qualities of requests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from engine_helpers import PROFILE, request, scheduler_of

from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.errors import QueryError

BY_LENGTH = Profile(
    levels=[
        replace(level, quality_by_tokens={} if number == 0 else {8: level.quality, 64: level.quality - 0.1})
        for number, level in enumerate(PROFILE.levels)
    ]
)


def test_a_minimum_level_holds_under_load():
    scheduler = scheduler_of()
    scheduler.add(request(0, timeout_s=0.02, minimum_level="w0.5-d3"))
    for number in range(1, 60):
        scheduler.add(request(number))
    batch = scheduler.schedule(0.0)
    assert (batch.level, len(batch.jobs)) == ("w0.5-d3", 1)
    scheduler.finish(batch, 0.001)
    assert scheduler.schedule(0.001).level == "level0"


@pytest.mark.parametrize(
    ("minimum_quality", "n_tokens", "level"),
    [
        (0.95, 8, "w0.5-d3"),
        (0.95, 9, "w1-d6"),
        (0.85, 9, "w0.5-d3"),
        (0.86, 9, "w1-d3"),
        (0.9, None, "w0.25-d2"),
        (0.7, 9, "level0"),
        (0.0, 9, "level0"),
    ],
)
def test_a_minimum_quality_holds_for_the_length_of_the_query(minimum_quality, n_tokens, level):
    scheduler = scheduler_of("static:level0", BY_LENGTH)
    scheduler.add(request(0, timeout_s=0.02, minimum_quality=minimum_quality, n_tokens=n_tokens))
    for number in range(1, 6):
        scheduler.add(request(number))
    batch = scheduler.schedule(0.0)
    assert (batch.level, len(batch.jobs)) == (level, 6 if level == "level0" else 1)


def test_the_stricter_of_two_minimums_counts():
    for minimum_level, minimum_quality, expected in (("w1-d3", 0.9, "w1-d3"), ("w0.25-d2", 0.97, "w1-d3")):
        scheduler = scheduler_of("static:level0")
        scheduler.add(request(0, minimum_level=minimum_level, minimum_quality=minimum_quality))
        assert scheduler.schedule(0.0).level == expected


def test_the_best_level_serves_where_none_has_the_minimum_quality():
    profile = Profile(levels=PROFILE.levels[1:])
    scheduler = scheduler_of("static:level0", profile)
    scheduler.add(request(0, minimum_quality=0.99))
    assert scheduler.schedule(0.0).level == "w1-d3"
    with pytest.raises(OverloadedError, match="even at w1-d3"):
        scheduler.add(request(1, timeout_s=0.0005, minimum_quality=0.99))


def test_a_minimum_quality_that_every_level_has_restricts_nothing():
    scheduler = scheduler_of()
    scheduler.add(request(0, minimum_quality=0.82))
    assert not scheduler._queue.n_restricted


def test_an_unknown_minimum_level_is_refused():
    with pytest.raises(QueryError, match="got level 'w7-d7'"):
        scheduler_of().add(request(0, minimum_level="w7-d7"))
