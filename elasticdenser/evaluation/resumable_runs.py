"""Runs of whole query sets, written in parts, so that an interrupted evaluation continues."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path

from ir_measures import ScoredDoc

from elasticdenser.artifacts import replace_file
from elasticdenser.datasets.runs import read_run, write_run
from elasticdenser.evaluation.timing import Search

QueryProgress = Callable[[int, int], None]
"""Called with the number of queries done and the number of all queries."""

_QUERIES_PER_PART = 500
"""An interruption costs at most the search of this many queries."""


def write_run_in_parts(
    search: Search,
    queries: Mapping[str, str],
    k: int,
    path: Path,
    *,
    tag: str,
    resume: bool = True,
    progress: QueryProgress | None = None,
) -> None:
    """Search a whole query set and write the run; parts that an interrupted call finished are not searched again.

    Args:
        search: Finds the hits.
        queries: Query id -> text.
        k: Hits per query.
        path: The run file; it appears when it is complete.
        tag: Name of the run.
        resume: Whether finished parts beside `path` may be used: they must come from the same search.
        progress: Called after every query.
    """
    path = path.resolve()  # the parts must be on the disk of the file that a link leads to
    folder = path.with_name(f".{path.name}.parts")
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    part_paths: list[Path] = []
    remaining = iter(queries.items())
    n_done = 0
    while part := dict(islice(remaining, _QUERIES_PER_PART)):
        part_path = folder / f"{len(part_paths):05d}.trec"
        if not part_path.exists():
            write_run(part_path, _with_progress(search(part, k), n_done, len(queries), progress), tag=tag)
        part_paths.append(part_path)
        n_done += len(part)
        if progress is not None:
            progress(n_done, len(queries))
    # Written among the parts: if this call is killed, an incomplete file is removed together with them.
    complete = folder / path.name
    write_run(complete, chain.from_iterable(_read_part(part_path) for part_path in part_paths), tag=tag)
    replace_file(complete, path)
    shutil.rmtree(folder)


def _read_part(path: Path) -> list[ScoredDoc]:
    # `read_run` refuses an empty file, as that of a part without any hit.
    return read_run(path) if path.stat().st_size else []


def _with_progress(
    hits: Iterable[ScoredDoc], n_before: int, n_queries: int, progress: QueryProgress | None
) -> Iterator[ScoredDoc]:
    last_id, n_seen = None, 0
    for hit in hits:
        if hit.query_id != last_id:
            last_id = hit.query_id
            n_seen += 1
            if progress is not None:
                progress(n_before + n_seen - 1, n_queries)
        yield hit
