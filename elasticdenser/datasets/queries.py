"""Queries, and the answers of question-answering sets, from BEIR folders, files and ir_datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from elasticdenser.datasets.beir import qrels_file, queries_file, refuse_split
from elasticdenser.datasets.dpr import read_dpr_questions
from elasticdenser.datasets.files import bare_name, read_lines, text_suffix
from elasticdenser.datasets.formats import LINE_FORMATS, format_of
from elasticdenser.datasets.irds import import_ir_datasets, load_irds
from elasticdenser.datasets.qrels import read_qrels
from elasticdenser.datasets.records import BadLine, QueryRecord
from elasticdenser.datasets.sources import DPR_SUFFIX, is_dataset_id
from elasticdenser.errors import BadInputError

if TYPE_CHECKING:
    from ir_datasets.formats import GenericQuery


def load_queries(dataset: str | Path, *, split: str | None = None, download: bool = False) -> list[GenericQuery]:
    """Load queries.

    Args:
        dataset: A BEIR folder, with or without its corpus; a TSV (id, text), JSONL or plain text file; a question
            file of DPR (.csv: question, list of answers); an id of ir_datasets.
        split: Which qrels of a BEIR folder: only the queries they judge are returned. By default `test`, else
            `dev`, else the only ones; without any qrels, all queries.
        download: Let ir_datasets download missing files.

    Raises:
        BadInputError: There are none, or a line is bad.
    """
    import_ir_datasets()
    from ir_datasets.formats import GenericQuery

    return [GenericQuery(query.query_id, query.text) for query in _load(dataset, split, download)]


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
    if text_suffix(path) == DPR_SUFFIX:
        return [
            QueryRecord(query_id=query_id, text=text, answers=list(answers))
            for query_id, text, answers in read_dpr_questions(path)
        ]
    queries: list[QueryRecord] = []
    lines: dict[str, int] = {}
    for number, query in _rows(path):
        first = lines.setdefault(query.query_id, number)
        if first != number:
            message = f"query id {query.query_id!r} is already that of line {first}: give each query its own"
            raise BadInputError(message, path, number)
        queries.append(query)
    if not queries:
        raise BadInputError("the file holds no query: expected at least one", path)
    return queries


def _rows(path: Path) -> Iterator[tuple[int, QueryRecord]]:
    line_format = format_of(path)
    if path.exists() and line_format is None:
        message = "the file's name does not tell its format: expected .jsonl, .tsv, .txt or .csv (also .gz, .zst)"
        raise BadInputError(message, path)
    parse_query = (line_format or LINE_FORMATS["lines"]).parse_query
    prefix = Path(bare_name(path)).name
    for number, line in read_lines(path):  # raises if there is no such file
        if not line or line.isspace():
            continue
        try:
            query = parse_query(line, number, prefix)
        except BadLine as error:
            raise BadInputError(error.message, path, number) from error
        yield number, query
