"""What the tables of the query benchmark share: the questions, the encoders, the index, and how work is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from peers import ST, Encode, Flat, peer_encoders
from report import item_by_item

from elasticdenser import ElasticQueryEncoder, PassageIndex
from elasticdenser.datasets import load_queries

SIZES = ("w1-d6", "w1-d4", "w0.5-d3", "w0.25-d1", "level0")

RECALLS = {"w1-d6": None, "w1-d4": 0.99, "w0.5-d3": 0.96, "w0.25-d1": 0.96, "level0": 0.96}
"""Search effort of each size: about what `elasticdenser profile` chooses, by `eval/bench/effort.py`."""

CLOCKS = {"cpu": process_time, "wall": perf_counter}
"""`cpu` is the time of this process on a core, which others on the machine do not lengthen. By the clock on the wall
they lengthen what takes long more than what is short, so that the ratios come out too large."""

Row = dict[str, Any]
Times = dict[str, list[float]]
Targets = Mapping[str, tuple[float, ...]]


class Bench:
    """What is measured with, each part made when it is first asked for.

    Args:
        data: Folder of the data sets.
        index_path: The index, for the tables that need one.
        cache: Folder of the peers' files.
        n_queries: How many of NQ's questions are taken.
        rounds: How often each piece of work is timed.
        clock: One of `CLOCKS`.

    Attributes:
        texts: The questions.
        share: How much of a core this process had when it was last timed.
    """

    def __init__(
        self, data: Path, index_path: Path | None, cache: Path, *, n_queries: int, rounds: int, clock: str
    ) -> None:
        self.data, self.cache, self.rounds = data, cache, rounds
        self.texts = [query.text for query in load_queries(data / "nq", split="dev")[:n_queries]]
        self.share: float | None = None
        self._index_path, self._clock = index_path, CLOCKS[clock]

    @cached_property
    def peers(self) -> dict[str, Encode]:
        """The peers' encoders by name."""
        return peer_encoders(self.cache)

    @cached_property
    def encoder(self) -> ElasticQueryEncoder:
        """Our encoder of queries, as it is by default."""
        return ElasticQueryEncoder.from_pretrained(device="cpu")

    @cached_property
    def index(self) -> PassageIndex:
        """The index."""
        if self._index_path is None:
            raise ValueError("this table needs an index")
        return PassageIndex.open(self._index_path)

    @cached_property
    def flat(self) -> Flat:
        """FAISS Flat over the same vectors."""
        return Flat(self.index)

    def times(self, work: Mapping[str, Callable[[Sequence[str]], object]], batches: Sequence[Sequence[str]]) -> Times:
        """Return the seconds that every piece of work takes on every batch of texts; see `item_by_item`."""
        each: dict[str, Callable[[int], object]] = {
            name: partial(lambda do, at: do(batches[at]), do) for name, do in work.items()
        }
        started = perf_counter(), process_time()
        times = item_by_item(each, len(batches), self.rounds, self._clock)
        self.share = (process_time() - started[1]) / (perf_counter() - started[0])
        return times


def shown(name: str) -> str:
    """Return the name of a row; what is none of the peers is ours."""
    return name if name[0].isupper() or name.startswith(ST) else f"ours, {name}"
