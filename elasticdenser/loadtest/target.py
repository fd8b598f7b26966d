"""Target of a load test, as the load generator sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from elasticdenser.engine.policies import Policy, PolicyFactory
from elasticdenser.engine.request import Status
from elasticdenser.errors import ElasticDenserError


class TargetError(ElasticDenserError):
    """The target of a load test cannot be reached, or has ended."""


class LoadRequest(NamedTuple):
    """Request of a load test.

    Attributes:
        number: Number of the request, from 0, unique within a run.
        text: The query.
        k: Number of hits.
        deadline_s: Time at which the answer becomes worthless, on the clock of `time.perf_counter`.
    """

    number: int
    text: str
    k: int
    deadline_s: float


class LoadResponse(NamedTuple):
    """Response of the target to a request.

    Attributes:
        number: Number of the request.
        status: Outcome of the request, according to the target.
        level: Name of the level that answered, None without an answer.
        batch_size: Queries in the batch, 0 if unknown.
        queued_s: Time that the request waited in the target.
        ran_s: Run time of the batch.
        finished_s: Time at which the target had the answer, on the clock of `time.perf_counter`; 0 if unknown.
        batch_number: Number of the batch, the same for all its requests; 0 if unknown.
    """

    number: int
    status: Status
    level: str | None = None
    batch_size: int = 0
    queued_s: float = 0.0
    ran_s: float = 0.0
    finished_s: float = 0.0
    batch_number: int = 0


class Target(Protocol):
    """Engine or server under load. No method except `start`, `finish` and `close` blocks the load generator."""

    def start(self, policy: str | Policy | PolicyFactory, deadline_s: float) -> None:
        """Prepare a run.

        Args:
            policy: The policy of the engine, as for `make_policy`. An engine in another process gets a pickled copy, so
                an object must be picklable, and keeps no state from one run to the next.
            deadline_s: Default deadline of the engine.

        Raises:
            TargetError: The target cannot be reached.
        """

    def finish(self) -> None:
        """End a run."""

    def send(self, requests: Sequence[LoadRequest]) -> None:
        """Send requests, or queue them to be sent by `receive`.

        Raises:
            TargetError: The target has ended.
        """

    def receive(self, timeout_s: float) -> list[LoadResponse]:
        """Send queued requests, and return responses as soon as there are any; none after `timeout_s`.

        Raises:
            TargetError: The target has ended.
        """

    def memory_bytes(self) -> int | None:
        """Return the memory that the target holds, None if unknown."""

    def close(self) -> None:
        """Release all resources. Safe to call again."""
