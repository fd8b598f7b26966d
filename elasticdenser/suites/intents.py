"""Suites of intents and slots: models on tasks, in one TOML file.

    kind = "intent"     title = "..."   path = "intent"     tasks = ["mtop", ...]   split = "test"
    teacher = "encoder"             # the system that the others are compared with

    [models.encoder]
    path = "models/intent/{task}.encoder"       # {task} stands for the name of a task

`path` of the suite, the folder of the data sets, is relative to the data folder; those of models are relative to the
current folder. Models and data that are not there are skipped, and the report lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from elasticdenser.artifacts import sha256_of
from elasticdenser.dataclass_io import check_keys, from_value, read_tables
from elasticdenser.datasets.intents import IntentTask, Utterance, intent_task, load_utterances
from elasticdenser.errors import DataMissingError, ModelError
from elasticdenser.evaluation.cache import ResultCache
from elasticdenser.evaluation.intent_results import IntentCell, IntentResults
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.machine import describe_machine
from elasticdenser.progress import Progress, silent
from elasticdenser.suites.options import SuiteOptions
from elasticdenser.suites.results import nothing_evaluated, open_results, write_cells

if TYPE_CHECKING:
    from elasticdenser.classifiers.intent_tagger import IntentTagger

_TIMED_ROUNDS = 3

_CELL_VERSION = 1
"""Part of every fingerprint: to be raised when the computation changes."""


@dataclass(frozen=True, kw_only=True)
class IntentModels:
    """Models of all tasks, of whose names `{task}` in `path` stands for one each."""

    path: str


@dataclass(frozen=True, kw_only=True)
class IntentSuite:
    """Content of a suite file of intents; see this module."""

    title: str = "Intents and slots"
    path: str = "intent"
    tasks: Annotated[tuple[str, ...], Meta(min_length=1)]
    split: Literal["dev", "test"] = "test"
    teacher: str
    models: dict[str, IntentModels]

    def __post_init__(self) -> None:
        for name in self.tasks:
            intent_task(name)
        if self.teacher not in self.models:
            raise ValueError(f"got teacher = {self.teacher!r}, expected one of {', '.join(self.models)}")


def intent_suite(value: dict[str, Any]) -> IntentSuite:
    """Return the suite of a TOML file's content, without `kind`.

    Raises:
        BadInputError: Settings are unknown or out of range.
    """
    check_keys(value, ("title", "path", "tasks", "split", "teacher", "models"), "suite")
    return from_value(IntentSuite, {**value, "models": read_tables(value, "models")}, "suite")


def run_intent_suite(
    suite: IntentSuite,
    folder: str | Path,
    options: SuiteOptions | None = None,
    *,
    commands: Sequence[str] = (),
    progress: Progress = silent,
) -> IntentResults:
    """Evaluate a suite; a call with the folder of an interrupted one continues where that stopped.

    The folder gets `cells.jsonl`, `report.md` and `report.html`. Times are measured anew by each call.

    Args:
        suite: The suite.
        folder: The output folder.
        options: Options that the suite leaves open.
        commands: The commands of this evaluation, for the report.
        progress: Called with (activity, done, total).

    Raises:
        BadInputError: Nothing of the suite could be evaluated, or data are damaged.
        MissingExtraError: What computes or draws is not installed.
    """
    cache = open_results(folder)
    from elasticdenser.reports import write_blocks
    from elasticdenser.reports.intents import intent_blocks

    evaluation = _Evaluation(suite, cache, options or SuiteOptions())
    cells = [cell for name in suite.tasks for cell in evaluation.cells(intent_task(name), progress)]
    if not cells:
        raise nothing_evaluated(evaluation.missing)
    results = IntentResults(
        title=suite.title,
        split=suite.split,
        teacher=suite.teacher,
        tasks=tuple(intent_task(name).name for name in suite.tasks),
        cells=tuple(cells),
        missing=tuple(evaluation.missing),
        commands=tuple(commands),
        environment=describe_machine(),
    )
    write_cells(cache.folder, results.lines())
    write_blocks(intent_blocks(results), results.title, cache.folder)
    return results


class _Evaluation:
    """Evaluation of all models of a suite.

    Attributes:
        missing: What was skipped, in words.
    """

    def __init__(self, suite: IntentSuite, cache: ResultCache, options: SuiteOptions) -> None:
        self._suite, self._cache, self._options = suite, cache, options
        self.missing: list[str] = []

    def cells(self, task: IntentTask, progress: Progress) -> list[IntentCell]:
        """Return the figures of all models of a task."""
        from elasticdenser.classifiers.intent_tagger import IntentTagger

        folders = dict(self._folders(task))
        if not folders:
            return []
        try:
            utterances = load_utterances(self._options.data / self._suite.path, task, self._suite.split)
        except DataMissingError as error:
            self.missing.append(f"{task.name}: {error}")
            return []
        cells, taggers = [], {}
        for done, (name, folder) in enumerate(folders.items()):
            progress(f"Evaluating {task.name}", done, len(folders))
            tagger = taggers[name] = IntentTagger.from_pretrained(folder, device=self._options.device)
            cells.append(self._cell(name, tagger, task, utterances))
        times = _cpu_times(taggers, utterances, self._options.timed_queries)
        progress(f"Evaluating {task.name}", len(folders), len(folders))
        return [replace(cell, cpu_us=times.get(cell.system)) for cell in cells]

    def _folders(self, task: IntentTask) -> Iterator[tuple[str, Path]]:
        from elasticdenser.models.intent_files import is_intent_model

        for name, models in self._suite.models.items():
            folder = Path(models.path.replace("{task}", task.name))
            if is_intent_model(folder):
                yield name, folder
            else:
                self.missing.append(f"{name} on {task.name}: there is no model in {folder}")

    def _cell(self, name: str, tagger: IntentTagger, task: IntentTask, utterances: Sequence[Utterance]) -> IntentCell:
        from elasticdenser.models.intent_files import INTENT_MANIFEST, INTENT_WEIGHTS

        trained_on = tagger.manifest.settings.task
        if trained_on.partition("-")[0] != task.name.partition("-")[0]:
            raise ModelError(f"{tagger.folder} is a model of {trained_on}, expected one of {task.name}")
        files = [sha256_of(tagger.folder / file) for file in (INTENT_MANIFEST, INTENT_WEIGHTS)]
        texts = fingerprint_of([asdict(utterance) for utterance in utterances])
        fingerprint = fingerprint_of([_CELL_VERSION, files, texts])
        compute = partial(_figures, name, tagger, task, utterances)
        figures = self._cache.get_or_compute("cells", f"{name}/{task.name}", fingerprint, compute)
        return from_value(IntentCell, figures, "cells")


def _figures(name: str, tagger: IntentTagger, task: IntentTask, utterances: Sequence[Utterance]) -> dict[str, Any]:
    from elasticdenser.evaluation.intents import main_measure, measure_parses

    measures = measure_parses(utterances, tagger.parse_words([utterance.words for utterance in utterances]), task)
    cell = IntentCell(
        system=name,
        task=task.name,
        measures=measures,
        score=measures[main_measure(task)],
        n_utterances=len(utterances),
        body=tagger.manifest.shape.kind,
        n_parameters=tagger.n_parameters,
        n_bytes=tagger.n_bytes,
    )
    return asdict(cell)


def _cpu_times(taggers: dict[str, IntentTagger], utterances: Sequence[Utterance], n_timed: int) -> dict[str, float]:
    """Return the median CPU time of an utterance by system, in microseconds; each utterance alone, systems in turns.

    CPU time instead of time by the clock: other processes change it less.
    """
    import torch

    if not n_timed:
        return {}
    step = max(1, len(utterances) // n_timed)
    texts = [utterance.words for utterance in utterances[::step][:n_timed]]
    times_s: dict[str, list[float]] = {name: [] for name in taggers}
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number in range(_TIMED_ROUNDS + 1):  # the first round is not counted: it reads files and compiles kernels
            for words in texts:
                for name, tagger in taggers.items():
                    started = process_time()
                    tagger.parse_words([words])
                    if number:
                        times_s[name].append(process_time() - started)
    finally:
        torch.set_num_threads(n_threads)
    return {name: 1e6 * median(of_system) for name, of_system in times_s.items()}
