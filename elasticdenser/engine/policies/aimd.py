"""AIMD policy: additive increase and multiplicative decrease of the batch size at one level."""

from __future__ import annotations

from typing import ClassVar, Self

from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import Choice, QueueState
from elasticdenser.engine.settings import SchedulerSettings

_DECREASE = 0.9
"""Factor after a batch that took too long: Clipper backs off by 10 %."""


class Aimd:
    """Adapts the maximum batch size at one level, after Clipper (Crankshaw et al., NSDI 2017).

    Args:
        profile: The levels.
        level: Name of the level.
        slo_s: The default deadline. Batches may take half of it, as a request may have to wait for one batch and then
            for its own (so does Nexus, Shen et al., SOSP 2019).

    Raises:
        QueryError: There is no such level.
    """

    spelling: ClassVar[str] = "aimd:LEVEL"

    def __init__(self, profile: Profile, level: str, *, slo_s: float) -> None:
        self.name = f"aimd:{level}"
        self.fastest_level_index = profile.level_index(level)
        self._target_s = slo_s / 2
        self._max_batch_size = 1.0

    @classmethod
    def parse(cls, argument: str, profile: Profile, settings: SchedulerSettings) -> Self:
        """Return the policy of the level that the argument names; see `NamedPolicy`."""
        return cls(profile, argument, slo_s=settings.slo_s)

    def choose(self, state: QueueState) -> Choice:
        """Choose the level, and all waiting jobs up to the present maximum."""
        return Choice(self.fastest_level_index, max(1, min(int(self._max_batch_size), len(state.queue))))

    def observe(self, batch_size: int, run_s: float) -> None:
        """Raise the maximum by one after a full batch in time; lower it by a tenth after a batch that took too long."""
        if run_s > self._target_s:
            self._max_batch_size = max(1.0, self._max_batch_size * _DECREASE)
        elif batch_size >= int(self._max_batch_size):
            self._max_batch_size += 1
