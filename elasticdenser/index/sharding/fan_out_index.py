"""Sharded index whose shards are searched elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from elasticdenser.arrays import Positions, Scores, Vectors
from elasticdenser.errors import ElasticDenserError, IndexFormatError
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.coverage import report_coverage
from elasticdenser.index.efforts import select_effort
from elasticdenser.index.filters import AnyFilter
from elasticdenser.index.metadata.matches import IndexMatches
from elasticdenser.index.passage_index import PassageIndex
from elasticdenser.index.segment_search import merged_hits
from elasticdenser.index.sharding.fan_out import FanOut
from elasticdenser.index.sharding.requests import ShardRequest
from elasticdenser.index.tables import SegmentTable, open_segments
from elasticdenser.query_input import checked_k

_RETIRE_AFTER_S = 10.0
"""Batches that still hold an index when it is replaced have searched it by then."""

Deploy = Callable[[IndexContents], FanOut]
"""Starts replicas of the shards of an index, and returns how to ask them once all can search."""


class ShardsUnavailableError(ElasticDenserError):
    """No shard of an index has replied."""


class FanOutIndex(PassageIndex):
    """A sharded index that asks replicas of its shards, and merges their hits.

    Ids and texts of hits, and the vectors of passages that a search is restricted to, are read here, from the same
    folder; search structures are not. The scores of shards are exact, so that the hits are those of `PassageIndex`, to
    the bit. Shards that have not replied in time are left out, and the share of passages in the others is reported to
    `collected_coverage`.

    Args:
        contents: Contents of the index.
        table: Its shards.
        deploy: Starts replicas of shards.
    """

    def __init__(self, contents: IndexContents, table: SegmentTable, deploy: Deploy) -> None:
        super().__init__(contents, table)
        self._deploy, self._starts = deploy, [table.start(number) for number in range(len(table.segments))]
        self._sizes = [len(segment) for segment in table.segments]
        self.fan_out = deploy(contents)

    @classmethod
    def open_with(cls, path: str | Path, deploy: Deploy) -> FanOutIndex:
        """Open an index without its search structures, and start replicas of its shards.

        Files are not verified here: each replica does that for its shard.

        Raises:
            IndexFormatError: The index is missing, damaged, or not sharded.
        """
        contents, table = open_segments(Path(path), "sizes", has_structure=False)
        if contents.sharded is None:
            raise IndexFormatError(f"{path} is not sharded: build it with `elasticdenser index --shards N`")
        return cls(contents, table, deploy)

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        within: Positions | None = None,
        filter: AnyFilter | IndexMatches | None = None,
        exact: bool = False,
        recall: float | None = None,
        spare: int = 0,
    ) -> tuple[Scores, Positions]:
        """Return the passages with the highest inner products; see `PassageIndex.search`.

        Raises:
            ShardsUnavailableError: No shard has replied in time.
            QueryError: As for `PassageIndex.search`.
        """
        if within is not None or filter is not None:
            # The router has no search structures: it scores what is allowed.
            return super().search(queries, k + spare, within=within, filter=filter, exact=True, recall=recall)
        queries, k = self._checked_queries(queries), min(checked_k(k) + spare, len(self))
        select_effort(self.manifest.structure.efforts, recall)  # refuses a wrong one
        replies = self.fan_out.ask(ShardRequest(queries=queries, k=k, exact=exact, recall=recall))
        parts = [
            (scores, np.where(positions < 0, -1, positions + start))
            for start, (scores, positions) in (
                (start, reply) for start, reply in zip(self._starts, replies, strict=True) if reply is not None
            )
        ]
        if not parts:
            raise ShardsUnavailableError(
                f"none of the {len(replies)} shards of {self.path} has replied within "
                f"{self.fan_out.settings.timeout_s:g} s: try again, or look at the replicas (`ray status`)"
            )
        n_seen = sum(size for size, reply in zip(self._sizes, replies, strict=True) if reply is not None)
        report_coverage(n_seen / len(self))
        return merged_hits(parts, k)

    def refresh(self) -> PassageIndex:
        """Return the index that is in the folder now, with replicas of its own; this one if it has not changed.

        Raises:
            IndexFormatError: The index is missing, damaged, or not sharded.
        """
        if IndexContents.read(self.path) == self.contents:
            return self
        return FanOutIndex.open_with(self.path, self._deploy)

    def retire(self) -> None:
        """Release the replicas once the searches that hold this index have ended."""
        timer = threading.Timer(_RETIRE_AFTER_S, self.fan_out.close)
        timer.daemon = True
        timer.start()
