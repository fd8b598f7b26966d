r"""Question files of DPR: `question \t ['answer', ...]` in each line, with answers for answer match."""

from __future__ import annotations

import ast
import csv
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elasticdenser.datasets.files import read_lines, read_raw_lines, text_suffix
from elasticdenser.datasets.irds import import_ir_datasets, load_irds
from elasticdenser.datasets.irds_guard import Guard
from elasticdenser.datasets.records import BadLine
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.errors import BadInputError

if TYPE_CHECKING:
    from ir_datasets.formats import BaseQueries

_EXPECTED = "expected a question, a tab and a list of answers, such as ['Paris', \"Ville d'Ys\"]"
_SUFFIX = ".csv"
_registry_lock = threading.Lock()
_registered: dict[str, tuple[Path, str]] = {}
"""Id -> question file and id of the corpus."""


class DprQuestion(NamedTuple):
    """A question, with the fields of the queries of ir_datasets' `dpr-w100`.

    Attributes:
        query_id: Number of the line, from 0, as in the topics that pyserini made of these files.
        text: The question.
        answers: Accepted spellings, at least one.
    """

    query_id: str
    text: str
    answers: tuple[str, ...]

    def default_text(self) -> str:
        """Return the question."""
        return self.text


def read_dpr_questions(path: str | Path) -> list[DprQuestion]:
    """Read a question file of DPR, such as `nq-test.qa.csv` or `trivia-test.qa.csv.gz`; blank lines are skipped.

    Raises:
        BadInputError: The file is missing, empty, damaged or not UTF-8, or a line is not as expected.
    """
    questions: list[DprQuestion] = []
    for number, line in read_lines(path):
        if not line or line.isspace():
            continue
        try:
            questions.append(DprQuestion(str(number - 1), *_parse(line)))
        except BadLine as error:
            raise BadInputError(error.message, path, number) from error
    if not questions:
        raise BadInputError(f"the file holds no question: {_EXPECTED}", path)
    return questions


def is_dpr_file(path: str | Path) -> bool:
    """Return whether a file is one of DPR's: a .csv whose columns are separated by tabs, or that holds nothing.

    Raises:
        BadInputError: The file is missing or damaged.
    """
    if text_suffix(path) != _SUFFIX:
        return False
    first = next((raw for _, raw in read_raw_lines(path) if raw and not raw.isspace()), b"\t")
    return b"\t" in first


def register_dpr_questions(dataset_id: str, path: str | Path, *, corpus_id: str = "dpr-w100") -> None:
    """Register a question file under an id of ir_datasets, for its functions and ours, in this process.

    Nothing is read yet. The same id, file and corpus may be registered again.

    Args:
        dataset_id: A new id, such as `dpr-w100/natural-questions/test`.
        path: The question file; see `read_dpr_questions`.
        corpus_id: Id of ir_datasets of the documents that are searched for the answers.

    Raises:
        BadInputError: There is no such file or no such corpus, or the id is taken or looks like a file.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise BadInputError("no such file: check the path", path)
    if not dataset_id or dataset_id.split() != [dataset_id] or not is_dataset_id(dataset_id):
        message = f"got the id {dataset_id!r}, expected one like dpr-w100/trivia-qa/test, which is no file or folder"
        raise BadInputError(message)
    with _registry_lock:
        if dataset_id in _registered:
            known = _registered[dataset_id]
            if known != (file, corpus_id):
                message = f"{dataset_id!r} is already registered as {known[0]} on {known[1]}, got {file} on {corpus_id}"
                raise BadInputError(f"{message}: choose another id")
            return
        _register(dataset_id, file, corpus_id)
        _registered[dataset_id] = (file, corpus_id)


def _register(dataset_id: str, file: Path, corpus_id: str) -> None:
    ir_datasets = import_ir_datasets()
    if not load_irds(corpus_id).has_docs():
        raise BadInputError(f"the ir_datasets id {corpus_id!r} has no documents: choose one that has, such as dpr-w100")
    with Guard(dataset_id, download=False):
        try:
            ir_datasets.load(dataset_id)
        except KeyError:
            documents = _DocumentsOnly(ir_datasets.load(corpus_id))
            dataset = ir_datasets.Dataset(documents, _queries_of(file, dataset_id))
            ir_datasets.registry.register(dataset_id, dataset)
            return
    raise BadInputError(f"{dataset_id!r} is already an id of ir_datasets: choose another")


class _DocumentsOnly:
    """Data set with the documents of another and nothing else; the other is accessed only when something is read."""

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("docs_"):
            raise AttributeError(name)
        return getattr(self._dataset, name)


def _queries_of(file: Path, dataset_id: str) -> BaseQueries:
    """Return the queries of a question file for ir_datasets, whose base class exists only once it is imported."""
    from ir_datasets.formats import BaseQueries

    class DprQuestions(BaseQueries):  # type: ignore[misc, unused-ignore]
        def queries_path(self) -> str:
            return str(file)

        def queries_iter(self) -> Iterator[DprQuestion]:
            return iter(read_dpr_questions(file))

        def queries_cls(self) -> type[DprQuestion]:
            return DprQuestion

        def queries_namespace(self) -> str:
            return dataset_id  # an id is unique within a namespace

        def queries_lang(self) -> str:
            return "en"

    return DprQuestions()


def _parse(line: str) -> tuple[str, tuple[str, ...]]:
    """Return question and answers of a line, whose columns may be quoted as by a CSV writer."""
    try:
        columns = next(csv.reader([line + "\n"], delimiter="\t"))
    except csv.Error as error:
        raise BadLine("not CSV", f"cannot be split into columns ({error}): {_EXPECTED}") from error
    # The CSV reader keeps the end of a line only in an open quote; DPR's own reader would continue with the next line.
    if columns[-1].endswith("\n"):
        message = "a quote that opens a column is not closed: double the quotes inside, and close it before the tab"
        raise BadLine("open quote", message)
    if len(columns) != 2:
        raise BadLine("wrong number of columns", f"got {len(columns)} tab-separated columns, {_EXPECTED}")
    text = columns[0].strip()
    if not text:
        raise BadLine("empty text", f"the question is empty, {_EXPECTED}; a blank line keeps the numbers of the others")
    return text, _parse_answers(columns[1].strip())


def _parse_answers(literal: str) -> tuple[str, ...]:
    """Parse the literal of a list of strings; nothing in it is executed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes such as \d in answers that are regular expressions
            answers = ast.literal_eval(literal)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise BadLine("bad answers", f"the answers are {literal[:60]!r}, {_EXPECTED}") from error
    if not isinstance(answers, list | tuple) or not all(isinstance(answer, str) for answer in answers):
        raise BadLine("bad answers", f"the answers are {literal[:60]!r}, which is not a list of strings: {_EXPECTED}")
    if not any(answer.strip() for answer in answers):
        message = "the question has no answer: add one, or leave the line blank, which keeps the numbers of the others"
        raise BadLine("no answer", message)
    try:
        "".join(answers).encode()
    except UnicodeEncodeError as error:
        message = "an answer holds half of a surrogate pair (\\ud800-\\udfff): write the character itself"
        raise BadLine("not UTF-8", message) from error
    return tuple(answers)
