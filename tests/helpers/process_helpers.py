"""Queries and a profile for tests of worker processes."""

from __future__ import annotations

from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Query

QUERIES = [Query(text=text, k=k) for text, k in (("desert planet", 3), ("read a file", 5), ("novel", 1))]
RECALLS = {"w1-d2": None, "level0": None}


def make_profile():
    return Profile(
        levels=[
            Level(name="w1-d2", quality=1.0, measured_s={1: 0.003}),
            Level(name="level0", quality=0.8, measured_s={1: 0.001}),
        ]
    )


def search_in_process(pool, queries, level="level0"):
    """Return the hits of a batch from a process of the pool."""
    return list(pool.start_batch(queries, level)())
