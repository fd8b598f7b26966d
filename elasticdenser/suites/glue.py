"""Suites of GLUE: classifiers on the dev sets of tasks, in one TOML file.

    kind = "glue"   title = "..."   path = "glue"   tasks = ["RTE", ...]    seeds = [1, 2, 3]

    [models.shared]                 # all subnets trained together
    path = "models/glue/{task}.shared.{seed}"
    exits = [0.1, 0.3]              # early exits of each width by entropy, with these thresholds; of classes only
    patience = [1, 2]               # early exits of each width where so many exits agree with the one before

    [models.alone]                  # each subnet trained alone: a static baseline
    path = "models/glue/{task}.{subnet}.{seed}"
    subnets = ["w0.5-d3"]           # values of {subnet} in the path

`path` of the suite, GLUE itself, is relative to the data folder; those of models are relative to the current folder.
Models and tasks that are not there are skipped, and the report lists them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from elasticdenser.artifacts import sha256_of
from elasticdenser.dataclass_io import check_keys, from_value, read_tables
from elasticdenser.datasets.glue import GlueTask, glue_task
from elasticdenser.errors import DataMissingError, ModelError
from elasticdenser.evaluation.cache import ResultCache
from elasticdenser.evaluation.task_results import ALONE, EXITS, FULL, SHARED, TaskCell, TaskResults
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.machine import describe_machine
from elasticdenser.models.classifier_manifest import (
    CLASSIFIER_MANIFEST,
    CLASSIFIER_WEIGHTS,
    is_classifier,
    read_classifier_manifest,
)
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import Subnet
from elasticdenser.suites.options import SuiteOptions
from elasticdenser.suites.results import nothing_evaluated, open_results, write_cells

if TYPE_CHECKING:
    from elasticdenser.classifiers import ExitRule
    from elasticdenser.evaluation.glue import DevOutputs

_Threshold = Annotated[float, Meta(ge=0, le=1)]
_DIFFERENCE = 0.05
"""Share of the highest number of a regression up to which two exits agree, as the command `classify` has it."""

_CELL_VERSION = 1
"""Part of every fingerprint: to be raised when the computation changes."""


@dataclass(frozen=True, kw_only=True)
class GlueModels:
    """Classifiers of all tasks and seeds, of which the names in braces in `path` stand for one each."""

    path: str
    subnets: tuple[str, ...] = ()
    exits: tuple[_Threshold, ...] = ()
    patience: tuple[Annotated[int, Meta(ge=1)], ...] = ()

    def __post_init__(self) -> None:
        for name in self.subnets:
            Subnet.parse(name)
        if bool(self.subnets) != ("{subnet}" in self.path):
            raise ValueError("expected 'subnets' and {subnet} in 'path' together: give both or none")


@dataclass(frozen=True, kw_only=True)
class GlueSuite:
    """Content of a suite file of GLUE; see this module."""

    title: str = "GLUE"
    path: str = "glue"
    tasks: Annotated[tuple[str, ...], Meta(min_length=1)]
    seeds: Annotated[tuple[int, ...], Meta(min_length=1)] = (1,)
    models: dict[str, GlueModels]

    def __post_init__(self) -> None:
        for name in self.tasks:
            glue_task(name)


def glue_suite(value: dict[str, Any]) -> GlueSuite:
    """Return the suite of a TOML file's content, without `kind`.

    Raises:
        BadInputError: Settings are unknown or out of range.
    """
    check_keys(value, ("title", "path", "tasks", "seeds", "models"), "suite")
    return from_value(GlueSuite, {**value, "models": read_tables(value, "models")}, "suite")


def run_glue_suite(
    suite: GlueSuite,
    folder: str | Path,
    options: SuiteOptions | None = None,
    *,
    commands: Sequence[str] = (),
    progress: Progress = silent,
) -> TaskResults:
    """Evaluate a suite; a call with the folder of an interrupted one continues where that stopped.

    The folder gets `cells.jsonl`, `report.md` and `report.html`.

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
    from elasticdenser.reports.glue import glue_blocks

    evaluation = _Evaluation(suite, cache, options or SuiteOptions())
    cells = evaluation.cells(progress)
    if not cells:
        raise nothing_evaluated(evaluation.missing)
    results = TaskResults(
        title=suite.title,
        tasks=tuple(glue_task(name).name for name in suite.tasks),
        cells=tuple(cells),
        missing=tuple(evaluation.missing),
        commands=tuple(commands),
        environment=describe_machine(),
    )
    write_cells(cache.folder, results.lines())
    write_blocks(glue_blocks(results), results.title, cache.folder)
    return results


