"""Admission control: which requests may enter the queue."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.forecast import Forecast
from elasticdenser.engine.request import Job, Request

_REJECTION_REUSE = 0.02
"""Share of the default deadline for which a rejection is reused for later requests, unless a batch starts or ends
before: far beyond its capacity the engine must spend its time on answers, not on rejections. The share is small, so
that hardly any of the requests rejected without a check could have been served."""
_MAX_DISPLACED = 8
"""Maximum number of jobs displaced for one of higher priority: each costs another check of the queue."""


class AdmissionControl:
    """Rejects requests that could not be in time at the policy's fastest level, or that exceed the engine's limit.

    Args:
        forecast: The queue, and predictions for it.
    """

    def __init__(self, forecast: Forecast) -> None:
        self._forecast, self._settings = forecast, forecast.settings
        self._reject_until_s = -math.inf  # deadline up to which requests are rejected unless they may displace others

    def rejects_unchecked(self, deadline_s: float, priority: int) -> bool:
        """Return whether a request due as late or later has just been rejected, so that no check is needed."""
        return deadline_s <= self._reject_until_s and priority <= self._forecast.queue.min_priority

    def forget_rejection(self) -> None:
        """Check every request again, because the queue or the workers have changed."""
        self._reject_until_s = -math.inf

    def admit(self, job: Job, n_unfinished: int) -> Sequence[Job] | None:
        """Insert a job that has just arrived into the queue.

        Args:
            job: The job, of a single request.
            n_unfinished: Number of requests in the engine.

        Returns:
            The jobs that were removed from the queue to make room, usually none; None if the job was rejected.
        """
        now_s = job.requests[0].arrival_s
        if n_unfinished < self._settings.max_unfinished and self.insert_if_in_time(job, now_s):
            return ()
        displaced = self._displace(job, n_unfinished, now_s)
        if displaced is not None:
            self.forget_rejection()
            return displaced
        # Reuse the rejection only if it holds for queries of usual length and for every level, and only while all
        # workers are busy: the end of a batch then cancels the reuse.
        forecast = self._forecast
        if job.extras_s:
            return None
        if job.max_level_index == len(forecast.profile.levels) and (forecast.queue or not forecast.has_idle_worker):
            self._reject_until_s = job.deadline_s + _REJECTION_REUSE * self._settings.slo_s
        return None

    def insert_if_in_time(self, job: Job, now_s: float) -> bool:
        """Insert a job into the queue if it and all later ones can be in time; return whether it was inserted."""
        position = self._forecast.queue.insert(job)
        if self._forecast.is_in_time_from(position, now_s):
            return True
        self._forecast.queue.remove(job)
        return False

    def rejection(self, request: Request, max_level_index: int, n_unfinished: int) -> OverloadedError:
        """Return the error of a rejected request, whose last acceptable level has this index."""
        forecast = self._forecast
        if n_unfinished >= self._settings.max_unfinished:
            message = f"got a request while {n_unfinished} are in the engine, which takes no more: try again later"
        else:
            fastest = forecast.profile.levels[min(forecast.fastest_level_index, max_level_index)]
            is_long = bool(forecast.profile.extras_s(request.n_tokens))
            length = f" of {request.n_tokens} tokens" if is_long else ""
            message = (
                f"got a request{length} due in {1000 * (request.deadline_s - request.arrival_s):.0f} ms while "
                f"{n_unfinished} are in the engine, which cannot answer it in time even at {fastest.name}: try "
                "again later, or give it more time"
            )
        return OverloadedError(message, retry_after_s=max(self._settings.slo_s, forecast.backlog_s()))

    def _displace(self, job: Job, n_unfinished: int, now_s: float) -> list[Job] | None:
        """Insert a job into the queue in place of a few of the lowest priority, those of the latest deadlines first."""
        queue = self._forecast.queue
        if job.priority <= queue.min_priority:  # the usual case: all priorities are equal
            return None
        candidates = (waiting for waiting in reversed(queue.jobs) if waiting.priority < job.priority)
        displaced: list[Job] = []
        for waiting in heapq.nsmallest(_MAX_DISPLACED, candidates, key=lambda job: (job.priority, -job.deadline_s)):
            queue.remove(waiting)
            displaced.append(waiting)
            n_unfinished -= len(waiting.requests)
            if n_unfinished < self._settings.max_unfinished and self.insert_if_in_time(job, now_s):
                return displaced
        for waiting in reversed(displaced):  # keeps the order of jobs of equal deadlines
            queue.insert(waiting)
        return None
