"""Thresholds policy: the more concurrent requests, the faster the level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

from elasticdenser.engine.policies.base import largest_batch_choice
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import Choice, QueueState
from elasticdenser.engine.settings import SchedulerSettings


class Thresholds:
    """Chooses the level by the number of concurrent requests, as described for the elastic schedule of ElasticLM.

    Args:
        profile: The levels.
        slo_s: The default deadline.
        workers: Number of workers.
        max_concurrency: For each level of the Pareto front, best first, the highest concurrency that it serves. The
            default is the number of queries that all workers can answer at this level in one batch each within half of
            `slo_s`.
    """

    spelling: ClassVar[str] = "thresholds"
    name = "thresholds"

    def __init__(
        self, profile: Profile, *, slo_s: float, workers: int = 1, max_concurrency: Sequence[int] | None = None
    ) -> None:
        self._level_indices = profile.pareto_front
        levels = [profile.levels[level_index] for level_index in self._level_indices]
        self._max_concurrency = max_concurrency or [workers * level.largest_batch(slo_s / 2) for level in levels]
        self.fastest_level_index = self._level_indices[-1]

    @classmethod
    def parse(cls, argument: str, profile: Profile, settings: SchedulerSettings) -> Self:
        """Return the policy with default thresholds; see `NamedPolicy`."""
        return cls(profile, slo_s=settings.slo_s, workers=settings.workers)

    def choose(self, state: QueueState) -> Choice:
        """Choose the best level whose threshold is not exceeded."""
        concurrency = state.concurrency
        for level_index, max_concurrency in zip(self._level_indices, self._max_concurrency, strict=True):
            if concurrency <= max_concurrency:
                return largest_batch_choice(state, level_index)
        return largest_batch_choice(state, self.fastest_level_index)

    def observe(self, batch_size: int, run_s: float) -> None:
        """Ignore the run time."""
