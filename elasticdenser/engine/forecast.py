"""Forecast of an engine's near future from its queue, its running batches, and corrected run times."""

from __future__ import annotations

import heapq

from elasticdenser.engine.arrival_rate import ArrivalRate
from elasticdenser.engine.deadline_queue import DeadlineQueue
from elasticdenser.engine.latency_correction import LatencyCorrection
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import QueueState
from elasticdenser.engine.request import Batch, Job, Request
from elasticdenser.engine.settings import SchedulerSettings


class Forecast:
    """Queue and running batches of a scheduler, with what is known of run times and arrivals.

    Args:
        profile: Levels and run times.
        settings: The scheduler's settings.
        fastest_level_index: Index of the fastest level that the policy chooses.

    Attributes:
        queue: The waiting jobs.
        running: The running batches, as the keys of a dictionary, in the order of their start.
        correction: Correction of profiled run times by observed ones.
        rate: Rate at which requests with a deadline arrive.
        level_indices: Indices of the levels that the policy may choose, best first; the last is the fastest.
        max_batch_sizes: Maximum number of jobs in a batch, by level index.
        capacity_per_s: Queries per second of one worker at the fastest level, by the profile.
    """

    def __init__(self, profile: Profile, settings: SchedulerSettings, fastest_level_index: int) -> None:
        self.profile, self.settings, self.fastest_level_index = profile, settings, fastest_level_index
        self.queue = DeadlineQueue(len(profile.levels))
        self.running: dict[Batch, None] = {}
        self.correction = LatencyCorrection()
        self.rate = ArrivalRate()
        used = {*profile.pareto_front, fastest_level_index}
        self.level_indices = sorted(index for index in used if index <= fastest_level_index)
        # A batch larger than is efficient only makes its own requests wait. A batch of one may exceed the longest run
        # time: as it cannot be divided, the level would never be used otherwise.
        self.max_batch_sizes = tuple(
            level.efficient_batch_size(settings.resolved_max_run_s) for level in profile.levels
        )
        self.capacity_per_s = profile.levels[fastest_level_index].capacity_per_s(settings.resolved_max_run_s)

    @property
    def has_idle_worker(self) -> bool:
        """Whether a worker is free."""
        return len(self.running) < self.settings.workers

    def job(self, request: Request, max_level_index: int) -> Job:
        """Return a job for a request, the last level of which has this index."""
        extras_s = self.profile.extras_s(request.n_tokens)
        if not extras_s:
            return Job(request, max_level_index)
        least_extra_s = self.correction.ratio * extras_s[min(max_level_index, self.fastest_level_index)]
        return Job(request, max_level_index, extras_s, least_extra_s)

    def state(self, now_s: float) -> QueueState:
        """Return the state on which decisions are based."""
        self.correction.decay(now_s)
        free_s = [now_s] * (self.settings.workers - len(self.running))
        free_s += [max(now_s, batch.due_s) for batch in self.running]
        heapq.heapify(free_s)
        return QueueState(
            self.profile,
            correction_ratio=self.correction.ratio,
            scatter=self.correction.scatter,
            queue=self.queue,
            free_s=free_s,
            now_s=now_s,
            rate_per_s=self.rate.per_s(now_s),
            capacity_per_s=self.capacity_per_s,
            slo_s=self.settings.slo_s,
            reserve_s=self.settings.resolved_reserve_s,
            max_batch_sizes=self.max_batch_sizes,
        )

    def is_late_alone(self, now_s: float) -> bool:
        """Return whether the first job would be late even alone at the fastest level that it accepts."""
        level_index, _ = self.queue.group_at(0, self.fastest_level_index, 1)
        run_s = self.correction.ratio * self.profile.levels[level_index].latency_s[1]
        return now_s + run_s > self.queue.deadlines_s[0]

    def is_in_time_from(self, position: int, now_s: float) -> bool:
        """Return whether the job at a position of the queue and all later ones can be in time at the fastest level."""
        queue = self.queue
        if len(queue) == 1 and self.has_idle_worker:  # the job runs at once, and needs no margin
            self.correction.decay(now_s)
            self.rate.evict(now_s)
            return not self.is_late_alone(now_s)
        state, margin_s = self.state(now_s), self._admission_margin_s()
        return state.drains_in_time(self.fastest_level_index, margin_s, check_from=position, whole_queue=True)

    def backlog_s(self) -> float:
        """Return the time in which all workers together clear the queue at the fastest level."""
        return self.correction.ratio * len(self.queue) / (self.capacity_per_s * self.settings.workers)

    def _admission_margin_s(self) -> float:
        """Return the time before its deadline by which a new request must be served according to the forecast.

        Beside the reserve it covers the run time of an efficient batch that the request may open. In a queue without
        this margin every first job is in a hurry, so that it can only be served in small batches, at less than the
        capacity, and the engine never recovers.
        """
        size = min(len(self.queue), self.max_batch_sizes[self.fastest_level_index])
        run_s = self.correction.ratio * self.profile.levels[self.fastest_level_index].latency_s[size]
        return self.settings.resolved_reserve_s + run_s
