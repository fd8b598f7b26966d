"""Scheduler: which requests run next, in which batch, and at which level. It reads no clock and computes nothing.

Requests are served earliest deadline first; the policy chooses the level and the size of each batch. A request that
could not be in time even at the policy's fastest level is rejected on arrival, so that its client learns it at once and
no worker computes an answer that comes too late: beyond its capacity the engine still serves at its capacity.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Iterable
from operator import attrgetter

from elasticdenser.engine.admission import AdmissionControl
from elasticdenser.engine.forecast import Forecast
from elasticdenser.engine.in_flight import InFlightJobs
from elasticdenser.engine.long_jobs import fit_long_jobs
from elasticdenser.engine.policies.base import Policy
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import Choice, QueueState
from elasticdenser.engine.request import Batch, Job, Outcome, Request, Status
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.engine.shedding import shed_excess


class Scheduler:
    """Waiting requests and running batches of an engine. Not thread-safe: the owner must hold a lock.

    Args:
        profile: Levels and run times; corrected by observed run times.
        policy: Chooses levels and batch sizes; must not be shared with another scheduler.
        settings: The settings.
    """

    def __init__(self, profile: Profile, policy: Policy, settings: SchedulerSettings) -> None:
        self.profile, self.policy, self.settings = profile, policy, settings
        self.n_unfinished = 0
        self._forecast = Forecast(profile, settings, policy.fastest_level_index)
        self._queue, self._running = self._forecast.queue, self._forecast.running
        self._admission = AdmissionControl(self._forecast)
        self._in_flight = InFlightJobs()
        self._shed_outcomes: list[Outcome] = []

    @property
    def n_waiting(self) -> int:
        """Number of jobs in the queue."""
        return len(self._queue)

    @property
    def n_running(self) -> int:
        """Number of running batches."""
        return len(self._running)

    @property
    def has_shed(self) -> bool:
        """Whether `take_shed` would return anything."""
        return bool(self._shed_outcomes)

    @property
    def running(self) -> list[Batch]:
        """The running batches."""
        return list(self._running)

    def is_running(self, batch: Batch) -> bool:
        """Return whether a batch was scheduled and has neither finished nor failed."""
        return batch in self._running

    @property
    def correction_ratio(self) -> float:
        """Factor by which run times currently differ from those of the profile."""
        return self._forecast.correction.ratio

    def rate_per_s(self, now_s: float) -> float:
        """Return the arrivals per second of requests with a deadline, over the last 0.1 s."""
        return self._forecast.rate.per_s(now_s)

    def would_reject(self, now_s: float, deadline_s: float, priority: int = 0) -> bool:
        """Return whether a request with the same or a later deadline has just been rejected; if so, count the arrival.

        The owner need not hold the lock.
        """
        if not self._admission.rejects_unchecked(deadline_s, priority):
            return False
        self._forecast.rate.count(now_s)
        return True

    def add(self, request: Request) -> None:
        """Admit a request that has just arrived.

        Raises:
            OverloadedError: The request could not be answered in time, or the engine is full.
            QueryError: The minimum level does not exist.
        """
        max_level_index = self._max_level_index(request)
        if request.deadline_s < math.inf:  # requests without a deadline put no pressure on others
            self._forecast.rate.count(request.arrival_s)
        if self.n_unfinished < self.settings.max_unfinished and self._join(request):
            self.n_unfinished += 1
            return
        if self._admission.rejects_unchecked(request.deadline_s, request.priority):
            raise self._admission.rejection(request, max_level_index, self.n_unfinished)
        job = self._forecast.job(request, max_level_index)
        displaced = self._admission.admit(job, self.n_unfinished)
        if displaced is None:
            raise self._admission.rejection(request, max_level_index, self.n_unfinished)
        self._shed_jobs(displaced, request.arrival_s)
        self.n_unfinished += 1
        self._in_flight.add(job)

    def schedule(self, now_s: float) -> Batch | None:
        """Return the batch that an idle worker runs next; None if nothing waits or all workers are busy."""
        self.expire(now_s)
        if not self._queue or not self._forecast.has_idle_worker:
            return None
        state = self._forecast.state(now_s)
        choice = self.policy.choose(state)
        # A batch smaller than the queue allows may be a sign of overload.
        full_size = min(len(self._queue), self._forecast.max_batch_sizes[choice.level_index])
        if choice.batch_size < full_size and self._shed_excess(state):
            choice = self.policy.choose(state)
        level_index, max_size = self._queue.group_at(0, choice.level_index, choice.batch_size)
        level, ratio = self.profile.levels[level_index], state.correction_ratio
        if level_index != choice.level_index:  # a minimum level, for which the chosen batch may be too large
            max_size = min(max_size, max(1, level.largest_batch((self._queue.deadlines_s[0] - now_s) / ratio)))
        size = max(1, min(max_size, len(level.latency_s) - 1))
        if self._queue.n_long:
            level_index, size = fit_long_jobs(state, Choice(level_index, size), self._forecast.level_indices)
            level = self.profile.levels[level_index]
        extra_s = self._queue.extra_s(size, level_index)
        jobs = self._queue.take(size)
        self._admission.forget_rejection()
        batch = Batch(
            jobs=jobs,
            level_index=level_index,
            level=level.name,
            started_s=now_s,
            expected_s=ratio * (level.latency_s[size] + extra_s),
            extra_s=extra_s,
        )
        self._running[batch] = None
        self._in_flight.start(batch)
        return batch

    def finish(self, batch: Batch, run_s: float) -> None:
        """Record that a batch finished after `run_s`; see `Batch.outcomes`."""
        size, level = len(batch.jobs), self.profile.levels[batch.level_index]
        # The profile does not say how long a level that reranks takes for queries that are not reranked.
        if not level.parts.stages or all(job.requests[0].rerank for job in batch.jobs):
            self._forecast.correction.observe(level.latency_s[size] + batch.extra_s, run_s)
        self.policy.observe(size, run_s)
        self._end(batch)

    def fail(self, batch: Batch) -> None:
        """Record that a batch failed."""
        self._end(batch)

    def expire(self, now_s: float) -> None:
        """Shed requests at the head of the queue that would be late even alone at the fastest level they accept."""
        while self._queue and self._forecast.is_late_alone(now_s):
            (job,) = self._queue.take(1)
            self._admission.forget_rejection()
            self._shed_request(job, job.requests.pop(0), now_s)
            if job.requests:  # requests that joined the job have later deadlines
                self._queue.insert(job)

    def cancel(self, request: Request) -> bool:
        """Remove a request from the queue; return whether it was still there."""
        job = self._waiting_job_of(request)
        if job is None:
            return False
        self._queue.remove(job)
        self._admission.forget_rejection()
        job.requests.remove(request)
        self.n_unfinished -= 1
        if job.requests:
            self._queue.insert(job)
        else:
            self._in_flight.remove(job)
        return True

    def forget_running(self) -> None:
        """Let no further request share the answer of a query that runs already, such as one in an old index."""
        self._in_flight.forget_running()

    def take_shed(self) -> list[Outcome]:
        """Return the outcomes of all requests shed since the last call."""
        shed, self._shed_outcomes = self._shed_outcomes, []
        return shed

    def clear(self, now_s: float) -> list[Outcome]:
        """Empty the queue, and return the outcomes of its requests as shed."""
        self._shed_jobs(self._queue.take(len(self._queue)), now_s)
        return self.take_shed()

    def _max_level_index(self, request: Request) -> int:
        """Return the index of the last level that a request accepts.

        Raises:
            QueryError: The minimum level does not exist.
        """
        max_level_index = self.profile.max_level_index(request.minimum_level)
        if not request.minimum_quality:
            return max_level_index
        of_quality = self.profile.max_level_index_for_quality(
            request.minimum_quality, request.n_tokens, fastest_index=self.policy.fastest_level_index
        )
        return min(max_level_index, of_quality)

    def _join(self, request: Request) -> bool:
        """Let a request share the answer of an equal one in the engine, if that comes in time for it."""
        job, batch = self._in_flight.find(request)
        if job is None:
            return False
        if batch is not None:
            # A batch that is overdue may hang.
            if request.deadline_s < batch.due_s or request.arrival_s > batch.due_s:
                return False
        elif request.deadline_s < job.deadline_s:
            return self._move_forward(job, request)
        insort(job.requests, request, key=attrgetter("deadline_s"))
        return True

    def _move_forward(self, job: Job, request: Request) -> bool:
        """Let a request that is due earlier join a waiting job, if the job can be in time for it."""
        self._queue.remove(job)
        job.requests.insert(0, request)
        if self._admission.insert_if_in_time(job, request.arrival_s):
            return True
        job.requests.remove(request)
        self._queue.insert(job)
        return False

    def _shed_excess(self, state: QueueState) -> bool:
        """Shed the jobs that keep the rest of the queue from being in time; return whether there were any."""
        shed = shed_excess(state, self.policy.fastest_level_index)
        if shed:
            self._shed_jobs(shed, state.now_s)
            self._admission.forget_rejection()
        return bool(shed)

    def _shed_jobs(self, jobs: Iterable[Job], now_s: float) -> None:
        """Shed all requests of jobs that have been taken out of the queue."""
        for job in jobs:
            while job.requests:
                self._shed_request(job, job.requests.pop(0), now_s)

    def _shed_request(self, job: Job, request: Request, now_s: float) -> None:
        """Shed a request that has been taken out of its job."""
        waited_s = now_s - request.arrival_s
        self._shed_outcomes.append(Outcome(request=request, status=Status.SHED, end_s=now_s, queued_s=waited_s))
        self.n_unfinished -= 1
        if not job.requests:
            self._in_flight.remove(job)

    def _waiting_job_of(self, request: Request) -> Job | None:
        job, batch = self._in_flight.find(request)
        if job is None or batch is not None or request not in job.requests:  # a newer job may have replaced its job
            return next((other for other in self._queue.jobs if request in other.requests), None)
        return job

    def _end(self, batch: Batch) -> None:
        del self._running[batch]
        self._admission.forget_rejection()
        for job in batch.jobs:
            self.n_unfinished -= len(job.requests)
            self._in_flight.remove(job)
