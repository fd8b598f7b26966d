"""Policies to compare with: one level for all, thresholds, and what other systems do."""

from __future__ import annotations

from collections.abc import Sequence

from elasticdenser.engine.policies.base import fullest_at, largest_at
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import Choice, QueueState


class Static:
    """One level for everything, in the largest batches that are in time.

    Args:
        profile: The levels.
        level: The level's name.
    """

    def __init__(self, profile: Profile, level: str) -> None:
        self.name = f"static:{level}"
        self.cheapest = profile.place(level)

    def choose(self, load: QueueState) -> Choice:
        """Choose the level."""
        return fullest_at(load, self.cheapest)

    def observe(self, size: int, ran_s: float) -> None:
        """Learn nothing."""


class Thresholds:
    """The more requests at once, the smaller the level: as the elastic schedule of ElasticLM is described.

    Args:
        profile: The levels.
        at_most: For each level of the ladder, the concurrency up to which it serves. By default what all workers can
            answer at this level in one batch each within half of `slo_s`.
        slo_s: The usual deadline.
        workers: Number of workers.
    """

    name = "thresholds"

    def __init__(
        self, profile: Profile, *, slo_s: float, workers: int = 1, at_most: Sequence[int] | None = None
    ) -> None:
        self._ladder = profile.ladder
        levels = [profile.levels[place] for place in self._ladder]
        self._at_most = at_most or [workers * level.largest_batch(slo_s / 2) for level in levels]
        self.cheapest = self._ladder[-1]

    def choose(self, load: QueueState) -> Choice:
        """Choose the best level whose threshold is not passed."""
        concurrency = load.concurrency
        for place, at_most in zip(self._ladder, self._at_most, strict=True):
            if concurrency <= at_most:
                return largest_at(load, place)
        return largest_at(load, self.cheapest)

    def observe(self, size: int, ran_s: float) -> None:
        """Learn nothing."""


class SlackFit:
    """Fill the slack of the most urgent request: after SlackFit (SuperServe, Khare et al.).

    All pairs of level and batch size are sorted into buckets of equal width by their latency. Of the slowest bucket
    that the first request has time for, the largest batch is taken: with much slack that is a good level or a large
    batch, with little a small level. Pairs of more jobs than wait are left aside.

    Args:
        profile: The levels.
        slo_s: The usual deadline, which the buckets cover.
        buckets: How many.
    """

    name = "slackfit"

    def __init__(self, profile: Profile, *, slo_s: float, buckets: int = 16) -> None:
        self._slo_s, self._width_s = slo_s, slo_s / buckets
        self._buckets: list[list[tuple[int, int, float]]] = [[] for _ in range(buckets)]
        for place in profile.ladder:
            for size, seconds in enumerate(profile.levels[place].latency_s):
                if size and seconds < slo_s:
                    self._buckets[int(seconds / self._width_s)].append((size, place, seconds))
        for bucket in self._buckets:
            bucket.sort(key=lambda pair: (-pair[0], pair[1]))
        self.cheapest = profile.ladder[-1]

    def choose(self, load: QueueState) -> Choice:
        """Choose from the slowest bucket that is in time."""
        slack_s, waiting = min(load.slack_s / load.ratio, self._slo_s), len(load.queue)
        slowest = min(int(slack_s / self._width_s), len(self._buckets) - 1) if slack_s > 0 else -1
        for number in range(slowest, -1, -1):
            for size, place, seconds in self._buckets[number]:
                if size <= waiting and seconds <= slack_s:
                    return Choice(place, size)
        return largest_at(load, self.cheapest)

    def observe(self, size: int, ran_s: float) -> None:
        """Learn nothing."""


class Aimd:
    """Additive increase, multiplicative decrease of the batch size at one level, after Clipper (Crankshaw et al.).

    Args:
        profile: The levels.
        level: The level's name.
        slo_s: The usual deadline. Batches are to take half of it: a request may have to wait for one and then for
            its own (as Nexus, Shen et al., sizes its batches).
    """

    _DECREASE = 0.9

    def __init__(self, profile: Profile, level: str, *, slo_s: float) -> None:
        self.name = f"aimd:{level}"
        self.cheapest = profile.place(level)
        self._target_s = slo_s / 2
        self._limit = 1.0

    def choose(self, load: QueueState) -> Choice:
        """Choose the level, and what waits up to the present limit."""
        return Choice(self.cheapest, max(1, min(int(self._limit), len(load.queue))))

    def observe(self, size: int, ran_s: float) -> None:
        """Raise the limit by one after a full batch in time, lower it by a tenth after one that took too long."""
        if ran_s > self._target_s:
            self._limit = max(1.0, self._limit * self._DECREASE)
        elif size >= int(self._limit):
            self._limit += 1
