"""Elastic policy: the best level at which all waiting requests can still be answered in time."""

from __future__ import annotations

from typing import ClassVar, Self

from elasticdenser.engine.policies.base import largest_batch_choice, urgent_batch_choice
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.queue_state import Choice, QueueState
from elasticdenser.engine.settings import SchedulerSettings


class Elastic:
    """Chooses the best level that meets every deadline of the queue.

    A level is chosen if it satisfies two conditions. First, the whole queue, served at this level in the order of
    deadlines, drains in time. Second, after one batch at this level the fastest level can clear all urgent requests,
    including those that keep arriving, within a default deadline. At low load the second condition hardly ever matters.
    Near the capacity of the fastest level it does: slack that is spent there comes back slowly, and until then any
    random burst is too much. In simulations, a limit that is a third longer or shorter changes mean retention by less
    than .001.

    Switching levels costs nothing, because the level is an argument of each search. The policy therefore decides anew
    for each batch, and alternates between two levels at a rate between their capacities. So it only uses the levels on
    the concave hull, which no such mixture of two others beats.

    An alternative to the second condition was to exclude all levels whose capacity is below the arrival rate. In
    simulated bursts it cost .02 to .03 of retention, because requests that are still to come bring their own slack.

    Args:
        profile: The levels.
        caution: Run times are predicted to be longer by this multiple of their scatter. In simulations, 12 instead of 6
            leaves a third of the late answers where run times scatter by a quarter, and costs .0002 of retention where
            they scatter by a tenth. A third more or less changes as little.
    """

    spelling: ClassVar[str] = "elastic"
    name = "elastic"

    def __init__(self, profile: Profile, *, caution: float = 12.0) -> None:
        self._level_indices = profile.hull
        self._caution = caution
        self.fastest_level_index = self._level_indices[-1]

    @classmethod
    def parse(cls, argument: str, profile: Profile, settings: SchedulerSettings) -> Self:
        """Return the policy; see `NamedPolicy`."""
        return cls(profile)

    def choose(self, state: QueueState) -> Choice:
        """Choose the best level that satisfies both conditions, else the fastest one."""
        safety_factor = 1 + self._caution * state.scatter
        # Binary search, as levels become faster along the hull; the best level first, which at low load is the answer.
        low, middle, high = 0, 0, len(self._level_indices) - 1
        while low < high:
            choice = largest_batch_choice(state, self._level_indices[middle], safety_factor)
            if state.recovery_s(choice) <= state.slo_s and state.drains_in_time(
                choice.level_index, state.reserve_s, safety_factor=safety_factor
            ):
                if low == middle:
                    return choice
                high = middle
            else:
                low = middle + 1
            middle = (low + high) // 2
        if low < len(self._level_indices) - 1:
            return largest_batch_choice(state, self._level_indices[low], safety_factor)
        return urgent_batch_choice(state, self.fastest_level_index)

    def observe(self, batch_size: int, run_s: float) -> None:
        """Ignore the run time: the scheduler corrects the profile."""
