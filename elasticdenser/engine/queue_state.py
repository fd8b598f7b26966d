"""What a policy sees when it chooses: the queue, the workers, and what each level would make of them."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from heapq import heapreplace
from typing import NamedTuple

from elasticdenser.engine.deadline_queue import DeadlineQueue
from elasticdenser.engine.profiling.profile import Profile

# A drain is followed over so many batches. What is further away is seen when it has come nearer.
_LOOK_AHEAD = 32


class Choice(NamedTuple):
    """What a policy wants done.

    Attributes:
        place: Place of the level in the profile.
        size: Jobs in the batch, at least 1; the scheduler may lower it.
    """

    place: int
    size: int


class QueueState:
    """The situation at one moment.

    Args:
        profile: The levels.
        ratio: Multiply the profile's times by this.
        scatter: By what part run times are longer than that, on average.
        queue: The waiting jobs.
        free_s: When each worker will be free, a heap; those that are idle are free now.
        now_s: The moment.
        rate_per_s: Arrivals a second of requests that have a deadline.
        capacity_per_s: Queries a second of one worker at the policy's smallest level, by the profile.
        slo_s: The usual deadline, after arrival.
        reserve_s: Kept free before each deadline, for what no profile foresees.
        largest: By place, how many jobs a batch may have at most.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        ratio: float,
        scatter: float = 0.0,
        queue: DeadlineQueue,
        free_s: list[float],
        now_s: float,
        rate_per_s: float,
        capacity_per_s: float,
        slo_s: float,
        reserve_s: float,
        largest: Sequence[int],
    ) -> None:
        self.levels, self.ratio, self.queue, self.free_s = profile.levels, ratio, queue, free_s
        self.now_s, self.slo_s = now_s, slo_s
        self.rate_per_s, self.capacity_per_s = rate_per_s, capacity_per_s
        self.reserve_s, self.largest, self.scatter = reserve_s, largest, scatter

    @property
    def concurrency(self) -> int:
        """Jobs that wait, and one for each worker that is busy."""
        return len(self.queue) + sum(free_s > self.now_s for free_s in self.free_s)

    @property
    def slack_s(self) -> float:
        """Time until the first deadline, less the reserve."""
        return self.queue.deadlines_s[0] - self.now_s - self.reserve_s

    def largest_batch(self, place: int, reserve_s: float, stretch: float = 1.0) -> int:
        """Return how many of the first jobs can be run at once at a level, with the first one in time; 0 for none.

        Where several workers are idle, the queue is shared out among them.

        Args:
            place: The level.
            reserve_s: To be left before the first deadline.
            stretch: Take run times to be so much longer.
        """
        own, n = self.queue.run(0, place, len(self.queue))
        n_idle = sum(free_s <= self.now_s for free_s in self.free_s)
        share = -(-len(self.queue) // max(1, n_idle))
        slack_s = self.queue.deadlines_s[0] - self.now_s - reserve_s
        return min(n, share, self._fitting(own, slack_s / stretch))

    def drains(
        self,
        place: int,
        reserve_s: float,
        *,
        since: int = 0,
        stretch: float = 1.0,
        skipped: int = 0,
        to_the_end: bool = False,
    ) -> bool:
        """Return whether the whole queue, served at a level in the order of deadlines, meets every deadline.

        Each batch is the largest that its first job has time for, on the worker that is free first.

        Args:
            place: The level.
            reserve_s: To be left before each deadline.
            since: Jobs before this number need not be in time: they may use up the reserve, and those that cannot make
                it even so are left out.
            stretch: Take all run times to be so much longer.
            skipped: Leave out so many jobs from the first on.
            to_the_end: Follow the whole queue, not only the next batches.
        """
        queue, deadlines_s, n = self.queue, self.queue.deadlines_s, len(self.queue)
        free_s, run_s, is_bound = self.free_s.copy(), self.ratio * stretch, queue.n_bound > 0
        own, most, at, kept_s = place, n, skipped, 0.0
        latency_s, largest = self.levels[own].latency_s, self.largest[own]
        ahead = min(n - at, _LOOK_AHEAD * largest)
        if ahead > 0 and not since and not is_bound:  # far too much is told at once: large batches are the cheapest
            end_s = deadlines_s[at + ahead - 1] - reserve_s
            if ahead * run_s * latency_s[largest] / largest > sum([max(0.0, end_s - one_s) for one_s in free_s]):
                return False
        for _ in range(n if to_the_end else _LOOK_AHEAD):
            if at >= n:
                return True
            if at >= since:
                kept_s = reserve_s
            if is_bound:
                own, most = queue.run(at, place, self.largest[place])
                latency_s, largest = self.levels[own].latency_s, self.largest[own]
            start_s = free_s[0]
            slack_s = (deadlines_s[at] - start_s - kept_s) / run_s
            size = largest if slack_s >= latency_s[largest] else bisect_right(latency_s, slack_s) - 1
            if size > most or size > n - at:  # not min(): this loop is what scheduling costs
                size = min(most, n - at)
            if size > 0:
                heapreplace(free_s, start_s + run_s * latency_s[size])
                at += size
            elif at >= since:
                return False
            else:
                at += 1
        return True

    def recovery_s(self, choice: Choice) -> float:
        """Return how long after a first batch it will take until nothing is left that presses; infinity for never.

        That is what waits now, and what comes at the present rate, then too. While the batch runs the other workers
        serve at the smallest level, and after it all do.
        """
        run_s = self.ratio * self.levels[choice.place].latency_s[choice.size]
        each_per_s = self.capacity_per_s / self.ratio
        spare_per_s = len(self.free_s) * each_per_s - self.rate_per_s
        pressing = bisect_right(self.queue.deadlines_s, self.now_s + self.slo_s)
        left = pressing - choice.size + (each_per_s - spare_per_s) * run_s
        if left <= 0:
            return 0.0
        return left / spare_per_s if spare_per_s > 0 else math.inf

    def _fitting(self, place: int, slack_s: float) -> int:
        """Return the largest batch at a level within `slack_s`."""
        return min(self.largest[place], self.levels[place].largest_batch(slack_s / self.ratio))
