"""Queries, and the answers of question-answering sets, from BEIR folders, files and ir_datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from elasticdenser.datasets.beir import qrels_file, queries_file, refuse_split
from elasticdenser.datasets.dpr import is_dpr_file, read_dpr_questions
from elasticdenser.datasets.fields import query_of
from elasticdenser.datasets.files import bare_name
from elasticdenser.datasets.formats import RECORD_FORMATS, format_of
from elasticdenser.datasets.irds import load_irds
from elasticdenser.datasets.qrels import read_qrels
from elasticdenser.datasets.records import BadLine, QueryRecord, Record, id_of_name
from elasticdenser.datasets.schema import QUERIES
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.datasets.topics import are_topics, topic_records
from elasticdenser.errors import BadInputError


class Query(NamedTuple):
    """A query, with the fields of the queries of ir_datasets.

    Attributes:
        query_id: The id.
        text: The query.
    """

    query_id: str
    text: str

    def default_text(self) -> str:
        """Return the query."""
        return self.text


def load_queries(dataset: str | Path, *, split: str | None = None, download: bool = False) -> list[Query]:
    """Load queries.

    Args:
        dataset: A BEIR folder, with or without its corpus; a file of JSON (an object a line, or an array), TSV (id,
            text), CSV or Parquet (with names of columns) or plain lines; TREC topics, of which the title is taken; a
            question file of DPR (.csv: question, list of answers); an id of ir_datasets.
        split: Which qrels of a BEIR folder: only the queries they judge are returned. By default `test`, else
            `dev`, else the only ones; without any qrels, all queries.
        download: Let ir_datasets download missing files.

    Raises:
        BadInputError: There are none, or a line is bad.
    """
    return [Query(query.query_id, query.text) for query in _load(dataset, split, download)]


def load_answers(dataset: str | Path, *, split: str | None = None, download: bool = False) -> dict[str, list[str]]:
    """Load the short answers of questions, as query id -> answers; queries without answers are left out.

    Args:
        dataset: As for `load_queries`: a BEIR folder or JSONL file with `answers`, a question file of DPR (.csv),
            or an id of ir_datasets.
        split: As for `load_queries`.
        download: Let ir_datasets download missing files.

    Raises:
        BadInputError: There are none, or a line is bad.
    """
    answers = {query.query_id: query.answers for query in _load(dataset, split, download) if query.answers}
    if not answers:
        message = f"no query of {dataset} has answers: expected a list 'answers' beside 'text', or a .csv of DPR"
        raise BadInputError(message)
    return answers


def _load(dataset: str | Path, split: str | None, download: bool) -> list[QueryRecord]:
    if is_dataset_id(dataset):
        refuse_split(dataset, split)
        return _irds_queries(str(dataset), download)
    path = Path(dataset)
    if path.is_dir():
        return _folder_queries(path, split)
    refuse_split(dataset, split)
    return _file_queries(path)


def _folder_queries(folder: Path, split: str | None) -> list[QueryRecord]:
    file = queries_file(folder)
    queries = _file_queries(file)
    qrels = qrels_file(folder, split)
    if qrels is None:
        return queries
    judged_ids = dict.fromkeys(qrel.query_id for qrel in read_qrels(qrels))
    judged = [query for query in queries if query.query_id in judged_ids]
    if len(judged) < len(judged_ids):
        known_ids = {query.query_id for query in judged}
        missing = [query_id for query_id in judged_ids if query_id not in known_ids]
        message = f"judges {len(missing)} queries that {file} lacks, first {missing[0]!r}: complete the queries"
        raise BadInputError(message, qrels)
    return judged


def _irds_queries(dataset_id: str, download: bool) -> list[QueryRecord]:
    queries = [
        QueryRecord(
            query_id=str(record.query_id),
            text=record.text if hasattr(record, "text") else record.default_text(),
            answers=[str(answer) for answer in getattr(record, "answers", ())],
        )
        for record in load_irds(dataset_id, download=download).queries_iter()
    ]
    if not queries:
        raise BadInputError(f"the ir_datasets id {dataset_id!r} has no queries: choose one that has")
    return queries


def _file_queries(path: Path) -> list[QueryRecord]:
    if is_dpr_file(path):
        return [
            QueryRecord(query_id=query_id, text=text, answers=list(answers))
            for query_id, text, answers in read_dpr_questions(path)
        ]
    queries: list[QueryRecord] = []
    lines: dict[str, int] = {}
    for number, record in _records(path):
        try:
            if isinstance(record, BadLine):
                raise record
            query = query_of(record)
        except BadLine as error:
            raise BadInputError(error.message, path, number) from error
        first = lines.setdefault(query.query_id, number)
        if first != number:
            message = f"query id {query.query_id!r} is already that of line {first}: give each query its own"
            raise BadInputError(message, path, number)
        queries.append(query)
    if not queries:
        raise BadInputError("the file holds no query: expected at least one", path)
    return queries


def _records(path: Path) -> Iterator[tuple[int, Record | BadLine]]:
    """Return the records of a file; a missing file is an error only once they are read."""
    if are_topics(path):
        return topic_records(path)
    record_format = format_of(path)
    if path.exists() and (record_format is None or record_format.is_document):
        message = (
            "the file's name does not tell its format: expected .jsonl, .json, .tsv, .csv or .txt (also .gz, .zst), "
            ".parquet, or TREC topics"
        )
        raise BadInputError(message, path)
    prefix = id_of_name(Path(bare_name(path)).name)
    return (record_format or RECORD_FORMATS["lines"]).records(str(path), prefix, QUERIES)
