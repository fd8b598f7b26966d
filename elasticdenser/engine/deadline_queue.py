"""Waiting jobs in the order of their deadlines."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from operator import attrgetter

from elasticdenser.engine.request import Job

_NO_PRIORITY = 1 << 62
"""`min_priority` of an empty queue: above every real priority."""
_PRIORITY = attrgetter("priority")


class DeadlineQueue:
    """Waiting jobs, earliest deadline first, those of equal deadlines in the order of arrival.

    The deadlines are those of `Job.queue_deadline_s`: a long query counts as a usual one that is due earlier.

    Sorted lists are faster here than a heap: the drain check reads the queue at any position, and moving a thousand
    pointers takes less time than one step of a heap in Python.

    Args:
        n_levels: Number of levels of the profile.

    Attributes:
        jobs: The jobs.
        deadlines_s: Their deadlines.
        least_extras_s: Their `Job.least_extra_s`.
        n_restricted: Number of jobs that do not accept every level.
        n_long: Number of jobs of long queries.
        min_priority: The lowest priority of the jobs; above all others if there are none.
    """

    def __init__(self, n_levels: int) -> None:
        self.jobs: list[Job] = []
        self.deadlines_s: list[float] = []
        # The `max_level_index` of each job, as bytes: their comparison is then a single call in `group_at`.
        self._limits = bytearray()
        self._unrestricted = n_levels  # the `max_level_index` of a job that accepts every level
        self.n_restricted = self.n_long = 0
        self.least_extras_s: list[float] = []
        self.min_priority = _NO_PRIORITY
        self._n_of_priority: Counter[int] = Counter()
        self._only = [bytes((index,)) for index in range(n_levels + 1)]
        self._at_least = [bytes(range(index, n_levels + 1)) for index in range(n_levels + 1)]

    def __len__(self) -> int:
        return len(self.jobs)

    def insert(self, job: Job) -> int:
        """Insert a job behind those of equal deadlines, and return its position."""
        deadline_s = job.queue_deadline_s
        position = bisect_right(self.deadlines_s, deadline_s)
        self.jobs.insert(position, job)
        self.deadlines_s.insert(position, deadline_s)
        self.least_extras_s.insert(position, job.least_extra_s)
        self.n_long += bool(job.extras_s)
        self._limits.insert(position, job.max_level_index)
        self.n_restricted += job.max_level_index < self._unrestricted
        self._n_of_priority[job.priority] += 1
        self.min_priority = min(self.min_priority, job.priority)
        return position

    def remove(self, job: Job) -> None:
        """Remove a job whose deadline has not changed since it was inserted."""
        position = self.jobs.index(job, bisect_left(self.deadlines_s, job.queue_deadline_s))
        self._delete(position, position + 1)

    def take(self, n: int) -> tuple[Job, ...]:
        """Remove and return the first `n` jobs."""
        taken = tuple(self.jobs[:n])
        self._delete(0, n)
        return taken

    def group_at(self, position: int, level_index: int, max_jobs: int) -> tuple[int, int]:
        """Return the level at which a job runs when the queue is served at `level_index`, and how many jobs join it.

        The level is `level_index`, or the last level that the job accepts if that is better. A batch consists of
        neighbouring jobs that run at the same level, so that no job is served out of order.

        Args:
            position: Position of the first job of the batch.
            level_index: The level at which the queue is served.
            max_jobs: Maximum number of jobs to count.
        """
        n = min(len(self.jobs) - position, max_jobs)
        if not self.n_restricted:
            return level_index, n
        limit = self._limits[position]
        same_level = self._at_least[level_index] if limit >= level_index else self._only[limit]
        following = self._limits[position : position + n]
        return min(level_index, limit), n - len(following.lstrip(same_level))

    def n_usual(self, n: int) -> int:
        """Return how many of the first `n` jobs come before the first long one."""
        return next((position for position, job in enumerate(self.jobs[:n]) if job.extras_s), n)

    def extra_s(self, n: int, level_index: int) -> float:
        """Return the profiled time of the first `n` jobs at a level beyond that of usual queries."""
        if not self.n_long:
            return 0.0
        return sum([job.extras_s[level_index] for job in self.jobs[:n] if job.extras_s], 0.0)

    def _delete(self, start: int, end: int) -> None:
        if end - start == len(self.jobs):  # the usual case at low load
            self.n_restricted, self.n_long, self.min_priority = 0, 0, _NO_PRIORITY
            for collection in (self.jobs, self.deadlines_s, self._limits, self.least_extras_s, self._n_of_priority):
                collection.clear()
            return
        if self.n_long:
            self.n_long -= sum(bool(job.extras_s) for job in self.jobs[start:end])
        if self.n_restricted:
            self.n_restricted -= sum(limit < self._unrestricted for limit in self._limits[start:end])
        self._n_of_priority.subtract(map(_PRIORITY, self.jobs[start:end]))
        if self._n_of_priority[self.min_priority] == 0:
            self._n_of_priority = +self._n_of_priority
            self.min_priority = min(self._n_of_priority, default=_NO_PRIORITY)
        del self.jobs[start:end], self.deadlines_s[start:end], self._limits[start:end]
        del self.least_extras_s[start:end]
