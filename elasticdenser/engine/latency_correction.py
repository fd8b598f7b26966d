"""Correction of profiled run times by observed ones."""

from __future__ import annotations


class LatencyCorrection:
    """Running ratio of observed to profiled run times, common to all levels.

    Another program that takes memory bandwidth or processor time slows all levels alike, and an observation at one
    level must hold at once for the others, which a burst will need. The ratio rises faster than it falls: a prediction
    that is too long costs a little quality, while one that is too short misses a deadline. Such a ratio is an
    expectile: on a machine whose run times scatter it lies above their mean, so the margin grows with the scatter.

    Between observations the ratio decays to 1. Otherwise a machine with few requests would count as slow after a busy
    moment until hundreds of requests have passed.

    Args:
        rise: Weight of an observation above the ratio. With 0.2 a machine that has become twice as slow is recognised
            within ten batches.
        fall: Weight of an observation below the ratio. With 0.05 against 0.2 the ratio estimates the 0.8-expectile.
        half_life_s: Time in which the distance of the ratio from 1 halves.
        lowest: Lower bound of the ratio.
        highest: Upper bound of the ratio: beyond it the profile describes another machine.

    Attributes:
        ratio: Factor for profiled times.
        scatter: Running mean of the relative excess of observed over corrected times, where shorter times count 0.
    """

    # Limits the influence of a single observation, such as a pause of the whole process, to a doubling or halving.
    _MAX_STEP = 2.0

    def __init__(
        self,
        *,
        rise: float = 0.2,
        fall: float = 0.05,
        half_life_s: float = 1.0,
        lowest: float = 0.5,
        highest: float = 8.0,
    ) -> None:
        self._rise, self._fall, self._lowest, self._highest = rise, fall, lowest, highest
        self._half_life_s, self._decayed_until_s = half_life_s, 0.0
        self.ratio = 1.0
        self.scatter = 0.0

    def observe(self, profiled_s: float, run_s: float) -> None:
        """Record that a batch whose profiled time is `profiled_s` ran for `run_s`."""
        observed = min(max(run_s / profiled_s, self.ratio / self._MAX_STEP), self.ratio * self._MAX_STEP)
        self.scatter += self._fall * (max(0.0, observed / self.ratio - 1.0) - self.scatter)
        weight = self._rise if observed > self.ratio else self._fall
        self.ratio = min(max(self.ratio + weight * (observed - self.ratio), self._lowest), self._highest)

    def decay(self, now_s: float) -> None:
        """Let the ratio decay until `now_s`."""
        if now_s > self._decayed_until_s:
            self.ratio = 1.0 + (self.ratio - 1.0) * 0.5 ** ((now_s - self._decayed_until_s) / self._half_life_s)
            self._decayed_until_s = now_s
