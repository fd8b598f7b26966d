"""Relevance judgements from BEIR folders, BEIR and TREC files, and ir_datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from elasticdenser.datasets.beir import qrels_file, refuse_split
from elasticdenser.datasets.files import read_lines
from elasticdenser.datasets.irds import load_irds
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.errors import BadInputError

if TYPE_CHECKING:
    from ir_measures import Qrel

_BEIR_HEADER = ["query-id", "corpus-id", "score"]
_EXPECTED = "expected the header 'query-id corpus-id score' (BEIR), or 4 columns: query 0 document score (TREC)"
_Fields = tuple[str, str, str, str]
"""Query id, document id, score, iteration."""


def load_qrels(dataset: str | Path, *, split: str | None = None, download: bool = False) -> list[Qrel]:
    """Load relevance judgements.

    Args:
        dataset: A BEIR folder, with or without its corpus; a BEIR or TREC qrels file; an id of ir_datasets.
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
            Qrel(str(record.query_id), str(record.doc_id), int(record.relevance), _iteration(record))
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
            raise BadInputError(f"the score is {score!r}, expected an integer", path, number) from error
        qrel = qrels.setdefault((query_id, doc_id), Qrel(query_id, doc_id, relevance, iteration))
        if qrel.relevance != relevance:
            message = f"query {query_id!r} and document {doc_id!r} were judged {qrel.relevance} before"
            raise BadInputError(f"{message}, and {relevance} here: keep one of the two", path, number)
    if not qrels:
        raise BadInputError(f"the file holds no judgement: {_EXPECTED}", path)
    return list(qrels.values())


def _rows(path: Path) -> Iterator[tuple[int, _Fields]]:
    """Yield line number and fields; the first line tells whether the file is BEIR's or TREC's."""
    split: Callable[[str], list[str]] | None = None
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        if split is None:
            split = _split_beir if [name.lower() for name in line.split()] == _BEIR_HEADER else _split_trec
            if split is _split_beir:
                continue
        columns = split(line)
        expected = 3 if split is _split_beir else 4
        if len(columns) != expected or not all(columns):
            fault = f"got {len(columns)} columns" if all(columns) else "got an empty column"
            hint = f"expected {expected} as in the lines before" if number > 2 else _EXPECTED
            raise BadInputError(f"{fault}: {hint}", path, number)
        if split is _split_beir:
            query_id, doc_id, score = columns
            yield number, (query_id, doc_id, score, "0")
        else:
            query_id, iteration, doc_id, score = columns
            yield number, (query_id, doc_id, score, iteration)


def _split_beir(line: str) -> list[str]:
    return [column.strip() for column in line.split("\t")] if "\t" in line else line.split()


def _split_trec(line: str) -> list[str]:
    columns = [column.strip() for column in line.split("\t")]
    return columns if len(columns) == 4 else line.split()


def _iteration(record: object) -> str:
    return str(getattr(record, "iteration", "0"))
