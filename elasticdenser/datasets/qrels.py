"""Relevance judgements from BEIR folders, BEIR and TREC files, and ir_datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from elasticdenser.datasets.beir import qrels_file, refuse_split
from elasticdenser.datasets.files import read_lines
from elasticdenser.datasets.irds import load_irds
from elasticdenser.datasets.records import BadLine, checked_id
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.errors import BadInputError

if TYPE_CHECKING:
    from ir_measures import Qrel

_GRADE_NAMES = ("score", "relevance", "rel", "grade", "label", "judgement", "judgment", "qrel")
_EXPECTED = "expected 3 columns: query document score (BEIR), or 4: query 0 document score (TREC)"
_Fields = tuple[str, str, str, str]
"""Query id, document id, score, iteration."""


def load_qrels(dataset: str | Path, *, split: str | None = None, download: bool = False) -> list[Qrel]:
    """Load relevance judgements.

    Args:
        dataset: A BEIR folder, with or without its corpus; a BEIR or TREC qrels file, with or without a header; an id
            of ir_datasets.
        split: Which qrels of a BEIR folder; by default `test`, else `dev`, else the only ones.
        download: Let ir_datasets download missing files.

    Raises:
        BadInputError: There are none, or a line is bad.
    """
    from ir_measures import Qrel

    if is_dataset_id(dataset):
        refuse_split(dataset, split)
        records = load_irds(str(dataset), download=download).qrels_iter()
        qrels = [
            Qrel(str(record.query_id), str(record.doc_id), _whole(record.relevance, str(dataset)), _iteration(record))
            for record in records
        ]
        if not qrels:
            raise BadInputError(f"the ir_datasets id {dataset!r} has no judgements: choose one that has")
        return qrels
    path = Path(dataset)
    if path.is_dir():
        file = qrels_file(path, split)
        if file is None:
            raise BadInputError("the folder has no qrels/*.tsv: add them, or name a qrels file", path)
        return read_qrels(file)
    refuse_split(dataset, split)
    return read_qrels(path)


def has_qrels(dataset: str | Path, *, split: str | None = None) -> bool:
    """Return whether `load_qrels` finds judgements in a source of queries: a folder or an id, which may hold both.

    Args:
        dataset: The source of the queries.
        split: As for `load_qrels`.

    Raises:
        BadInputError: There is no such split.
    """
    if is_dataset_id(dataset):
        return load_irds(str(dataset)).has_qrels()
    path = Path(dataset)
    return path.is_dir() and qrels_file(path, split) is not None


def check_judged(dataset: str | Path, *, split: str | None = None) -> None:
    """Check that a source of queries holds judgements too, which a single file cannot.

    Args:
        dataset: The source of the queries.
        split: As for `load_qrels`.

    Raises:
        BadInputError: It holds none.
    """
    if not has_qrels(dataset, split=split):
        raise BadInputError(
            "it holds no judgements of queries: give a BEIR folder, with queries.jsonl and qrels/*.tsv, or an id of "
            "ir_datasets",
            dataset,
        )


def read_qrels(path: Path) -> list[Qrel]:
    """Read one qrels file.

    Raises:
        BadInputError: It holds none, or a line is bad.
    """
    from ir_measures import Qrel

    qrels: dict[tuple[str, str], Qrel] = {}
    for number, (query_id, doc_id, score, iteration) in _rows(path):
        try:
            relevance = int(score)
        except ValueError as error:
            raise BadInputError(_bad_grade(score), path, number) from error
        qrel = qrels.setdefault((query_id, doc_id), Qrel(query_id, doc_id, relevance, iteration))
        if qrel.relevance != relevance:
            message = f"query {query_id!r} and document {doc_id!r} were judged {qrel.relevance} before"
            raise BadInputError(f"{message}, and {relevance} here: keep one of the two", path, number)
    if not qrels:
        raise BadInputError(f"the file holds no judgement: {_EXPECTED}", path)
    return list(qrels.values())


def _rows(path: Path) -> Iterator[tuple[int, _Fields]]:
    """Yield line number and fields; the first line tells how many columns there are, and may be a header."""
    n_columns = 0
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        columns = _split(line, n_columns)
        if not n_columns and len(columns) in (3, 4):
            n_columns = len(columns)
            if columns[-1].lower() in _GRADE_NAMES:
                continue
        if len(columns) != n_columns or not all(columns):
            fault = f"got {len(columns)} columns" if all(columns) else "got an empty column"
            hint = f"expected {n_columns} as in the lines before" if n_columns and number > 2 else _EXPECTED
            raise BadInputError(f"{fault}: {hint}", path, number)
        query_id, doc_id, score = columns[0], columns[-2], columns[-1]
        try:
            query_id, doc_id = checked_id(query_id), checked_id(doc_id)
        except BadLine as error:
            raise BadInputError(error.message, path, number) from error
        yield number, (query_id, doc_id, score, columns[1] if n_columns == 4 else "0")


def _split(line: str, n_columns: int) -> list[str]:
    """Split a line at tabs if that gives columns that fit, else at white space."""
    columns = [column.strip() for column in line.split("\t")]
    return columns if len(columns) == n_columns or (not n_columns and len(columns) in (3, 4)) else line.split()


def _whole(relevance: float | str, dataset: str) -> int:
    """Return a grade of ir_datasets; ir_measures would cut a fraction off."""
    if isinstance(relevance, float) and not relevance.is_integer():
        raise BadInputError(f"ir_datasets id {dataset!r}: {_bad_grade(str(relevance))}")
    return int(relevance)


def _bad_grade(score: str) -> str:
    message = f"the score is {score!r}, expected an integer"
    try:
        float(score)
    except ValueError:
        return message
    return f"{message} such as 0, 1 or 2: measures take whole grades, so map your grades to such"


def _iteration(record: object) -> str:
    return str(getattr(record, "iteration", "0"))
