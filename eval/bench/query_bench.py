"""Common part of the tables of the query benchmark: the questions, the encoders, the index, and the timing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from peers import ST, Encode, Flat, peer_encoders
from report import time_items_in_turns

from elasticdenser import ElasticQueryEncoder, PassageIndex
from elasticdenser.datasets import load_queries

SUBNETS = ("w1-d6", "w1-d4", "w0.5-d3", "w0.25-d1", "level0")

RECALLS = {"w1-d6": None, "w1-d4": 0.99, "w0.5-d3": 0.96, "w0.25-d1": 0.96, "level0": 0.96}
"""Search effort of each subnet: about those that `elasticdenser profile` chooses, from `eval/bench/effort.py`."""

CLOCKS = {"cpu": process_time, "wall": perf_counter}
"""`cpu` is the CPU time of this process, which other processes hardly lengthen. They lengthen the wall time of long
work more than that of short work, so that ratios of wall times are too large on a busy machine."""

Row = dict[str, Any]
Times = dict[str, list[float]]
Targets = Mapping[str, tuple[float, ...]]


class Bench:
    """Questions, encoders and index of the benchmark, each loaded when it is first used.

    Args:
        data: Folder of the data sets.
        index_path: The index, for the tables that need one.
        cache: Folder of the peers' files.
        n_queries: Number of NQ's questions to take.
        rounds: Number of times that each piece of work is timed.
        clock: One of `CLOCKS`.

    Attributes:
        texts: The questions.
        share: Share of a core that this process had when it was last timed.
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
        """Return the seconds of every piece of work on every batch of texts; see `time_items_in_turns`."""
        each: dict[str, Callable[[int], object]] = {
            name: partial(lambda compute, number: compute(batches[number]), compute) for name, compute in work.items()
        }
        started = perf_counter(), process_time()
        times = time_items_in_turns(each, len(batches), self.rounds, self._clock)
        self.share = (process_time() - started[1]) / (perf_counter() - started[0])
        return times


def shown(name: str) -> str:
    """Return the name of a row; a row that is not a peer's is ours."""
    return name if name[0].isupper() or name.startswith(ST) else f"ours, {name}"
