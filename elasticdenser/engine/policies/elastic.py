"""The elastic policy: the best level at which everything that waits can still be answered in time."""

from __future__ import annotations

from elasticdenser.engine.policies.base import fullest_at, largest_at
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import Choice, QueueState


class Elastic:
    """Spends the least quality that meets every deadline of the queue.

    A level will do if, first, the whole queue, served at it in the order of deadlines, drains in time; and second, if
    one batch at it leaves no more than the smallest level, beside what keeps coming, works off within a usual deadline.
    With little traffic that is hardly ever more than the first demands. Near the capacity of the smallest level it is
    much more: slack that is spent there comes back slowly, and until it has, any chance crowd is too much. In
    simulations a third of a deadline more or less changes mean retention by less than .001.

    Switching costs nothing (a level is an argument), so each batch is decided anew, and at a rate between the
    capacities of two levels the policy alternates between them. It therefore uses the levels that no such mixture
    beats, and no others.

    Keeping away from all levels whose capacity is below the rate was tried in place of the second condition: in
    simulated bursts it cost .02 to .03 of retention, as requests that are still to come bring their own slack.

    Args:
        profile: The levels.
        caution: How many times their scatter run times are taken to be longer. In simulations 12 in place of 6 leaves a
            third of what is late where times scatter by a quarter, and costs .0002 of retention where they do by a
            tenth. A third more or less changes as little.
    """

    name = "elastic"

    def __init__(self, profile: Profile, *, caution: float = 12.0) -> None:
        self._ladder = profile.hull
        self._caution = caution
        self.cheapest = self._ladder[-1]

    def choose(self, load: QueueState) -> Choice:
        """Choose the best level that will do, else the smallest."""
        stretch = 1 + self._caution * load.scatter
        low, high = 0, len(self._ladder) - 1
        middle = 0  # at rest the first look is the last; else halve: along the ladder levels only become faster
        while low < high:
            choice = largest_at(load, self._ladder[middle], stretch)
            if load.recovery_s(choice) <= load.slo_s and load.drains(choice.place, load.reserve_s, stretch=stretch):
                if low == middle:
                    return choice
                high = middle
            else:
                low = middle + 1
            middle = (low + high) // 2
        if low < len(self._ladder) - 1:
            return largest_at(load, self._ladder[low], stretch)
        return fullest_at(load, self.cheapest)

    def observe(self, size: int, ran_s: float) -> None:
        """Learn nothing: the scheduler corrects the profile."""
