"""Run files: the hits of many queries in the six columns of TREC, plain or compressed (`.gz`)."""

from __future__ import annotations

import gzip
import io
import logging
import math
import zlib
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from ir_measures import ScoredDoc
from numpy.typing import NDArray

from elasticdenser.artifacts import atomic_write, explained_os_errors
from elasticdenser.errors import BadInputError

logger = logging.getLogger(__name__)

COLUMNS = "query_id Q0 doc_id rank score tag"
_NO_RANK = -(1 << 63)


def write_run(path: str | Path, scored_docs: Iterable[ScoredDoc], *, tag: str = "elasticdenser") -> int:
    """Write hits as a TREC run file, one query at a time, so that a run of any length fits in memory.

    Within a query the hits are ranked from 1 by descending score; equal scores keep the order given. Scores
    are written with as many digits as it takes to read the same number back.

    Args:
        path: The file to write, compressed if it ends in `.gz`; it appears only once it is complete.
        scored_docs: The hits, all those of a query one after another.
        tag: Name of the run, its last column.

    Returns:
        The number of lines written.

    Raises:
        BadInputError: An id or a score cannot be written, or the hits of a query do not stand together.
    """
    path = Path(path)
    _check_token("run tag", tag)
    if path.is_dir():
        raise BadInputError("this is a folder, expected a file name such as runs/NAME.trec", path)
    _make_parent(path)
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
    """Read a TREC run file, plain or `.gz`, in the order of its lines; blank lines are skipped.

    The scores count, as for the tools that measure runs. Where the ranks say something else, repeat or are no
    whole numbers, a warning tells.

    Raises:
        BadInputError: The file is missing, empty or damaged, or a line is not as expected.
    """
    path = Path(path)
    run: list[ScoredDoc] = []
    seen: dict[str, set[str]] = {}
    # One string object per id: a run names the same documents and queries again and again.
    ids: dict[str, str] = {}
    ranks = _RankColumn(path)
    query_id, docs = "", set[str]()
    with _open_for_reading(path) as file:
        for number, line in enumerate(file, start=1):
            columns = line.split()
            if not columns:
                ranks.blank_lines.append(number)
                continue
            written_query_id, doc_id, score = _parse(columns, path, number)
            if written_query_id != query_id:
                query_id = ids.setdefault(written_query_id, written_query_id)
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


class _RankColumn:
    """Looks for ranks that contradict the scores; only a run in which something is odd is looked at in whole.

    Args:
        path: The run file, for warnings.
    """

    def __init__(self, path: Path) -> None:
        self.blank_lines: list[int] = []
        self._path = path
        self._ranks = array("q")
        self._unreadable: list[tuple[int, str]] = []
        self._odd = False
        self._n_groups = 0
        self._query_id: str | None = None
        self._rank = 0
        self._score = 0.0

    def add(self, query_id: str, written: str, score: float) -> None:
        """Take the rank of the next hit; the same query has the same string object."""
        try:
            rank = int(written)
            self._ranks.append(rank)
        except (ValueError, OverflowError):
            self._unreadable.append((len(self._ranks), written))
            self._ranks.append(_NO_RANK)
            return
        if query_id is self._query_id:
            if rank <= self._rank or score > self._score:
                self._odd = True
        else:
            self._query_id = query_id
            self._n_groups += 1
        self._rank = rank
        self._score = score

    def warn(self, run: list[ScoredDoc], n_queries: int) -> None:
        """Log at most one warning of each kind."""
        if self._unreadable:
            at, written = self._unreadable[0]
            message = "%s: %d of %d hits have a rank that is no whole number, first %r in line %d: the scores count"
            logger.warning(message, self._path, len(self._unreadable), len(run), written, self._line(at))
        # A query whose hits do not stand together can only be checked in whole.
        if not self._odd and self._n_groups == n_queries:
            return
        repeated, contradicted = _rank_faults(run, np.asarray(self._ranks))
        if repeated:
            message = "%s: %d of %d queries have a rank twice, first in line %d: the scores count"
            logger.warning(message, self._path, repeated[0], n_queries, self._line(repeated[1]))
        if contradicted:
            message = (
                "%s: %d of %d queries are in another order by rank than by score, first in line %d: the scores "
                "count; if the ranks are right, write scores that fall with them"
            )
            logger.warning(message, self._path, contradicted[0], n_queries, self._line(contradicted[1]))

    def _line(self, position: int) -> int:
        line = position + 1
        for blank in self.blank_lines:
            line += blank <= line
        return line


