"""The scheduler: which requests run next, together, and at which level. It knows no clock and no model.

Its order is earliest deadline first. What to spend on each batch is the policy's choice. What could not be in time even
at the policy's smallest level is refused when it comes, so that a caller knows at once, and nobody waits for an answer
that comes too late: past its capacity the engine serves at its capacity.
"""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Hashable
from operator import attrgetter

from elasticdenser.engine.arrival_rate import ArrivalRate
from elasticdenser.engine.correction import Correction
from elasticdenser.engine.deadline_queue import DeadlineQueue
from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.policies.base import Policy
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import QueueState
from elasticdenser.engine.request import Batch, Job, Outcome, Request, Status, key_of
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.engine.shedding import relieve

# What was found to be hopeless holds for this part of the usual deadline, unless something ends before: far past its
# capacity the engine must spend its time on answers, not on refusals.
_GLANCE = 0.02
_MOST_DISPLACED = 8
"""So many may have to make room for one of higher priority."""


class Scheduler:
    """Holds the requests that wait and knows those that run. Not safe for several threads: its owner locks.

    Args:
        profile: Levels and latencies; corrected by what is observed.
        policy: Chooses levels and batch sizes; this scheduler's own.
        settings: How it works.
    """

    def __init__(self, profile: Profile, policy: Policy, settings: SchedulerSettings) -> None:
        self.profile, self.policy, self.settings = profile, policy, settings
        self.correction = Correction()
        self.n_unfinished = 0
        # Batches larger than enough only make those in them wait. A single job may run for longer than the longest run:
        # what cannot be divided is no reason to do without a level.
        self._largest = tuple(level.enough(settings.max_run) for level in profile.levels)
        self._capacity_per_s = profile.levels[policy.cheapest].capacity_per_s(settings.max_run)
        self._queue = DeadlineQueue(len(profile.levels))
        self._running: dict[Batch, None] = {}
        self._rate = ArrivalRate()
        self._in_flight: dict[Hashable, tuple[Job, Batch | None]] = {}
        self._shed: list[Outcome] = []
        self._hopeless_until_s = -math.inf  # whoever is due by then and displaces nobody need not be tried

    @property
    def n_waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._queue)

    @property
    def n_running(self) -> int:
        """Batches that run."""
        return len(self._running)

    @property
    def has_shed(self) -> bool:
        """Whether `take_shed` has something to return."""
        return bool(self._shed)

    def rate_per_s(self, now_s: float) -> float:
        """Return the arrivals a second of requests with a deadline, over the last 0.1 s."""
        return self._rate.per_s(now_s)

    @property
    def running(self) -> list[Batch]:
        """The batches that run."""
        return list(self._running)

    def is_running(self, batch: Batch) -> bool:
        """Return whether a batch was handed out and is neither finished nor failed."""
        return batch in self._running

    def is_hopeless(self, now_s: float, deadline_s: float, priority: int = 0) -> bool:
        """Return whether a request was found just now that could not be in time although it had as long; count it then.

        The owner need not lock for this.
        """
        if not deadline_s <= self._hopeless_until_s or priority > self._queue.least_priority:
            return False
        self._rate.count(now_s)
        return True

    def add(self, request: Request) -> None:
        """Take in a request that has just arrived.

        Raises:
            OverloadedError: It could not be answered in time, or the engine is full.
            QueryError: Its minimum level does not exist.
        """
        floor = self.profile.floor(request.minimum)
        if request.deadline_s < float("inf"):  # what has all the time presses nobody
            self._rate.count(request.arrival_s)
        if self.n_unfinished < self.settings.max_unfinished and self._join(request):
            self.n_unfinished += 1
            return
        if request.deadline_s <= self._hopeless_until_s and request.priority <= self._queue.least_priority:
            raise self._refusal(request)
        job = Job(request, floor)
        if not self._admit(job, request.arrival_s) and not self._admit_for_another(job, request.arrival_s):
            # At any level, not only at the better ones; and while a worker is idle nothing would end it.
            is_busy = self._queue or len(self._running) >= self.settings.workers
            if floor == len(self.profile.levels) and is_busy:
                self._hopeless_until_s = request.deadline_s + _GLANCE * self.settings.slo_s
            raise self._refusal(request)
        self.n_unfinished += 1
        self._in_flight[job.key] = (job, None)

    def schedule(self, now_s: float) -> Batch | None:
        """Return the batch that an idle worker runs next; None if nothing waits or all workers are busy."""
        self.expire(now_s)
        if not self._queue or len(self._running) >= self.settings.workers:
            return None
        load = self._load(now_s)
        choice = self.policy.choose(load)
        # A batch that is smaller than what waits may be a sign that there is too much.
        if choice.size < min(len(self._queue), self._largest[choice.place]) and self._relieve(load):
            choice = self.policy.choose(load)
        place, most = self._queue.run(0, choice.place, choice.size)
        level, ratio = self.profile.levels[place], self.correction.ratio
        if place != choice.place:  # a floor: how many the policy wanted at its own level says nothing about this one
            most = min(most, max(1, level.largest_batch((self._queue.deadlines_s[0] - now_s) / ratio)))
        size = max(1, min(most, len(level.latency_s) - 1))
        expected_s = ratio * level.latency_s[size]
        jobs = self._queue.take(size)
        self._hopeless_until_s = -math.inf
        batch = Batch(jobs=jobs, place=place, level=level.name, started_s=now_s, expected_s=expected_s)
        self._running[batch] = None
        for job in jobs:
            if self._in_flight.get(job.key, (None,))[0] is job:
                self._in_flight[job.key] = (job, batch)
        return batch

    def finished(self, batch: Batch, ran_s: float) -> None:
        """Take in that a batch ran for `ran_s`; see `Batch.outcomes`."""
        size = len(batch.jobs)
        self.correction.observe(self.profile.levels[batch.place].latency_s[size], ran_s)
        self.policy.observe(size, ran_s)
        self._end(batch)

    def failed(self, batch: Batch) -> None:
        """Take in that a batch failed."""
        self._end(batch)

    def expire(self, now_s: float) -> None:
        """Shed from the head of the queue what could not be in time even alone at the smallest level it may have."""
        queue, levels = self._queue, self.profile.levels
        while queue:
            place, _ = queue.run(0, self.policy.cheapest, 1)
            if now_s + self.correction.ratio * levels[place].latency_s[1] <= queue.deadlines_s[0]:
                return
            (job,) = queue.take(1)
            self._hopeless_until_s = -math.inf
            self._drop(job, job.members.pop(0), now_s)
            if job.members:  # those who joined have later deadlines
                queue.insert(job)

    def cancel(self, request: Request) -> bool:
        """Take out a request that nobody waits for any more; return whether it was still in the queue."""
        job = self._waiting_job_of(request)
        if job is None:
            return False
        self._queue.remove(job)
        self._hopeless_until_s = -math.inf
        job.members.remove(request)
        self.n_unfinished -= 1
        if job.members:
            self._queue.insert(job)
        else:
            self._forget(job)
        return True

    def take_shed(self) -> list[Outcome]:
        """Return the outcomes of all requests shed since the last call."""
        shed, self._shed = self._shed, []
        return shed

    def clear(self, now_s: float) -> list[Outcome]:
        """Empty the queue, and return its requests as shed."""
        for job in self._queue.take(len(self._queue)):
            while job.members:
                self._drop(job, job.members.pop(0), now_s)
        return self.take_shed()

    def _load(self, now_s: float) -> QueueState:
        self.correction.forget(now_s)
        free_s = [now_s] * (self.settings.workers - len(self._running))
        free_s += [max(now_s, batch.due_s) for batch in self._running]
        heapq.heapify(free_s)
        return QueueState(
            self.profile,
            ratio=self.correction.ratio,
            scatter=self.correction.scatter,
            queue=self._queue,
            free_s=free_s,
            now_s=now_s,
            rate_per_s=self._rate.per_s(now_s),
            capacity_per_s=self._capacity_per_s,
            slo_s=self.settings.slo_s,
            reserve_s=self.settings.reserve,
            largest=self._largest,
        )

    def _join(self, request: Request) -> bool:
        """Let a request share the answer of one in flight, where that comes in time for it."""
        job, batch = self._in_flight.get(key_of(request), (None, None))
        if job is None:
            return False
        if batch is None and request.deadline_s < job.deadline_s:
            return self._hasten(job, request)
        # A batch that is overdue may hang.
        if batch is not None and (request.deadline_s < batch.due_s or request.arrival_s > batch.due_s):
            return False
        insort(job.members, request, key=attrgetter("deadline_s"))
        return True

    def _hasten(self, job: Job, request: Request) -> bool:
        """Let a request that is due earlier join a job of the queue, if that can be in time for it."""
        self._queue.remove(job)
        job.members.insert(0, request)
        if self._fits(job, request.arrival_s):
            return True
        job.members.remove(request)
        self._queue.insert(job)
        return False

    def _admit(self, job: Job, now_s: float) -> bool:
        """Put a job into the queue if all from there on can still be in time at the policy's smallest level."""
        if self.n_unfinished >= self.settings.max_unfinished:
            return False
        return self._fits(job, now_s)

    def _fits(self, job: Job, now_s: float) -> bool:
        """Put a job into the queue if all from there on can be in time; return whether it is there."""
        at = self._queue.insert(job)
        if len(self._queue) == 1 and len(self._running) < self.settings.workers:  # alone, it needs no margin
            self.correction.forget(now_s)
            self._rate.forget(now_s)
            level = self.profile.levels[min(self.policy.cheapest, job.floor)]
            is_fitting = now_s + self.correction.ratio * level.latency_s[1] <= job.deadline_s
        else:
            load = self._load(now_s)
            is_fitting = load.drains(self.policy.cheapest, self._margin_s(), since=at, to_the_end=True)
        if is_fitting:
            return True
        self._queue.remove(job)
        return False

    def _margin_s(self) -> float:
        """Return how long before its deadline a newcomer must be served by the forecast.

        Beside the reserve that is the time of the batch that it may open: a queue so long that each first job is in a
        hurry can only be served in small batches, at less than the capacity, and would never recover.
        """
        place = self.policy.cheapest
        size = min(len(self._queue), self._largest[place])
        return self.settings.reserve + self.correction.ratio * self.profile.levels[place].latency_s[size]

    def _admit_for_another(self, job: Job, now_s: float) -> bool:
        """Put a job into the queue in place of those of least priority, the latest first, if a few suffice."""
        queue = self._queue
        if job.priority <= queue.least_priority:  # as where all are equal; then there is no need to look
            return False
        lower = (one for one in reversed(queue.jobs) if one.priority < job.priority)
        displaced: list[Job] = []
        for one in heapq.nsmallest(_MOST_DISPLACED, lower, key=lambda one: (one.priority, -one.deadline_s)):
            queue.remove(one)
            displaced.append(one)
            n_displaced = sum(len(each.members) for each in displaced)
            self.n_unfinished -= n_displaced
            is_admitted = self._admit(job, now_s)
            self.n_unfinished += n_displaced
            if is_admitted:
                self._hopeless_until_s = -math.inf
                for each in displaced:
                    while each.members:
                        self._drop(each, each.members.pop(0), now_s)
                return True
        for each in reversed(displaced):  # those of equal deadlines keep their order
            queue.insert(each)
        return False

    def _relieve(self, load: QueueState) -> bool:
        """Shed what keeps the rest of the queue from being in time; return whether there was any such thing."""
        shed = relieve(load, self.policy.cheapest)
        for job in shed:
            while job.members:
                self._drop(job, job.members.pop(0), load.now_s)
            self._hopeless_until_s = -math.inf
        return bool(shed)

    def _drop(self, job: Job, request: Request, now_s: float) -> None:
        """Shed a request that has been taken out of its job."""
        waited_s = now_s - request.arrival_s
        self._shed.append(Outcome(request=request, status=Status.SHED, at_s=now_s, queued_s=waited_s))
        self.n_unfinished -= 1
        if not job.members:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        """Let nobody join a job any more."""
        if self._in_flight.get(job.key, (None,))[0] is job:
            del self._in_flight[job.key]

    def _waiting_job_of(self, request: Request) -> Job | None:
        job, batch = self._in_flight.get(key_of(request), (None, None))
        if job is None or batch is not None or request not in job.members:  # a later one has taken its place there
            return next((one for one in self._queue.jobs if request in one.members), None)
        return job

    def _end(self, batch: Batch) -> None:
        del self._running[batch]
        self._hopeless_until_s = -math.inf
        for job in batch.jobs:
            self.n_unfinished -= len(job.members)
            self._forget(job)

    def _refusal(self, request: Request) -> OverloadedError:
        backlog_s = self.correction.ratio * len(self._queue) / (self._capacity_per_s * self.settings.workers)
        if self.n_unfinished >= self.settings.max_unfinished:
            message = f"got a request while {self.n_unfinished} are in the engine, which takes no more: try again later"
        else:
            smallest = self.profile.levels[min(self.policy.cheapest, self.profile.floor(request.minimum))].name
            message = (
                f"got a request due in {1000 * (request.deadline_s - request.arrival_s):.0f} ms while "
                f"{self.n_unfinished} are in the engine, which cannot answer it in time even at {smallest}: try again "
                "later, or give it more time"
            )
        return OverloadedError(message, retry_after_s=max(self.settings.slo_s, backlog_s))
