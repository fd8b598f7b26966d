"""What tests of search processes share: queries, a profile, and a way past the calling thread."""

from __future__ import annotations

from elasticdenser.engine.processes import ProcessSearch
from elasticdenser.engine.profile import Level, Profile
from elasticdenser.engine.request import Query

QUERIES = [Query(text=text, k=k) for text, k in (("desert planet", 3), ("read a file", 5), ("novel", 1))]
RECALLS = {"w1-d2": None, "level0": None}


class Elsewhere:
    """Keeps the calling thread's place taken, so that what is asked meanwhile goes to a process."""

    def __init__(self, search: ProcessSearch) -> None:
        self._search = search

    def __enter__(self) -> None:
        self._search._n_running += 1

    def __exit__(self, *_: object) -> None:
        self._search._n_running -= 1


def profile():
    return Profile(
        levels=[
            Level(name="w1-d2", quality=1.0, measured_s={1: 0.003}),
            Level(name="level0", quality=0.8, measured_s={1: 0.001}),
        ]
    )
