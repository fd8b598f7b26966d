"""GLUE (Wang et al. 2019): texts, or pairs of texts, with a class or a number, from a folder of the user.

    FOLDER/RTE/train.tsv, dev.tsv           the official files, plain or compressed (.gz, .zst)
    FOLDER/MNLI/dev_matched.tsv, ...        MNLI has two dev sets: `dev_matched` and `dev_mismatched`
    FOLDER/mnli/validation_matched-*.parquet    the files of the data set `nyu-mll/glue` on Hugging Face

Names of folders are compared without case and hyphens, so that `SST-2` and `sst2` are the same. Only splits with labels
are read: those of the test sets are not public.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticdenser.datasets.files import COMPRESSIONS, read_lines
from elasticdenser.errors import BadInputError, DataMissingError


@dataclass(frozen=True, kw_only=True)
class GlueTask:
    """Task of GLUE.

    Attributes:
        name: Its name.
        labels: Names of the classes, in the order of their numbers; none for a regression.
        highest: Highest number of a regression.
        texts: Columns of the text, or of both texts.
        label: Column of the class, by its name or number.
        measures: Its measures, see `evaluation.classification`.
        dev: Its dev splits.
        columns: Names of the columns of files without a line of headings.
        parquet_texts: Columns of the texts in Parquet files, where they differ.
    """

    name: str
    labels: tuple[str, ...] = ()
    highest: float = 0.0
    texts: tuple[str, ...]
    label: str = "label"
    measures: tuple[str, ...] = ("accuracy",)
    dev: tuple[str, ...] = ("dev",)
    columns: tuple[str, ...] = ()
    parquet_texts: tuple[str, ...] = ()


_BOTH = ("sentence1", "sentence2")
_ENTAILMENT = ("entailment", "not_entailment")

TASKS = {
    task.name: task
    for task in (
        GlueTask(
            name="CoLA",
            labels=("unacceptable", "acceptable"),
            texts=("sentence",),
            measures=("matthews",),
            columns=("source", "label", "star", "sentence"),
        ),
        GlueTask(name="SST-2", labels=("negative", "positive"), texts=("sentence",)),
        GlueTask(
            name="MRPC",
            labels=("not_equivalent", "equivalent"),
            texts=("#1 String", "#2 String"),
            label="Quality",
            measures=("accuracy", "f1"),
            parquet_texts=_BOTH,
        ),
        GlueTask(name="STS-B", highest=5.0, texts=_BOTH, label="score", measures=("pearson", "spearman")),
        GlueTask(
            name="QQP",
            labels=("not_duplicate", "duplicate"),
            texts=("question1", "question2"),
            label="is_duplicate",
            measures=("accuracy", "f1"),
        ),
        GlueTask(
            name="MNLI",
            labels=("entailment", "neutral", "contradiction"),
            texts=_BOTH,
            label="gold_label",
            dev=("dev_matched", "dev_mismatched"),
            parquet_texts=("premise", "hypothesis"),
        ),
        GlueTask(name="QNLI", labels=_ENTAILMENT, texts=("question", "sentence")),
        GlueTask(name="RTE", labels=_ENTAILMENT, texts=_BOTH),
        GlueTask(name="WNLI", labels=("not_entailment", "entailment"), texts=_BOTH),
    )
}
"""The tasks by name."""


@dataclass(frozen=True, slots=True)
class Example:
    """Text, or pair of texts, with its label: the number of the class, or a number up to `GlueTask.highest`."""

    texts: tuple[str, ...]
    label: float


def glue_task(name: str) -> GlueTask:
    """Return the task of a name, whatever its case and hyphens.

    Raises:
        BadInputError: There is no such task.
    """
    by_key = {_key(task): task for task in TASKS}
    if _key(name) not in by_key:
        raise BadInputError(f"got the task {name!r}, expected one of {', '.join(TASKS)}")
    return TASKS[by_key[_key(name)]]


def load_glue(folder: str | Path, task: GlueTask, split: str) -> list[Example]:
    """Return the examples of a split.

    Args:
        folder: Folder with a folder for each task.
        task: The task.
        split: `train`, or one of `task.dev`.

    Raises:
        DataMissingError: The file is not there.
        BadInputError: The file is damaged, or holds unknown labels.
    """
    path = _file_of(Path(folder), task, split)
    if path.suffix == ".parquet":
        texts = task.parquet_texts or task.texts
        rows: Iterator[tuple[int, Mapping[str, Any]]] = _parquet_rows(path, (*texts, "label"))
        label = "label"
    else:
        rows, texts, label = _tsv_rows(path, task), task.texts, task.label
    examples = [_example(row, texts, label, task, path, number) for number, row in rows]
    if not examples:
        raise BadInputError("got no examples, expected at least one: fetch it again", path)
    return examples


def _key(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _file_of(folder: Path, task: GlueTask, split: str) -> Path:
    """Return the file of a split; of several forms, the official one."""
    homes = sorted(path for path in folder.iterdir() if _key(path.name) == _key(task.name)) if folder.is_dir() else []
    on_hub = split.replace("dev", "validation")
    for home in homes:
        for suffix in ("", *COMPRESSIONS):
            if (home / f"{split}.tsv{suffix}").is_file():
                return home / f"{split}.tsv{suffix}"
        if found := sorted((*home.glob(f"{on_hub}.parquet"), *home.glob(f"{on_hub}-*-of-*.parquet"))):
            return found[0]
    raise DataMissingError(
        f"there is no {split}.tsv or {on_hub}-00000-of-00001.parquet of {task.name} in a folder {task.name} there: "
        "put the official file, or that of nyu-mll/glue on Hugging Face, there",
        folder,
    )


def _tsv_rows(path: Path, task: GlueTask) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of an official file; quotes have no meaning in it."""
    columns: Sequence[str] = task.columns
    for number, line in read_lines(path):
        cells = line.split("\t")
        if not columns:
            columns = cells
            if lacking := [name for name in (*task.texts, task.label) if name not in columns]:
                raise BadInputError(f"got no column {lacking[0]!r} of {task.name}, expected it in this line", path, 1)
            continue
        if not line.strip():
            continue
        if len(cells) != len(columns):
            # The official QQP and MNLI have a few broken lines, which everyone skips.
            if task.name in ("QQP", "MNLI"):
                continue
            raise BadInputError(f"got {len(cells)} columns, expected {len(columns)}: fetch it again", path, number)
        yield number, dict(zip(columns, cells, strict=True))


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    from elasticdenser.datasets.formats.parquet import import_pyarrow

    pyarrow = import_pyarrow(str(path))
    try:
        table = pyarrow.parquet.read_table(path, columns=list(columns))
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise BadInputError(f"cannot be read as Parquet ({reason}): make or fetch it again", path) from error
    if lacking := [name for name in columns if name not in table.column_names]:
        raise BadInputError(f"got no column {lacking[0]!r}, expected {', '.join(columns)}", path)
    yield from enumerate(table.to_pylist(), 1)


def _example(
    row: Mapping[str, Any], texts: Sequence[str], label: str, task: GlueTask, path: Path, number: int
) -> Example:
    value = row[label]
    try:
        if task.labels:
            found = task.labels.index(value) if value in task.labels else int(value)
            is_known = 0 <= found < len(task.labels)
            number_of_label = float(found)
        else:
            number_of_label = float(value)
            is_known = 0 <= number_of_label <= task.highest
    except (TypeError, ValueError):
        is_known, number_of_label = False, 0.0
    if not is_known:
        expected = f"one of {', '.join(task.labels)}" if task.labels else f"a number from 0 to {task.highest:g}"
        raise BadInputError(f"got the label {value!r}, expected {expected}: is this a test set?", path, number)
    return Example(tuple(str(row[name]) for name in texts), number_of_label)
