"""Load shedding: removal of jobs from a queue that cannot meet all its deadlines, so that the rest can.

Serving the most urgent jobs first does not help an overloaded queue: each first job is in a hurry, so batches are
small and therefore inefficient, which puts the next job in a hurry, too. The engine would stay in this state, and serve
at half of its capacity.
"""

from __future__ import annotations

from elasticdenser.engine.queue_state import QueueState
from elasticdenser.engine.request import Job

_STEPS = 8
"""Jobs of the lowest priority are shed in this number of steps: each needs a drain check, which is most of the cost."""


def shed_excess(state: QueueState, level_index: int) -> list[Job]:
    """Remove jobs from a queue of at least two until the rest is in time, and return them; none if all are in time.

    If all jobs have the same priority, the most urgent ones go: the fewest without which the rest is in time, and those
    that have no time for a batch of an efficient size. Otherwise jobs of the lowest priority go.

    Args:
        state: The situation; the queue is changed.
        level_index: The policy's fastest level.
    """
    queue = state.queue
    if state.drains_in_time(level_index, 0.0):
        return []
    min_priority = min(job.priority for job in queue.jobs)
    candidates = [job for job in queue.jobs if job.priority == min_priority]
    if len(candidates) == len(queue):
        return list(queue.take(_n_excess(state, level_index)))
    step, n_shed = -(-len(candidates) // _STEPS), 0
    while n_shed < len(candidates) and (not n_shed or not state.drains_in_time(level_index, 0.0)):
        for job in candidates[n_shed : n_shed + step]:
            queue.remove(job)
        n_shed += step
    return candidates[:n_shed]


def _n_excess(state: QueueState, level_index: int) -> int:
    """Return how many jobs must go from the head of the queue."""
    n = len(state.queue)
    low, high = 1, n - 1
    while low < high:
        middle = (low + high) // 2
        if state.drains_in_time(level_index, 0.0, skip=middle):
            high = middle
        else:
            low = middle + 1
    latency_s, max_size = state.levels[level_index].latency_s, state.max_batch_sizes[level_index]
    while low < n - 1:
        end_s = state.now_s + state.ratio * latency_s[min(max_size, n - low)]
        if end_s <= state.queue.deadlines_s[low]:
            break
        low += 1
    return low
