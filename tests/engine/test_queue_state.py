"""What a policy sees: whether the queue drains."""

from __future__ import annotations

from bisect import bisect_right

from engine_helpers import PROFILE, SLO_S, request
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.engine.deadline_queue import DeadlineQueue
from elasticdenser.engine.queue_state import QueueState
from elasticdenser.engine.request import Job

LARGEST = [level.enough(SLO_S / 2) for level in PROFILE.levels]


def load_of(within_s, free_s, ratio=1.0):
    queue = DeadlineQueue(len(PROFILE.levels))
    for number, seconds in enumerate(within_s):
        queue.insert(Job(request(number, within_s=seconds), len(PROFILE.levels)))
    return QueueState(
        PROFILE,
        ratio=ratio,
        queue=queue,
        free_s=sorted(free_s),
        now_s=0.0,
        rate_per_s=0.0,
        capacity_per_s=1.0,
        slo_s=SLO_S,
        reserve_s=0.0,
        largest=LARGEST,
    )


def drains_step_by_step(load, place, reserve_s, stretch):
    free_s, left = list(load.free_s), list(load.queue.deadlines_s)
    latency_s = [load.ratio * stretch * seconds for seconds in PROFILE.levels[place].latency_s]
    while left:
        worker = free_s.index(min(free_s))
        size = min(len(left), LARGEST[place], bisect_right(latency_s, left[0] - reserve_s - free_s[worker] + 1e-12) - 1)
        if size < 1:
            return False
        free_s[worker] += latency_s[size]
        del left[:size]
    return True


@given(
    st.lists(st.floats(0.0, 0.05), min_size=1, max_size=30),
    st.lists(st.floats(0.0, 0.01), min_size=1, max_size=3),
    st.integers(0, len(PROFILE.levels) - 1),
    st.sampled_from([0.0, 0.0025]),
    st.sampled_from([1.0, 1.5]),
)
def test_a_queue_drains_at_a_glance_as_it_does_step_by_step(within_s, free_s, place, reserve_s, stretch):
    load = load_of(within_s, free_s)
    drains = load.drains(place, reserve_s, stretch=stretch)
    # Within a rounding error either is right.
    strictly = drains_step_by_step(load, place, reserve_s + 1e-9, stretch)
    loosely = drains_step_by_step(load, place, reserve_s - 1e-9, stretch)
    assert strictly <= drains <= loosely or strictly > loosely
