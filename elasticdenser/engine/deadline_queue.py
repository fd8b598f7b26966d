"""The waiting jobs, in the order of their deadlines."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from operator import attrgetter

from elasticdenser.engine.request import Job

_NONE = 1 << 62
_PRIORITY = attrgetter("priority")


class DeadlineQueue:
    """Waiting jobs by deadline, those of equal deadlines as they came.

    Sorted lists beat a heap here: the drain check reads the queue at any place, and moving a thousand pointers takes
    less time than one step of a heap in Python.

    Attributes:
        jobs: The jobs, earliest deadline first.
        deadlines_s: Their deadlines.
        n_bound: How many of them do not take any level.
        least_priority: The lowest of theirs; above all others without one.
    """

    def __init__(self, n_levels: int) -> None:
        self.jobs: list[Job] = []
        self.deadlines_s: list[float] = []
        self._floors = bytearray()
        self._unbound = n_levels  # the floor of a job that takes any level
        self.n_bound = 0
        self.least_priority = _NONE
        self._n_of_priority: Counter[int] = Counter()
        # For each level, the floors with which a job can run at it.
        self._only = [bytes((place,)) for place in range(n_levels + 1)]
        self._at_or_below = [bytes(range(place, n_levels + 1)) for place in range(n_levels + 1)]

    def __len__(self) -> int:
        return len(self.jobs)

    def insert(self, job: Job) -> int:
        """Put a job in its place behind those of equal deadlines, and return that place."""
        at = bisect_right(self.deadlines_s, job.deadline_s)
        self.jobs.insert(at, job)
        self.deadlines_s.insert(at, job.deadline_s)
        self._floors.insert(at, job.floor)
        self.n_bound += job.floor < self._unbound
        self._n_of_priority[job.priority] += 1
        self.least_priority = min(self.least_priority, job.priority)
        return at

    def remove(self, job: Job) -> None:
        """Take out a job whose deadline is as it was when it was put in."""
        at = self.jobs.index(job, bisect_left(self.deadlines_s, job.deadline_s))
        self._delete(at, at + 1)

    def take(self, n: int) -> tuple[Job, ...]:
        """Take out the first `n` jobs."""
        taken = tuple(self.jobs[:n])
        self._delete(0, n)
        return taken

    def run(self, at: int, place: int, most: int) -> tuple[int, int]:
        """Return at which level job number `at` runs when the queue is served at `place`, and how many with it.

        That is `place`, or the job's own floor where that is better. Jobs share a batch with those next to them
        that run at the same level, so that none is served out of turn.

        Args:
            at: Number of the first job.
            place: The level that the queue is served at.
            most: Count no further than this.
        """
        n = min(len(self.jobs) - at, most)
        if not self.n_bound:
            return place, n
        floor = self._floors[at]
        same = self._at_or_below[place] if floor >= place else self._only[floor]
        ahead = self._floors[at : at + n]
        return min(place, floor), n - len(ahead.lstrip(same))

    def _delete(self, start: int, end: int) -> None:
        if end - start == len(self.jobs):  # as at rest
            self.n_bound, self.least_priority = 0, _NONE
            for one in (self.jobs, self.deadlines_s, self._floors, self._n_of_priority):
                one.clear()
            return
        if self.n_bound:
            self.n_bound -= sum(floor < self._unbound for floor in self._floors[start:end])
        self._n_of_priority.subtract(map(_PRIORITY, self.jobs[start:end]))
        if self._n_of_priority[self.least_priority] == 0:
            self._n_of_priority = +self._n_of_priority
            self.least_priority = min(self._n_of_priority, default=_NONE)
        del self.jobs[start:end], self.deadlines_s[start:end], self._floors[start:end]
