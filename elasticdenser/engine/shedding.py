"""Relief: what is shed from a queue that cannot be in time as a whole, so that the rest of it is.

Serving whoever is most urgent first wins nothing there: each is in a hurry, so batches are small, and so dear that the
next one is in a hurry, too. An engine past its capacity would never get out of this, and serve at half of it.
"""

from __future__ import annotations

from elasticdenser.engine.queue_state import QueueState
from elasticdenser.engine.request import Job

_STEPS = 8


def relieve(load: QueueState, place: int) -> list[Job]:
    """Take jobs out of a queue of at least two until the rest can be in time, and return them: none if all can be.

    Of jobs that are equal but for their deadlines the first go: the fewest without which the rest drains, and those
    that have no time for a batch as large as is good. Of jobs of several priorities the lowest go.

    Args:
        load: The situation; its queue is changed.
        place: The smallest level.
    """
    queue = load.queue
    if load.drains(place, 0.0):
        return []
    least = min(job.priority for job in queue.jobs)
    of_least = [job for job in queue.jobs if job.priority == least]
    if len(of_least) == len(queue):
        return list(queue.take(_too_many(load, place)))
    step, taken = -(-len(of_least) // _STEPS), 0
    while taken < len(of_least) and (not taken or not load.drains(place, 0.0)):
        for job in of_least[taken : taken + step]:
            queue.remove(job)
        taken += step
    return of_least[:taken]


def _too_many(load: QueueState, place: int) -> int:
    """Return how many of the first jobs must go."""
    n = len(load.queue)
    low, high = 1, n - 1
    while low < high:
        middle = (low + high) // 2
        if load.drains(place, 0.0, skipped=middle):
            high = middle
        else:
            low = middle + 1
    latency_s, largest = load.levels[place].latency_s, load.largest[place]
    while low < n - 1:
        if load.now_s + load.ratio * latency_s[min(largest, n - low)] <= load.queue.deadlines_s[low]:
            break
        low += 1
    return low
