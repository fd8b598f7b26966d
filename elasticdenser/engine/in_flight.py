"""Jobs in the engine by their key, so that equal requests share one answer."""

from __future__ import annotations

from collections.abc import Hashable

from elasticdenser.engine.request import Batch, Job, Request, key_of


class InFlightJobs:
    """Newest job of each key that waits or runs, with its batch once it runs."""

    def __init__(self) -> None:
        self._jobs: dict[Hashable, tuple[Job, Batch | None]] = {}

    def __len__(self) -> int:
        return len(self._jobs)

    def find(self, request: Request) -> tuple[Job | None, Batch | None]:
        """Return the job of requests equal to this one, and the batch in which it runs."""
        return self._jobs.get(key_of(request), (None, None))

    def add(self, job: Job) -> None:
        """Add a job that has been admitted to the queue."""
        self._jobs[job.key] = (job, None)

    def start(self, batch: Batch) -> None:
        """Record that the jobs of a batch run."""
        for job in batch.jobs:
            if self._jobs.get(job.key, (None,))[0] is job:
                self._jobs[job.key] = (job, batch)

    def forget_running(self) -> None:
        """Let no request join a job that runs already."""
        self._jobs = {key: entry for key, entry in self._jobs.items() if entry[1] is None}

    def remove(self, job: Job) -> None:
        """Remove a job, so that no request joins it any more."""
        if self._jobs.get(job.key, (None,))[0] is job:
            del self._jobs[job.key]
