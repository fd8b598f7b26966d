"""Policies: at which level, and how many jobs at once. All stand behind one interface and are told apart by name."""

from __future__ import annotations

from typing import Protocol

from elasticdenser.engine.queue_state import Choice, QueueState


class Policy(Protocol):
    """Chooses for one worker that is idle. Knows no clock; it may keep state, so each scheduler needs its own.

    Attributes:
        name: As it is spelled, such as `elastic` or `static:w0.5-d3`.
        cheapest: Place of the fastest level it would ever choose. What cannot be in time at this one is hopeless.
    """

    name: str
    cheapest: int

    def choose(self, load: QueueState) -> Choice:
        """Choose what to do with a queue that is not empty."""

    def observe(self, size: int, ran_s: float) -> None:
        """Learn that a batch of `size` jobs ran for `ran_s`."""


def fullest_at(load: QueueState, place: int) -> Choice:
    """Serve at a level, in the largest batch with which the first job is just in time.

    For a level than which there is no faster one: there small batches are dear, and put the next one in a hurry, too.
    """
    return Choice(place, load.largest_batch(place, 0.0) or 1)


def largest_at(load: QueueState, place: int, stretch: float = 1.0) -> Choice:
    """Serve at a level, in the largest batch with which the first job is in time: at best with the reserve."""
    return Choice(place, load.largest_batch(place, load.reserve_s, stretch) or load.largest_batch(place, 0.0) or 1)
