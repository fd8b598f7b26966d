"""How much slower, or faster, the machine is now than when it was profiled."""

from __future__ import annotations


class Correction:
    """A running ratio of observed to profiled run times, common to all levels.

    A neighbour that takes memory bandwidth or processor time slows all levels alike, and what one level shows must
    hold at once for the others, which a burst will need. The ratio rises faster than it falls: a prediction that
    is too long costs a little quality, one that is too short breaks a promise. On a machine whose times scatter this
    puts the ratio above their mean (it is an expectile), so that the margin grows with the scatter.

    What is not seen again is forgotten: between observations the ratio returns to 1, so that after a crowded moment a
    machine with few requests is not held for slow until hundreds of them have passed.

    Args:
        rise: Weight of an observation above the ratio.
        fall: Weight of one below it.
        half_life_s: Time in which half of the ratio's distance from 1 is forgotten.
        lowest: The ratio never falls below this.
        highest: The ratio never rises above this: past it, the profile is of another machine.

    Attributes:
        ratio: Multiply profiled times by this.
        scatter: By what part observed times lie above the corrected ones, where they do, as a running mean.
    """

    # One observation, such as a pause of the whole process, counts for no more than this change.
    _STEP = 2.0

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
        self._half_life_s, self._at_s = half_life_s, 0.0
        self.ratio = 1.0
        self.scatter = 0.0

    def observe(self, profiled_s: float, ran_s: float) -> None:
        """Take in that a batch ran for `ran_s` where the profile says `profiled_s`."""
        seen = min(max(ran_s / profiled_s, self.ratio / self._STEP), self.ratio * self._STEP)
        self.scatter += self._fall * (max(0.0, seen / self.ratio - 1.0) - self.scatter)
        weight = self._rise if seen > self.ratio else self._fall
        self.ratio = min(max(self.ratio + weight * (seen - self.ratio), self._lowest), self._highest)

    def forget(self, now_s: float) -> None:
        """Take in that it is `now_s`."""
        if now_s > self._at_s:
            self.ratio = 1.0 + (self.ratio - 1.0) * 0.5 ** ((now_s - self._at_s) / self._half_life_s)
            self._at_s = now_s
