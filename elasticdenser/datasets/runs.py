"""Run files: the hits of many queries in the six columns of TREC, plain or compressed (`.gz`)."""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from ir_measures import ScoredDoc

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.datasets.files import read_lines
from elasticdenser.datasets.rank_check import RankCheck
from elasticdenser.errors import BadInputError

COLUMNS = "query_id Q0 doc_id rank score tag"
"""Columns of a run file, for messages."""


def write_run(path: str | Path, scored_docs: Iterable[ScoredDoc], *, tag: str = "elasticdenser") -> int:
    """Write hits as a TREC run file, one query at a time, so that a run of any length fits in memory.

    Within a query the hits are ranked from 1 by falling score; equal scores keep the order given. Scores are written
    with as many digits as are needed to read the same number back.

    Args:
        path: The file to write, compressed if its name ends in `.gz`; it appears only once it is complete.
        scored_docs: The hits, all those of a query one after another.
        tag: Name of the run, its last column.

    Returns:
        The number of lines written.

    Raises:
        BadInputError: An id or a score cannot be written, or the hits of a query are not contiguous.
    """
    path = Path(path)
    _check_token("run tag", tag)
    if path.is_dir():
        raise BadInputError("this is a folder, expected a file name such as runs/NAME.trec", path)
    _create_parent(path)
    n_lines = 0
    with _open_for_writing(path) as file:
        for query_id, hits in _by_query(scored_docs):
            # Sorting with reverse=True is stable, so ties keep their order.
            hits.sort(key=lambda hit: hit[1], reverse=True)
            file.writelines(
                f"{query_id} Q0 {doc_id} {rank} {score!r} {tag}\n" for rank, (doc_id, score) in enumerate(hits, start=1)
            )
            n_lines += len(hits)
    return n_lines


def read_run(path: str | Path) -> list[ScoredDoc]:
    """Read a TREC run file, plain, `.gz` or `.zst`, in the order of its lines; blank lines are skipped.

    The scores define the ranking, as for the tools that measure runs. A warning is logged if the ranks contradict them,
    repeat, or are not whole numbers.

    Raises:
        BadInputError: The file is missing, empty or damaged, or a line is not as expected.
    """
    path = Path(path)
    run: list[ScoredDoc] = []
    seen: dict[str, set[str]] = {}
    # One string object for each id: a run repeats the ids of documents and queries many times.
    ids: dict[str, str] = {}
    ranks = RankCheck(path)
    query_id, docs = "", set[str]()
    for number, line in read_lines(path):
        columns = line.split()
        if not columns:
            ranks.blank_lines.append(number)
            continue
        line_query_id, doc_id, score = _parse(columns, path, number)
        if line_query_id != query_id:
            query_id = ids.setdefault(line_query_id, line_query_id)
            docs = seen.setdefault(query_id, set())
        doc_id = ids.setdefault(doc_id, doc_id)
        if doc_id in docs:
            raise BadInputError(
                f"document {doc_id!r} is listed twice for query {query_id!r}, expected once: "
                "remove one of the two lines",
                path,
                number,
            )
        docs.add(doc_id)
        ranks.add(query_id, columns[3], score)
        run.append(ScoredDoc(query_id, doc_id, score))
    if not run:
        raise BadInputError(f"the run is empty, expected lines of '{COLUMNS}': make the run again", path)
    ranks.warn(run, len(seen))
    return run


def _parse(columns: list[str], path: Path, number: int) -> tuple[str, str, float]:
    """Return query id, document id and score of one line."""
    if len(columns) != 6:
        raise BadInputError(
            f"got {len(columns)} columns, expected 6 ('{COLUMNS}'): remove or repair this line", path, number
        )
    query_id, _, doc_id, _, score_text, _ = columns
    try:
        score = float(score_text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise BadInputError(
            f"score {score_text!r} is not a finite number: repair this line, or make the run again",
            path,
            number,
        )
    return query_id, doc_id, score


def _by_query(scored_docs: Iterable[ScoredDoc]) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield hits grouped by query and checked, as (query id, [(document id, score), ...])."""
    query_id: str | None = None
    hits: list[tuple[str, float]] = []
    docs: set[str] = set()
    finished: set[str] = set()
    for hit in scored_docs:
        if hit.query_id != query_id:
            if query_id is not None:
                yield query_id, hits
                finished.add(query_id)
            query_id, hits, docs = hit.query_id, [], set()
            _check_token("query id", query_id)
            if query_id in finished:
                raise BadInputError(
                    f"query {query_id!r} appears again after another query, expected all hits of a query one after "
                    "another: sort them by query, and give every query an id of its own"
                )
        _check_token("document id", hit.doc_id)
        if hit.doc_id in docs:
            raise BadInputError(
                f"document {hit.doc_id!r} was returned twice for query {query_id!r}, expected once: "
                "look for repeated ids in the corpus or queries"
            )
        score = float(hit.score)
        if not math.isfinite(score):
            raise BadInputError(
                f"score {score} of document {hit.doc_id!r} for query {query_id!r} is not a finite number: "
                "look for NaN in the vectors of the index and of the query"
            )
        docs.add(hit.doc_id)
        hits.append((hit.doc_id, score))
    if query_id is not None:
        yield query_id, hits


def _check_token(what: str, value: object) -> None:
    """Refuse a value that would not be one column of the file."""
    if not isinstance(value, str) or value.split() != [value]:
        raise BadInputError(
            f"{what} {value!r} cannot be written to a run file, expected a string without white space: rename it"
        )


def _create_parent(path: Path) -> None:
    """Create the folder of a run."""
    with explained_os_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise BadInputError(f"{path.parent} is a file, expected a folder: choose another place", path) from error


@contextmanager
def _open_for_writing(path: Path) -> Iterator[IO[Any]]:
    """Open a text file for writing that appears only once it is complete."""
    if path.suffix != ".gz":
        with atomic_write(path) as file:
            yield file
        return
    # Without name and time in the header, the same run always gives the same bytes.
    with (
        atomic_write(path, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file,
    ):
        yield file
