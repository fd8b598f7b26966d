"""The elastic policy: the best level at which everything that waits can still be answered in time."""

from __future__ import annotations

from elasticdenser.engine.load import Choice, Load
from elasticdenser.engine.policy import largest_at
from elasticdenser.engine.profile import Profile


class Elastic:
    """Spends the least quality that meets every deadline of the queue.

    A level will do if, first, the whole queue, served at it in the order of deadlines, drains in time; and second, if
    what will have gathered by the end of the next batch leaves room: at the smallest level it must be served within a
    part of the usual deadline. Switching costs nothing (a level is an argument), so each batch is decided anew, and at
    a rate between the capacities of two levels the policy alternates between them. It therefore uses the levels that
    no such mixture beats, and no others.

    Keeping away from all levels whose capacity is below the rate was tried in place of the second condition: in
    simulated bursts it cost .02 to .03 of retention, as requests that are still to come bring their own slack.

    Args:
        profile: The levels.
        stretch: Run times are taken to be so much longer when a queue is drained. In simulations 1.3 takes up to a
            tenth off the 99th percentile, for less than .001 of retention.
        filled: The part of the usual deadline that may be filled by what gathers. It counts near the capacity of the
            smallest level only: there, with a slow neighbour or run times that scatter, it halves what is refused.
        caution: How many times their scatter run times are taken to be longer when a batch is made. Where they scatter
            by a tenth it costs nothing; where they do by a quarter it halves what is late.
    """

    name = "elastic"

    def __init__(self, profile: Profile, *, stretch: float = 1.3, filled: float = 0.4, caution: float = 6.0) -> None:
        self._ladder = profile.hull
        self._stretch = stretch
        self._filled = filled
        self._caution = caution
        self.cheapest = self._ladder[-1]

    def choose(self, load: Load) -> Choice:
        """Choose the best level that will do, else the smallest."""
        ladder = self._ladder
        low, high = 0, len(ladder) - 1
        # At rest the first look is the last. Else halve: along the ladder levels only become faster.
        middle = 0
        while low < high:
            if load.drains(ladder[middle], load.reserve_s, stretch=self._stretch):
                high = middle
            else:
                low = middle + 1
            middle = (low + high) // 2
        choice = self._largest_at(load, low)
        while low < len(ladder) - 1 and load.backlog_s(choice) > self._filled * load.slo_s:
            low += 1
            choice = self._largest_at(load, low)
        return choice

    def _largest_at(self, load: Load, number: int) -> Choice:
        """Return a batch at a level of the ladder; at the smallest, efficiency counts more than caution."""
        return largest_at(load, self._ladder[number], self._caution if number < len(self._ladder) - 1 else 0.0)

    def observe(self, size: int, ran_s: float) -> None:
        """Learn nothing: the scheduler corrects the profile."""
