"""A system: anything that finds hits for queries, with what a report says of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ir_measures import ScoredDoc

from elasticdenser.artifacts import check_name
from elasticdenser.errors import BadInputError
from elasticdenser.evaluation.comparison import SystemInfo
from elasticdenser.evaluation.timing import Search

Fuse = Callable[[Sequence[Iterable[ScoredDoc]], int], Iterable[ScoredDoc]]


@dataclass(frozen=True, kw_only=True)
class System:
    """Something that finds hits for queries: by searching, by fusing other systems, or as a finished run file.

    Args:
        name: Short name, such as `bm25`; part of file names.
        search: Takes queries (id -> text) and k; returns hits. `Retriever.search` and `Bm25Index.search` will do.
        parts: Instead of `search`: the systems whose hits are fused.
        fuse: Takes the hits of the parts and k.
        run: Instead of `search`: a TREC run file.
        title: What it is in plain words.
        settings: All that decides its hits, for the record.
        fingerprint: SHA-256 over all that decides its hits, the corpus included; its runs are kept by it. Without
            one, each evaluation searches again.
        size_of: What systems share that differ in the size of the query encoder alone: a name for them all. Reports
            compare these with the first of them, which should be the largest.
        size: That size, such as `w0.5-d3`.

    Raises:
        BadInputError: Not exactly one of the three is given, or the name will not do.
    """

    name: str
    search: Search | None = None
    parts: Sequence[System] = ()
    fuse: Fuse | None = None
    run: Path | None = None
    title: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    size_of: str = ""
    size: str = ""

    def __post_init__(self) -> None:
        check_name("system", self.name)
        if (self.search is not None) + (self.run is not None) + bool(self.parts and self.fuse) != 1:
            message = "expected exactly one of search, run, or parts with fuse"
            raise BadInputError(f"system {self.name!r}: {message}")

    @property
    def live(self) -> Search | None:
        """What finds the hits of new queries; None for a finished run."""
        if self.fuse is None:
            return self.search
        searches = [part.live for part in self.parts]
        known = [search for search in searches if search is not None]
        return partial(_search_and_fuse, known, self.fuse) if len(known) == len(searches) else None

    def info(self) -> SystemInfo:
        """Describe it for a report."""
        return SystemInfo(
            name=self.name,
            title=self.title or self.name,
            settings=dict(self.settings),
            size_of=self.size_of,
            size=self.size,
        )


def _search_and_fuse(searches: Sequence[Search], fuse: Fuse, queries: Mapping[str, str], k: int) -> Iterable[ScoredDoc]:
    return fuse([search(queries, k) for search in searches], k)
