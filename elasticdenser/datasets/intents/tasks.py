"""Tasks of intents and slots, and the files of each in a folder of the user.

mtop-en/train.jsonl, dev.jsonl, test.jsonl      MTOP (Li et al. 2021): `question`, `logical_form`
mtop-multilingual/dev.json, test.json           its parallel utterances in six languages, without training data
fb-multilingual/en.train, en.valid, ...         Facebook multilingual (Schuster et al. 2019): en, es, th
snips/train/seq.in, seq.out, label, ...         SNIPS (Coucke et al. 2018), as Goo et al. (2018) split it
clinc150/data_full.json                         CLINC150 (Larson et al. 2019), without or with out-of-scope texts
banking77/train.csv, test.csv                   BANKING77 (Casanueva et al. 2020)

Files are plain or compressed (.gz, .zst).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from elasticdenser.dataclass_io import loads_json
from elasticdenser.datasets.files import COMPRESSIONS, read_lines, read_text
from elasticdenser.datasets.intents.utterances import Utterance, framed_utterance, plain_utterance, tagged_utterance
from elasticdenser.errors import BadInputError, DataMissingError

SPLITS = ("train", "dev", "test")

OUT_OF_SCOPE = "oos"
"""Intent of the texts that no intent fits, as CLINC150 names it."""

_MTOP_LANGUAGES = ("de", "es", "fr", "hi", "th")
"""Languages of the parallel utterances beside English."""

Read = Callable[[Path, str], Iterator[Utterance]]
"""Reads the utterances of a split from the folder of all tasks; takes the name of the split in the files."""


@dataclass(frozen=True, kw_only=True)
class IntentTask:
    """Task of intents, with or without slots.

    Attributes:
        name: Its name.
        read: Reads its files.
        splits: Its splits: name here -> name in the files.
        has_slots: Whether words have tags.
    """

    name: str
    read: Read
    splits: Mapping[str, str]
    has_slots: bool = True


def intent_task(name: str) -> IntentTask:
    """Return the task of a name.

    Raises:
        BadInputError: There is no such task.
    """
    if name.lower() not in TASKS:
        raise BadInputError(f"got the task {name!r}, expected one of {', '.join(TASKS)}")
    return TASKS[name.lower()]


def load_utterances(folder: str | Path, task: IntentTask, split: str) -> list[Utterance]:
    """Return the utterances of a split.

    Args:
        folder: Folder with a folder for each data set.
        task: The task.
        split: `train`, `dev` or `test`.

    Raises:
        DataMissingError: A file is not there.
        BadInputError: The task has no such split, or a file is damaged.
    """
    if split not in task.splits:
        raise BadInputError(f"got the split {split!r}, expected one of {', '.join(task.splits)}, those of {task.name}")
    utterances = list(task.read(Path(folder), task.splits[split]))
    if not utterances:
        raise BadInputError(f"got no utterances in {split} of {task.name}, expected at least one: fetch it again")
    return utterances


def _mtop(folder: Path, split: str) -> Iterator[Utterance]:
    path = _file(folder / "mtop-en", f"{split}.jsonl")
    for number, line in read_lines(path):
        if line.strip():
            with _named(path, number):
                record = loads_json(line)
                yield framed_utterance(record["question"], record["logical_form"])


def _parallel_mtop(language: str, folder: Path, split: str) -> Iterator[Utterance]:
    path = _file(folder / "mtop-multilingual", f"{split}.json")
    content = _json(path)
    with _named(path, 1):
        records = list(content)
    for number, record in enumerate(records, start=1):
        with _named(path, number):
            yield framed_utterance(record["question"][language], record["mr"]["slot_intent"][language])


def _facebook(language: str, folder: Path, split: str) -> Iterator[Utterance]:
    path = _file(folder / "fb-multilingual", f"{language}.{split}")
    for number, line in read_lines(path):
        if line.strip():
            with _named(path, number):
                tagged, _, intent = line.partition(" <=> ")
                pairs = [token.rpartition(":") for token in tagged.split()]
                yield tagged_utterance([word for word, _, _ in pairs], intent.strip(), [tag for _, _, tag in pairs])


def _snips(folder: Path, split: str) -> Iterator[Utterance]:
    paths = [_file(folder / "snips" / split, name) for name in ("seq.in", "seq.out", "label")]
    try:
        for (number, words), (_, tags), (_, intent) in zip(*map(read_lines, paths), strict=True):
            if words.strip():
                with _named(paths[0], number):
                    yield tagged_utterance(words.split(), intent.strip(), tags.split())
    except ValueError as error:
        raise BadInputError("got other numbers of lines in seq.in, seq.out and label: fetch them again") from error


def _clinc(kinds: tuple[str, ...], folder: Path, split: str) -> Iterator[Utterance]:
    path = _file(folder / "clinc150", "data_full.json")
    content = _json(path)
    with _named(path, 1):
        pairs = [(text, intent) for kind in kinds for text, intent in content[f"{kind}{split}"]]
    for text, intent in pairs:
        with _named(path, 1):
            yield plain_utterance(text, intent)


def _banking(folder: Path, split: str) -> Iterator[Utterance]:
    path = _file(folder / "banking77", f"{split}.csv")
    # With their ends, which a quoted text may hold.
    rows = csv.DictReader(f"{line}\n" for _, line in read_lines(path))
    while True:
        with _named(path, max(2, rows.line_num + 1)):
            row = next(rows, None)
            if row is None:
                return
            yield plain_utterance(row["text"], row["category"])


@contextmanager
def _named(path: Path, number: int) -> Iterator[None]:
    """Turn the errors of a damaged record into one that names its file and line."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        message = f"cannot be read as an utterance ({reason}): fetch the file again"
        raise BadInputError(message, path, number) from error


def _json(path: Path) -> Any:
    try:
        return loads_json(read_text(path))
    except ValueError as error:
        raise BadInputError(f"this is not JSON ({error}): fetch the file again", path) from error


def _file(folder: Path, name: str) -> Path:
    for suffix in ("", *COMPRESSIONS):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise DataMissingError(f"there is no {name}, plain or compressed (.gz, .zst): put it there", folder)


def _task(name: str, read: Read, files: Iterable[str], *, has_slots: bool = True) -> IntentTask:
    splits = {file.replace("valid", "dev").replace("val", "dev"): file for file in files}
    return IntentTask(name=name, read=read, splits=splits, has_slots=has_slots)


_WITH_DEV = ("train", "valid", "test")

TASKS = {
    task.name: task
    for task in (
        _task("mtop", _mtop, SPLITS),
        *(_task(f"mtop-{name}", partial(_parallel_mtop, name), ("dev", "test")) for name in _MTOP_LANGUAGES),
        *(_task(f"facebook-{name}", partial(_facebook, name), _WITH_DEV) for name in ("en", "es", "th")),
        _task("snips", _snips, _WITH_DEV),
        _task("clinc150", partial(_clinc, ("",)), ("train", "val", "test"), has_slots=False),
        _task("clinc150-oos", partial(_clinc, ("", "oos_")), ("train", "val", "test"), has_slots=False),
        _task("banking77", _banking, ("train", "test"), has_slots=False),
    )
}
"""The tasks by name."""
