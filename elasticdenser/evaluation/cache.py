"""What an evaluation leaves on disk, so that nothing is made twice: runs, cells and timings, each by fingerprint."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ir_measures import ScoredDoc

from elasticdenser.artifacts import write_json
from elasticdenser.datasets.runs import read_run, write_run
from elasticdenser.evaluation.timing import Search

_QUERIES_A_PART = 500


class Folder:
    """An output folder.

    Args:
        path: Where it is; made as needed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def run_file(self, query_set: str, system: str, fingerprint: str) -> Path:
        """Return where the run of a system on a query set stands."""
        return self.path / "runs" / query_set / f"{system}.{fingerprint[:12]}.trec.gz"

    def record(self, kind: str, name: str, fingerprint: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what was kept under a name and fingerprint, or make and keep it."""
        file = self.path / kind / f"{name}.{fingerprint[:12]}.json"
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            if kept["fingerprint"] == fingerprint:
                return dict(kept["value"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # absent, or not what we wrote: made anew
        value = make()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"fingerprint": fingerprint, "value": value})
        return value


def search_in_parts(
    search: Search,
    queries: Mapping[str, str],
    k: int,
    file: Path,
    *,
    tag: str,
    resume: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the run of a whole query set, some hundred queries at a time; what an earlier call finished is kept.

    Args:
        search: Finds the hits.
        queries: Query id -> text.
        k: Hits a query.
        file: The run file; it appears when it is complete.
        tag: Name of the run.
        resume: Whether what an earlier call with this file finished is of the same search.
        progress: Called with (queries done, of how many).
    """
    parts = file.with_name(f".{file.name}.parts")
    if not resume:
        shutil.rmtree(parts, ignore_errors=True)
    done: list[Path] = []
    remaining = iter(queries.items())
    n_done = 0
    while part := dict(islice(remaining, _QUERIES_A_PART)):
        path = parts / f"{len(done):05d}.trec"
        if not path.exists():
            write_run(path, _with_progress(search(part, k), n_done, len(queries), progress), tag=tag)
        done.append(path)
        n_done += len(part)
        if progress is not None:
            progress(n_done, len(queries))
    # Among the parts, so that what a killed call leaves goes with them.
    whole = parts / file.name
    write_run(whole, chain.from_iterable(_read_part(path) for path in done), tag=tag)
    os.replace(whole, file)
    shutil.rmtree(parts)


def _read_part(path: Path) -> list[ScoredDoc]:
    # A part in which no query had a hit is an empty file, which is no run but no fault either.
    return read_run(path) if path.stat().st_size else []


def _with_progress(
    hits: Iterable[ScoredDoc], before: int, total: int, progress: Callable[[int, int], None] | None
) -> Iterator[ScoredDoc]:
    last, n_seen = None, 0
    for hit in hits:
        if hit.query_id != last:
            last = hit.query_id
            n_seen += 1
            if progress is not None:
                progress(before + n_seen - 1, total)
        yield hit
