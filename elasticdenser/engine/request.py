"""Requests, batches and outcomes of the engine."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """Query of a request.

    Args:
        text: The text.
        k: Number of hits to return.
        doc_ids: Documents to search; None searches all.
        filter: Filter on the metadata of passages, as text; None is no filter.
        rerank: Whether hits are reranked at levels that rerank.
        hybrid: Whether to search by words too; None as the retriever does.
        word_weight: Weight of words; None is the retriever's.
    """

    text: str
    k: int = 10
    doc_ids: frozenset[str] | None = None
    filter: str | None = None
    rerank: bool = True
    hybrid: bool | None = None
    word_weight: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """Query with a deadline. All times are on one clock.

    Args:
        id: Number that is unique within the engine.
        query: The query; requests with equal queries, priorities, minimum levels and qualities share one answer.
        arrival_s: Time of arrival.
        deadline_s: Time after which the answer is worthless; infinity for no deadline.
        minimum_level: Name of the level whose quality the answer must reach; None accepts any level.
        priority: Importance when not all requests can be served: those of low priority are shed first. The order of
            service is by deadline, whatever the priority.
        minimum_quality: Quality, for queries of this length, that the level of the answer must have; 0 accepts any.
        n_tokens: Length of the query in tokens, as for `Level.quality_for` and `Level.extra_s`; None if it is usual, or
            unknown.
        rerank: Whether its hits are reranked at levels that rerank.
    """

    id: int
    query: Hashable
    arrival_s: float
    deadline_s: float = math.inf
    minimum_level: str | None = None
    priority: int = 0
    minimum_quality: float = 0.0
    n_tokens: int | None = None
    rerank: bool = True


class Job:
    """One query to compute, for all equal requests that are in the engine.

    Args:
        first: The request that opened the job.
        max_level_index: Index in the profile of the last level that is good enough for the requests; levels of higher
            indices are worse.
        extras_s: `Level.extra_s` by level index, for a long query; empty for a usual one.
        least_extra_s: Expected time beyond that of a usual query at the fastest level that the requests accept.

    Attributes:
        requests: The requests, earliest deadline first; never empty while the job waits or runs.
    """

    __slots__ = ("extras_s", "key", "least_extra_s", "max_level_index", "priority", "requests")

    def __init__(
        self, first: Request, max_level_index: int, extras_s: tuple[float, ...] = (), least_extra_s: float = 0.0
    ) -> None:
        self.key = key_of(first)
        self.requests = [first]
        self.max_level_index = max_level_index
        self.priority = first.priority
        self.extras_s, self.least_extra_s = extras_s, least_extra_s

    @property
    def deadline_s(self) -> float:
        """Earliest deadline of the requests."""
        return self.requests[0].deadline_s

    @property
    def queue_deadline_s(self) -> float:
        """Deadline in the queue: a usual query that is in time for it leaves enough time for this one."""
        return self.requests[0].deadline_s - self.least_extra_s


def key_of(request: Request) -> Hashable:
    """Return the key that requests must share to be answered together."""
    return request.query, request.minimum_level, request.minimum_quality, request.priority


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Jobs that a worker runs together at one level.

    Args:
        jobs: The jobs, earliest deadline first.
        level_index: Index of the level in the profile.
        level: Name of the level.
        started_s: Time at which the scheduler released the batch.
        expected_s: Expected run time.
        extra_s: Profiled time beyond that of a batch of usual queries.
    """

    jobs: tuple[Job, ...]
    level_index: int
    level: str
    started_s: float
    expected_s: float
    extra_s: float = 0.0

    @property
    def due_s(self) -> float:
        """Time at which the batch should be finished."""
        return self.started_s + self.expected_s

    def requests(self) -> Iterator[Request]:
        """Yield the requests of all jobs."""
        for job in self.jobs:
            yield from job.requests

    def outcomes(self, now_s: float) -> list[Outcome]:
        """Return the outcome of each request of the batch, which has finished at `now_s`."""
        return [
            Outcome(
                request=request,
                status=Status.IN_TIME if now_s <= request.deadline_s else Status.LATE,
                end_s=now_s,
                level=self.level,
                batch_size=len(self.jobs),
                queued_s=max(0.0, self.started_s - request.arrival_s),
                ran_s=now_s - self.started_s,
            )
            for request in self.requests()
        ]

    def failures(self, now_s: float) -> list[Outcome]:
        """Return the outcome of each request of the batch, which has failed at `now_s`."""
        return [Outcome(request=request, status=Status.FAILED, end_s=now_s) for request in self.requests()]


class Status(Enum):
    """Final state of a request."""

    IN_TIME = "in time"
    LATE = "late"
    REFUSED = "refused"  # rejected on arrival
    SHED = "shed"  # rejected after it had waited: it could no longer meet its deadline, or had to make room
    FAILED = "failed"  # its batch failed
    LOST = "lost"  # no answer ever came; only a client can observe this


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """End of a request.

    Args:
        request: The request.
        status: Its final state.
        end_s: Time at which it ended.
        level: Name of the level that served the request, None without an answer.
        batch_size: Number of jobs in the batch.
        queued_s: Time that the request waited.
        ran_s: Time that the batch ran.
    """

    request: Request
    status: Status
    end_s: float
    level: str | None = None
    batch_size: int = 0
    queued_s: float = 0.0
    ran_s: float = 0.0

    @property
    def latency_s(self) -> float:
        """Time from arrival to end."""
        return self.end_s - self.request.arrival_s
