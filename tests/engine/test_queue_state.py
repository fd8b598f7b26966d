"""State that a policy sees: whether the queue drains in time."""

from __future__ import annotations

from bisect import bisect_right

from engine_helpers import PROFILE, SLO_S, request
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.engine.deadline_queue import DeadlineQueue
from elasticdenser.engine.queue_state import QueueState
from elasticdenser.engine.request import Job

MAX_BATCH_SIZES = [level.efficient_batch_size(SLO_S / 2) for level in PROFILE.levels]


def state_of(timeouts_s, free_s, ratio=1.0):
    queue = DeadlineQueue(len(PROFILE.levels))
    for number, seconds in enumerate(timeouts_s):
        queue.insert(Job(request(number, timeout_s=seconds), len(PROFILE.levels)))
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
        max_batch_sizes=MAX_BATCH_SIZES,
    )


def drains_step_by_step(state, level_index, reserve_s, safety_factor):
    free_s, left = list(state.free_s), list(state.queue.deadlines_s)
    latency_s = [state.ratio * safety_factor * seconds for seconds in PROFILE.levels[level_index].latency_s]
    while left:
        worker = free_s.index(min(free_s))
        size = min(
            len(left),
            MAX_BATCH_SIZES[level_index],
            bisect_right(latency_s, left[0] - reserve_s - free_s[worker] + 1e-12) - 1,
        )
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
def test_a_queue_drains_as_it_does_step_by_step(timeouts_s, free_s, level_index, reserve_s, safety_factor):
    state = state_of(timeouts_s, free_s)
    drains = state.drains_in_time(level_index, reserve_s, safety_factor=safety_factor)
    # Within a rounding error either is right.
    strictly = drains_step_by_step(state, level_index, reserve_s + 1e-9, safety_factor)
    loosely = drains_step_by_step(state, level_index, reserve_s - 1e-9, safety_factor)
    assert strictly <= drains <= loosely or strictly > loosely
