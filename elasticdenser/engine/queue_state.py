"""State that a policy sees when it chooses: the queue, the workers, and predictions for each level."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from heapq import heapreplace
from typing import NamedTuple

from elasticdenser.engine.deadline_queue import DeadlineQueue
from elasticdenser.engine.profiling.profile import Profile

_MAX_BATCHES_AHEAD = 32
"""Number of batches for which a drain is predicted: this bounds the time of a decision, and later batches are checked
when they have come nearer."""


class Choice(NamedTuple):
    """Decision of a policy.

    Attributes:
        level_index: Index of the level in the profile.
        batch_size: Number of jobs in the batch, at least 1; the scheduler may lower it.
    """

    level_index: int
    batch_size: int


class QueueState:
    """State of the queue and the workers at one moment.

    Args:
        profile: The levels.
        correction_ratio: Factor by which run times currently differ from the profile's.
        scatter: Mean relative excess of run times over the corrected ones.
        queue: The waiting jobs.
        free_s: Times at which each worker will be free, a heap; `now_s` for idle workers.
        now_s: The current time.
        rate_per_s: Arrivals per second of requests with a deadline.
        capacity_per_s: Queries per second of one worker at the policy's fastest level, by the profile.
        slo_s: The default deadline, after arrival.
        reserve_s: Time kept free before each deadline, for delays that no profile predicts.
        max_batch_sizes: Maximum number of jobs in a batch, by level index.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        correction_ratio: float,
        scatter: float = 0.0,
        queue: DeadlineQueue,
        free_s: list[float],
        now_s: float,
        rate_per_s: float,
        capacity_per_s: float,
        slo_s: float,
        reserve_s: float,
        max_batch_sizes: Sequence[int],
    ) -> None:
        self.levels, self.queue, self.free_s = profile.levels, queue, free_s
        self.correction_ratio = correction_ratio
        self.now_s, self.slo_s = now_s, slo_s
        self.rate_per_s, self.capacity_per_s = rate_per_s, capacity_per_s
        self.reserve_s, self.max_batch_sizes, self.scatter = reserve_s, max_batch_sizes, scatter

    @property
    def concurrency(self) -> int:
        """Number of waiting jobs, plus one for each busy worker."""
        return len(self.queue) + sum(free_s > self.now_s for free_s in self.free_s)

    @property
    def n_idle(self) -> int:
        """Number of idle workers."""
        return sum(free_s <= self.now_s for free_s in self.free_s)

    @property
    def slack_s(self) -> float:
        """Time until the first deadline, less the reserve."""
        return self.queue.deadlines_s[0] - self.now_s - self.reserve_s

    def largest_batch(self, level_index: int, reserve_s: float, safety_factor: float = 1.0) -> int:
        """Return how many of the first jobs can run at once at a level so that the first one is in time; 0 for none.

        Where several workers are idle, the queue is shared out among them.

        Args:
            level_index: The level.
            reserve_s: Time to keep free before the first deadline.
            safety_factor: Factor for predicted run times.
        """
        run_index, n = self.queue.group_at(0, level_index, len(self.queue))
        share = -(-len(self.queue) // max(1, self.n_idle))
        budget_s = (self.queue.deadlines_s[0] - self.now_s - reserve_s) / safety_factor / self.correction_ratio
        return min(n, share, self.max_batch_sizes[run_index], self.levels[run_index].largest_batch(budget_s))

    def drains_in_time(
        self,
        level_index: int,
        reserve_s: float,
        *,
        check_from: int = 0,
        safety_factor: float = 1.0,
        skip: int = 0,
        whole_queue: bool = False,
    ) -> bool:
        """Return whether the queue, served at a level in the order of deadlines, meets every deadline.

        Each batch is the largest that the deadline of its first job allows, on the worker that is free first. Long
        queries are taken to be served at the fastest level that they accept.

        Args:
            level_index: The level.
            reserve_s: Time to keep free before each deadline.
            check_from: Position of the first job that must be in time. Jobs before it may use up the reserve, and are
                left out if they are late even so.
            safety_factor: Factor for predicted run times.
            skip: Number of jobs to leave out at the head of the queue.
            whole_queue: Check all jobs, not only those of the next batches.
        """
        queue, deadlines_s, n = self.queue, self.queue.deadlines_s, len(self.queue)
        free_s, factor, is_restricted = (
            self.free_s.copy(),
            self.correction_ratio * safety_factor,
            queue.n_restricted > 0,
        )
        group_size, position, applied_reserve_s = n, skip, 0.0
        latency_s, max_size = self.levels[level_index].latency_s, self.max_batch_sizes[level_index]
        if not check_from and not is_restricted and self._exceeds_capacity(level_index, reserve_s, factor, skip):
            return False
        least_extras_s = queue.least_extras_s if queue.n_long else ()
        for _ in range(n if whole_queue else _MAX_BATCHES_AHEAD):
            if position >= n:
                return True
            if position >= check_from:
                applied_reserve_s = reserve_s
            if is_restricted:
                run_index, group_size = queue.group_at(position, level_index, self.max_batch_sizes[level_index])
                latency_s, max_size = self.levels[run_index].latency_s, self.max_batch_sizes[run_index]
            start_s = free_s[0]
            slack_s = (deadlines_s[position] - start_s - applied_reserve_s) / factor
            size = max_size if slack_s >= latency_s[max_size] else bisect_right(latency_s, slack_s) - 1
            if size > group_size or size > n - position:  # faster than min(): most of a decision's time is spent here
                size = min(group_size, n - position)
            if size > 0:
                end_s = start_s + factor * latency_s[size]
                if least_extras_s:
                    end_s += safety_factor * sum(least_extras_s[position : position + size])
                heapreplace(free_s, end_s)
                position += size
            elif position >= check_from:
                return False
            else:
                position += 1
        return True

    def _exceeds_capacity(self, level_index: int, reserve_s: float, factor: float, skip: int) -> bool:
        """Return whether the next batches cannot all be in time, even if all have the largest, most efficient size.

        This recognises a large overload without simulating it. The arguments are those of `drains_in_time`, with
        `factor` for profiled run times.
        """
        max_size = self.max_batch_sizes[level_index]
        n_ahead = min(len(self.queue) - skip, _MAX_BATCHES_AHEAD * max_size)
        if n_ahead <= 0:
            return False
        end_s = self.queue.deadlines_s[skip + n_ahead - 1] - reserve_s
        needed_s = n_ahead * factor * self.levels[level_index].latency_s[max_size] / max_size
        return needed_s > sum([max(0.0, end_s - free_s) for free_s in self.free_s])

    def recovery_s(self, choice: Choice) -> float:
        """Return the time from the end of a chosen batch until no urgent request is left; infinity for never.

        Urgent are the requests that are due within the default deadline, and those that keep arriving at the present
        rate. While the batch runs, the other workers serve at the fastest level; afterwards all workers do.
        """
        run_s = self.correction_ratio * self.levels[choice.level_index].latency_s[choice.batch_size]
        worker_per_s = self.capacity_per_s / self.correction_ratio
        spare_per_s = len(self.free_s) * worker_per_s - self.rate_per_s
        n_urgent = bisect_right(self.queue.deadlines_s, self.now_s + self.slo_s)
        n_left = n_urgent - choice.batch_size + (worker_per_s - spare_per_s) * run_s
        if n_left <= 0:
            return 0.0
        return n_left / spare_per_s if spare_per_s > 0 else math.inf
