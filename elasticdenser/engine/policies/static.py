"""Static policy: one level for all requests."""

from __future__ import annotations

from typing import ClassVar, Self

from elasticdenser.engine.policies.base import urgent_batch_choice
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import Choice, QueueState
from elasticdenser.engine.settings import SchedulerSettings


class Static:
    """Serves every request at one level, in the largest batches that are in time.

    Args:
        profile: The levels.
        level: Name of the level.

    Raises:
        QueryError: There is no such level.
    """

    spelling: ClassVar[str] = "static:LEVEL"

    def __init__(self, profile: Profile, level: str) -> None:
        self.name = f"static:{level}"
        self.fastest_level_index = profile.level_index(level)

    @classmethod
    def parse(cls, argument: str, profile: Profile, settings: SchedulerSettings) -> Self:
        """Return the policy of the level that the argument names; see `NamedPolicy`."""
        return cls(profile, argument)

    def choose(self, state: QueueState) -> Choice:
        """Choose the level."""
        return urgent_batch_choice(state, self.fastest_level_index)

    def observe(self, batch_size: int, run_s: float) -> None:
        """Ignore the run time."""