_Fault = tuple[int, int] | None


def _rank_faults(run: list[ScoredDoc], ranks: NDArray[np.int64]) -> tuple[_Fault, _Fault]:
    """Find repeated ranks, and ranks against the scores: for each, how many queries and the first hit."""
    numbers: dict[str, int] = {}
    queries = np.fromiter((numbers.setdefault(hit.query_id, len(numbers)) for hit in run), np.int64, len(run))
    scores = np.fromiter((hit.score for hit in run), np.float64, len(run))
    known = np.flatnonzero(ranks != _NO_RANK)
    # Of equal ranks the best score first, so that neighbours are enough to compare.
    order = known[np.lexsort((-scores[known], ranks[known], queries[known]))]
    one, next_one = order[:-1], order[1:]
    same_query = queries[one] == queries[next_one]
    same_rank = ranks[one] == ranks[next_one]
    later = np.maximum(one, next_one)

    def fault(mask: NDArray[np.bool_]) -> _Fault:
        found = later[mask]
        return (len(np.unique(queries[found])), int(found.min())) if len(found) else None

    return fault(same_query & same_rank), fault(same_query & ~same_rank & (scores[next_one] > scores[one]))


def _parse(columns: list[str], path: Path, number: int) -> tuple[str, str, float]:
    """Return query id, document id and score of one line."""
    if len(columns) != 6:
        raise BadInputError(
            f"got {len(columns)} columns, expected 6 ('{COLUMNS}'): remove or repair this line", path, number
        )
    query_id, _, doc_id, _, written_score, _ = columns
    try:
        score = float(written_score)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise BadInputError(
            f"score {written_score!r} is not a finite number: repair this line, or make the run again",
            path,
            number,
        )
    return query_id, doc_id, score


def _by_query(scored_docs: Iterable[ScoredDoc]) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Check hits and yield them grouped, as (query id, [(document id, score), ...])."""
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
                    f"query {query_id!r} comes back after another query began; expected all hits of a query "
                    "one after another: sort them by query, and give every query an id of its own"
                )
        _check_token("document id", hit.doc_id)
        if hit.doc_id in docs:
            raise BadInputError(
                f"document {hit.doc_id!r} was returned twice for query {query_id!r}, expected once: "
                "look for doubled ids in the corpus or queries"
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
    """Refuse what would not be one column of the file."""
    if not isinstance(value, str) or value.split() != [value]:
        raise BadInputError(
            f"{what} {value!r} cannot stand in a run file, expected a string without white space: rename it"
        )


def _make_parent(path: Path) -> None:
    """Make the folder a run goes to."""
    with explained_os_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise BadInputError(f"{path.parent} is a file, expected a folder: choose another place", path) from error


@contextmanager
def _open_for_writing(path: Path) -> Iterator[IO[Any]]:
    """Open a text file that appears when it is complete."""
    if path.suffix != ".gz":
        with atomic_write(path) as file:
            yield file
        return
    # Without name and time in the header, the same run gives the same bytes.
    with (
        atomic_write(path, "wb") as raw,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as file,
    ):
        yield file


@contextmanager
def _open_for_reading(path: Path) -> Iterator[IO[str]]:
    """Open a text file and turn what can be wrong with it into errors that name it."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadInputError("this is not a complete gzip file: make or copy it again", path) from error
    except UnicodeDecodeError as error:
        raise BadInputError("this is not UTF-8 text, expected a TREC run (.gz if compressed)", path) from error
    except OSError as error:
        raise BadInputError(
            f"cannot read this run ({error.strerror or error}), expected a TREC run file: check the path", path
        ) from error
