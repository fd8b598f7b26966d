"""Protocol of policies: at which level the next batch runs, and how many jobs it holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol, Self, runtime_checkable

from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import Choice, QueueState
from elasticdenser.engine.settings import SchedulerSettings


@runtime_checkable
class Policy(Protocol):
    """Chooses the next batch of an idle worker. Reads no clock; may keep state, so each scheduler needs its own.

    Attributes:
        name: Name in results, such as `elastic` or `static:w0.5-d3`.
        fastest_level_index: Index in the profile of the fastest level that the policy ever chooses. Requests that this
            level cannot answer in time are rejected. All other levels that it chooses must be on the profile's Pareto
            front: a minimum quality is checked for these only.
    """

    name: str
    fastest_level_index: int

    def choose(self, state: QueueState) -> Choice:
        """Choose the level and the size of the next batch; the queue is not empty."""

    def observe(self, batch_size: int, run_s: float) -> None:
        """Record that a batch of `batch_size` jobs ran for `run_s`."""


PolicyFactory = Callable[[Profile, SchedulerSettings], Policy]
"""Makes a new policy for the levels and the settings of a scheduler."""


class NamedPolicy(Policy, Protocol):
    """Policy that the registry makes from its spelling.

    Attributes:
        spelling: The name, followed by `:LEVEL` if the policy has an argument.
    """

    spelling: ClassVar[str]

    @classmethod
    def parse(cls, argument: str, profile: Profile, settings: SchedulerSettings) -> Self:
        """Return a new policy.

        Args:
            argument: The part of the spelling after the colon; empty for a policy without an argument.
            profile: The levels.
            settings: The settings of its scheduler.

        Raises:
            QueryError: The argument is invalid.
        """


def largest_batch_choice(state: QueueState, level_index: int, safety_factor: float = 1.0) -> Choice:
    """Choose a level, and the largest batch with which the first job is in time: with the reserve, else without it."""
    size = state.largest_batch(level_index, state.reserve_s, safety_factor)
    return Choice(level_index, size or state.largest_batch(level_index, 0.0) or 1)


def urgent_batch_choice(state: QueueState, level_index: int) -> Choice:
    """Choose a level, and the largest batch with which the first job is in time, using up the reserve.

    Meant for the fastest level that a policy has: smaller batches would be less efficient there, and would put the next
    batch in a hurry, too.
    """
    return Choice(level_index, state.largest_batch(level_index, 0.0) or 1)