class _Evaluation:
    """Evaluation of all models of a suite.

    Attributes:
        missing: What was skipped, in words.
    """

    def __init__(self, suite: GlueSuite, cache: ResultCache, options: SuiteOptions) -> None:
        self._suite, self._cache, self._options = suite, cache, options
        self.missing: list[str] = []

    def cells(self, progress: Progress) -> list[TaskCell]:
        """Return the figures of all models, those of full encoders first."""
        jobs = list(self._jobs())
        cells: list[TaskCell] = []
        for done, (name, models, subnet, task, seed) in enumerate(jobs):
            progress("Evaluating classifiers", done, len(jobs))
            folder = Path(models.path.format(task=task.name, subnet=subnet, seed=seed))
            if not is_classifier(folder):
                self.missing.append(f"{name} on {task.name}, seed {seed}: there is no classifier in {folder}")
                continue
            try:
                cells += self._cells_of(name, models, subnet, task, seed, folder)
            except DataMissingError as error:
                self.missing.append(f"{task.name}: {error}")
        progress("Evaluating classifiers", len(jobs), len(jobs))
        self.missing = list(dict.fromkeys(self.missing))
        # A full encoder is known from every model that it taught, and counts once.
        unique = {(cell.row, cell.task, cell.seed): cell for cell in cells}
        order = (FULL, SHARED, ALONE, EXITS)
        return sorted(unique.values(), key=lambda cell: order.index(cell.group))

    def _jobs(self) -> Iterator[tuple[str, GlueModels, str, GlueTask, int]]:
        for name, models in self._suite.models.items():
            for task in map(glue_task, self._suite.tasks):
                for seed in self._suite.seeds:
                    for subnet in models.subnets or ("",):
                        yield name, models, subnet, task, seed

    def _cells_of(
        self, name: str, models: GlueModels, subnet: str, task: GlueTask, seed: int, folder: Path
    ) -> list[TaskCell]:
        manifest = read_classifier_manifest(folder)
        if manifest.settings.task != task.name:
            raise ModelError(f"{folder} is a classifier of {manifest.settings.task}, expected one of {task.name}")
        group, key = ALONE if models.subnets else SHARED, f"{name}/{task.name}/{subnet or 'all'}.{seed}"
        files = [sha256_of(folder / file) for file in (CLASSIFIER_MANIFEST, CLASSIFIER_WEIGHTS)]
        fingerprint = fingerprint_of(
            [_CELL_VERSION, files, list(models.exits), list(models.patience), self._suite.path]
        )
        compute = partial(self._figures, folder, task, models)
        figures = self._cache.get_or_compute("cells", key, fingerprint, compute)
        make = partial(TaskCell, task=task.name, seed=seed)
        cells = [
            make(
                row=f"{name}.{spelling}", group=group, subnet=spelling, measures=found["measures"], flops=found["flops"]
            )
            for spelling, found in figures["subnets"].items()
        ]
        cells += [
            make(row=f"{name}.{row}", group=EXITS, subnet=row.partition(" ")[0], **found)
            for row, found in figures["exits"].items()
        ]
        if teacher := manifest.provenance.get("teacher"):
            cells.append(make(row="full", group=FULL, subnet="full", measures=teacher, flops=figures["full_flops"]))
        return cells

    def _figures(self, folder: Path, task: GlueTask, models: GlueModels) -> dict[str, Any]:
        """Return the figures of a model: by subnet, and by the largest subnet of a width with a rule of exits."""
        from elasticdenser.classifiers import ElasticClassifier
        from elasticdenser.evaluation.glue import DevOutputs

        classifier = ElasticClassifier.from_pretrained(folder, device=self._options.device)
        dev = DevOutputs(classifier, self._options.data / self._suite.path, task)
        return {
            "subnets": {
                str(subnet): {"measures": (found := dev.of_subnet(subnet)).measures, "flops": found.flops}
                for subnet in classifier.subnets
            },
            "exits": _exit_figures(classifier.subnets, dev, _rules(models, has_entropy=bool(classifier.labels))),
            "full_flops": dev.full_flops,
        }


def _rules(models: GlueModels, *, has_entropy: bool) -> dict[str, ExitRule]:
    """Return the rules of early exits by name."""
    from elasticdenser.classifiers import ExitRule

    rules = {f"exits {threshold:g}": ExitRule(entropy=threshold) for threshold in models.exits if has_entropy}
    return rules | {
        f"patience {n_exits}": ExitRule(patience=n_exits, difference=_DIFFERENCE) for n_exits in models.patience
    }


def _exit_figures(subnets: Sequence[Subnet], dev: DevOutputs, rules: Mapping[str, ExitRule]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for width in dict.fromkeys(subnet.width for subnet in subnets):
        of_width = [subnet for subnet in subnets if subnet.width == width]
        for name, rule in rules.items() if len(of_width) > 1 else ():
            found = dev.of_exits(max(of_width), rule)
            figures[f"{max(of_width)} {name}"] = {"measures": found.measures, "flops": found.flops}
    return figures
