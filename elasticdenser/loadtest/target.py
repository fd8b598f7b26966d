"""What is put under load, as the client sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from elasticdenser.engine.policies import Policy, PolicyFactory
from elasticdenser.engine.request import Status
from elasticdenser.errors import ElasticDenserError


class TargetError(ElasticDenserError):
    """What was to be tested cannot be reached, or has gone."""


class Asked(NamedTuple):
    """A request on its way.

    Attributes:
        number: Its own among all of a run.
        text: The query.
        k: Hits wanted.
        due_s: When its answer is worthless, on the clock of `time.perf_counter`.
    """

    number: int
    text: str
    k: int
    due_s: float


class Reply(NamedTuple):
    """What came back.

    Attributes:
        number: The request's.
        status: What the target says of it.
        level: The level that served it, None without an answer.
        batch_size: Queries that were run together, 0 if that is not known.
        queued_s: How long it waited there.
        ran_s: How long its batch ran.
        at_s: When the target had the answer, on the clock of `time.perf_counter`; 0 if that is not known.
        batch: Number of the batch, the same for all that it answered; 0 if that is not known.
    """

    number: int
    status: Status
    level: str | None = None
    batch_size: int = 0
    queued_s: float = 0.0
    ran_s: float = 0.0
    at_s: float = 0.0
    batch: int = 0


class Target(Protocol):
    """Takes requests and gives replies, without ever making the client wait."""

    def start(self, policy: str | Policy | PolicyFactory, deadline_s: float) -> None:
        """Get ready for a run.

        Args:
            policy: As for `make_policy`; an object must be picklable.
            deadline_s: The usual deadline.

        Raises:
            TargetError: It cannot be reached.
        """

    def finish(self) -> None:
        """Tell that a run is over."""

    def send(self, asked: Sequence[Asked]) -> None:
        """Send requests.

        Raises:
            TargetError: The target has gone.
        """

    def receive(self, timeout_s: float) -> list[Reply]:
        """Return replies as soon as there are some, or nothing after a time; also sends on what is left to send.

        Raises:
            TargetError: The target has gone.
        """

    def memory_bytes(self) -> int | None:
        """Return how much memory the target holds, None if that is not known."""

    def close(self) -> None:
        """End it; safe to call again."""
