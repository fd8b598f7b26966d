"""SlackFit policy: fill the slack of the most urgent request."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Self

from elasticdenser.engine.policies.base import largest_batch_choice
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import Choice, QueueState
from elasticdenser.engine.settings import SchedulerSettings


class _Option(NamedTuple):
    """Level and batch size with the profiled run time."""

    batch_size: int
    level_index: int
    latency_s: float


class SlackFit:
    """Fills the slack of the most urgent request, after SlackFit (Khare et al., SuperServe, NSDI 2025).

    All pairs of a level and a batch size are sorted into buckets of equal width by their run time. The policy takes the
    largest batch from the slowest bucket for which the first request has time: with much slack that is a good level or
    a large batch, with little slack a fast level. Pairs with more jobs than wait are skipped.

    Args:
        profile: The levels.
        slo_s: The default deadline, which the buckets cover.
        buckets: Number of buckets.
    """

    spelling: ClassVar[str] = "slackfit"
    name = "slackfit"

    def __init__(self, profile: Profile, *, slo_s: float, buckets: int = 16) -> None:
        self._slo_s, self._width_s = slo_s, slo_s / buckets
        self._buckets: list[list[_Option]] = [[] for _ in range(buckets)]
        for level_index in profile.pareto_front:
            for size, latency_s in enumerate(profile.levels[level_index].latency_s):
                if size and latency_s < slo_s:
                    self._buckets[int(latency_s / self._width_s)].append(_Option(size, level_index, latency_s))
        for bucket in self._buckets:
            bucket.sort(key=lambda option: (-option.batch_size, option.level_index))
        self.fastest_level_index = profile.pareto_front[-1]

    @classmethod
    def parse(cls, argument: str, profile: Profile, settings: SchedulerSettings) -> Self:
        """Return the policy for the default deadline; see `NamedPolicy`."""
        return cls(profile, slo_s=settings.slo_s)

    def choose(self, state: QueueState) -> Choice:
        """Choose from the slowest bucket that is in time."""
        slack_s, n_waiting = min(state.slack_s / state.ratio, self._slo_s), len(state.queue)
        slowest = min(int(slack_s / self._width_s), len(self._buckets) - 1) if slack_s > 0 else -1
        for bucket in reversed(self._buckets[: slowest + 1]):
            for batch_size, level_index, latency_s in bucket:
                if batch_size <= n_waiting and latency_s <= slack_s:
                    return Choice(level_index, batch_size)
        return largest_batch_choice(state, self.fastest_level_index)

    def observe(self, batch_size: int, run_s: float) -> None:
        """Ignore the run time."""
