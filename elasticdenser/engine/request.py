"""What goes into the engine and what comes out: requests, batches of them, and their outcomes."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What is searched for.

    Args:
        text: The query.
        k: Hits wanted.
        doc_ids: Search only these documents; None is all.
    """

    text: str
    k: int = 10
    doc_ids: frozenset[str] | None = None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Request:
    """A query with the time by which it wants its answer. All times are on one clock.

    Args:
        id: Its number, different from all others' of the engine.
        query: What is searched for; requests with equal queries and classes are answered together.
        arrival_s: When it came.
        deadline_s: When its answer is worthless; infinity for never.
        minimum: Name of the level whose quality it must at least have; None takes any.
        priority: Decides who is turned away when not all can be served, higher stays; the order of service is by
            deadline whatever the priority.
    """

    id: int
    query: Hashable
    arrival_s: float
    deadline_s: float = math.inf
    minimum: str | None = None
    priority: int = 0


class Job:
    """One query to compute, for all requests in flight that ask just that.

    Args:
        first: The request that asked first.
        floor: Place in the profile of the smallest level that will do; larger places are smaller levels.

    Attributes:
        members: The requests, by deadline; never empty.
    """

    __slots__ = ("floor", "key", "members", "priority")

    def __init__(self, first: Request, floor: int) -> None:
        self.key = key_of(first)
        self.members = [first]
        self.floor = floor
        self.priority = first.priority

    @property
    def deadline_s(self) -> float:
        """The earliest deadline of its requests."""
        return self.members[0].deadline_s


def key_of(request: Request) -> Hashable:
    """Return what two requests must share to be answered together: the query and the class."""
    return request.query, request.minimum, request.priority


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch:
    """Jobs that a worker runs together at one level.

    Args:
        jobs: In the order of their deadlines.
        place: Place of the level in the profile.
        level: The level's name.
        started_s: When it was handed out.
        expected_s: How long it should run.
    """

    jobs: tuple[Job, ...]
    place: int
    level: str
    started_s: float
    expected_s: float

    @property
    def due_s(self) -> float:
        """When it should be finished."""
        return self.started_s + self.expected_s

    def requests(self) -> Iterator[Request]:
        """Yield all requests of all jobs."""
        for job in self.jobs:
            yield from job.members

    def outcomes(self, now_s: float) -> list[Outcome]:
        """Return the outcome of each request of a batch that has finished at `now_s`."""
        return [
            Outcome(
                request=request,
                status=Status.IN_TIME if now_s <= request.deadline_s else Status.LATE,
                at_s=now_s,
                level=self.level,
                batch_size=len(self.jobs),
                queued_s=max(0.0, self.started_s - request.arrival_s),
                ran_s=now_s - self.started_s,
            )
            for request in self.requests()
        ]

    def failures(self, now_s: float) -> list[Outcome]:
        """Return the outcome of each request of a batch that has failed at `now_s`."""
        return [Outcome(request=request, status=Status.FAILED, at_s=now_s) for request in self.requests()]


class Status(Enum):
    """How a request ended."""

    IN_TIME = "in time"
    LATE = "late"
    REFUSED = "refused"  # at the door
    SHED = "shed"  # after it had waited, because it had become hopeless or had to make room
    FAILED = "failed"  # its batch did
    LOST = "lost"  # no answer ever came: only a client can tell


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a request ended.

    Args:
        request: The request.
        status: How.
        at_s: When.
        level: Name of the level that served it, None without an answer.
        batch_size: Jobs that were run together.
        queued_s: How long it waited.
        ran_s: How long its batch ran.
    """

    request: Request
    status: Status
    at_s: float
    level: str | None = None
    batch_size: int = 0
    queued_s: float = 0.0
    ran_s: float = 0.0

    @property
    def latency_s(self) -> float:
        """From arrival to end, in seconds."""
        return self.at_s - self.request.arrival_s
