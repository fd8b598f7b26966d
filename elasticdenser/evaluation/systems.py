"""Systems: anything that finds hits for queries, with its description for reports."""

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
"""Takes the hits of several systems and the number of hits per query; returns the fused hits."""


@dataclass(frozen=True, kw_only=True)
class System:
    """System that finds hits for queries: by searching, by fusing other systems, or from a finished run file.

    Args:
        name: Short name, such as `bm25`; part of file names.
        search: Takes queries (id -> text) and k; returns hits. `Retriever.search` and `Bm25Index.search` fit.
        parts: Instead of `search`: the systems whose hits are fused.
        fuse: Takes the hits of the parts and k.
        min_part_hits: Number of hits per query that `fuse` needs of the parts, where k is less.
        run: Instead of `search`: a TREC run file.
        timed: Takes queries and k as `search` does, and is timed in its place, where a part is a finished run: it does
            what the system itself does for these queries.
        title: Title in plain words.
        settings: All settings that its hits depend on, for the report.
        fingerprint: SHA-256 over everything that its hits depend on, the corpus included; its runs are cached by
            it. Without one, every evaluation searches again.
        family: Name shared by the systems that differ only in the subnet of the query encoder. Reports compare
            them with the first of the family, which should be the largest subnet.
        subnet: Subnet of the query encoder, such as `w0.5-d3`.

    Raises:
        BadInputError: Not exactly one of `search`, `run` and `parts` with `fuse` is given, or the name cannot be
            part of a file name.
    """

    name: str
    search: Search | None = None
    parts: Sequence[System] = ()
    fuse: Fuse | None = None
    min_part_hits: int = 0
    run: Path | None = None
    timed: Search | None = None
    title: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    family: str = ""
    subnet: str = ""

    def __post_init__(self) -> None:
        check_name("system", self.name)
        n_sources = (self.search is not None) + (self.run is not None) + bool(self.parts and self.fuse)
        if n_sources != 1:
            message = f"got {n_sources} sources of hits, expected exactly one of search, run, or parts with fuse"
            raise BadInputError(f"system {self.name!r}: {message}")

    @property
    def live_search(self) -> Search | None:
        """Search for new queries, to be timed; None if the hits come from a finished run."""
        if self.timed is not None:
            return self.timed
        if self.fuse is None:
            return self.search
        searches = [part.live_search for part in self.parts]
        known = [search for search in searches if search is not None]
        fused = partial(_search_and_fuse, known, self.fuse, self.min_part_hits)
        return fused if len(known) == len(searches) else None

    def info(self) -> SystemInfo:
        """Return the description of the system for reports."""
        return SystemInfo(
            name=self.name,
            title=self.title or self.name,
            settings=dict(self.settings),
            family=self.family,
            subnet=self.subnet,
        )


def _search_and_fuse(
    searches: Sequence[Search], fuse: Fuse, min_hits: int, queries: Mapping[str, str], k: int
) -> Iterable[ScoredDoc]:
    return fuse([search(queries, max(k, min_hits)) for search in searches], k)
