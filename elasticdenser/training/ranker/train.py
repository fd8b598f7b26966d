"""Training of an elastic ranker: the stages of a recipe in order. What each computes is saved and not computed again.

    WORK/passages-KEY/        index of the passages that the recipe names; bm25-KEY/ beside it if BM25 is needed
    WORK/lists/               candidates of the queries, and tokens of the passages
    WORK/teachers/            vectors and scores of the teachers
    WORK/run-KEY/             one training; KEY is a hash of all that it depends on, which plan.json shows
        start.safetensors     the subnets after their initialisation
        checkpoint.pt         all that an interrupted training resumes from
        losses.jsonl          losses at each checkpoint
        snapshots/            weights at some steps
        selection.json        measures of the snapshots on the dev lists

Another recipe, other queries or another encoder get a run of their own; nothing is deleted.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from elasticdenser.errors import BadInputError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.ranker_files import check_ranker_replaceable, save_ranker
from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import Subnet
from elasticdenser.training import parallel
from elasticdenser.training.cost import last_step
from elasticdenser.training.dev_sets import check_dev_set
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.ranker.calibration import calibrate
from elasticdenser.training.ranker.dev_lists import DevLists
from elasticdenser.training.ranker.initialisation import initialise_ranker
from elasticdenser.training.ranker.inputs import RankerInputs
from elasticdenser.training.ranker.ranker_training import RankerTraining
from elasticdenser.training.ranker.recipe import RankerRecipe
from elasticdenser.training.recipe_paths import check_paths
from elasticdenser.training.retention import SnapshotSelection
from elasticdenser.training.selection import compare_snapshots
from elasticdenser.training.snapshots import load_weights, save_weights, snapshot_file, snapshots_in
from elasticdenser.training.stages import Log, open_run, run_folder, run_stages, train_with_snapshots
from elasticdenser.training.subnet_grid import grid_lines
from elasticdenser.training.subnet_training import supports_bfloat16, trained_subnets
from elasticdenser.version import __version__


@dataclass(frozen=True, kw_only=True)
class RankerResult:
    """A trained ranker.

    Args:
        folder: Folder of the ranker.
        run: Folder of its training.
        step: Step of the snapshot that was selected.
        subnets: Its subnets, from large to small.
        selection: Measures of all candidates, as shares of the first stage's; None without dev lists.
    """

    folder: Path
    run: Path
    step: int
    subnets: tuple[Subnet, ...]
    selection: SnapshotSelection | None


def train_ranker(
    recipe: RankerRecipe,
    output: Path,
    options: TrainOptions | None = None,
    *,
    progress: Progress = silent,
    log: Log = lambda message: None,
) -> RankerResult | None:
    """Train an elastic ranker, or resume a training that was interrupted.

    Arguments, results and errors are those of `elasticdenser.training.train.train`.
    """
    options = options or TrainOptions()
    output = output.resolve()
    check_ranker_replaceable(output)
    check_paths(recipe, options.data)

    def make(work: Path, device: torch.device, progress: Progress, log: Log) -> _RankerStages:
        return _RankerStages(RankerInputs(recipe, options, work, device), work, device, progress, log)

    return run_stages(make, output, work=options.work, device=options.device, progress=progress, log=log)


class _RankerStages:
    """Stages of one training.

    Args:
        inputs: Recipe, encoder and data.
        work: The working folder.
        device: Where to compute.
        progress: Called with (activity, done, total).
        log: Called with messages for the log.
    """

    def __init__(self, inputs: RankerInputs, work: Path, device: torch.device, progress: Progress, log: Log) -> None:
        self._inputs, self._work, self._device = inputs, work, device
        self._progress, self._log = progress, log
        self._recipe = inputs.recipe
        settings = self._recipe.train
        self._settings = replace(settings, bfloat16=settings.bfloat16 and supports_bfloat16(device))
        self._subnets = trained_subnets(inputs.model, settings)

    def run(self, locks: ExitStack) -> None:
        """Prepare lists and targets, initialise the model and train it."""
        recipe, inputs = self._recipe, self._inputs
        with parallel.main_process_first() as is_main:
            for dev in recipe.dev_lists:  # before hours of work, so that missing files show at once
                check_dev_set(dev, data=inputs.options.data)
            self._log("opening the passages")
            index = inputs.index(self._progress, build=is_main, path=recipe.index, passages=recipe.passages)
            bm25 = inputs.bm25(self._progress)
            queries = inputs.queries(index)
            self._log(
                f"{len(queries):,} training queries, {len(queries.judgements):,} of them with judgements; "
                f"{len(index):,} passages"
            )
            self._dev_lists = inputs.dev_lists(index, self._progress) if is_main else []
            data, targets = inputs.data(queries, index, bm25, self._progress)
            self._plan = inputs.plan(index, targets)
            self._folder = run_folder(self._work, self._plan)
            if is_main:
                open_run(self._folder, self._plan, locks)
                step = last_step(self._folder)
                resumes = f"resumes in {self._folder} at step {step:,} of {recipe.train.steps:,}"
                self._log(resumes if step else f"a new training in {self._folder}")
            start = self._folder / "start.safetensors"
            seed = self._settings.seed
            initialise_ranker(inputs.model, data, recipe.init, start, seed=seed, progress=self._progress)
        training = RankerTraining(inputs.model, data, self._settings, self._folder, self._device)
        train_with_snapshots(
            training,
            recipe.snapshot_interval,
            partial(self._save_snapshot, training),
            save_every_s=inputs.options.save_every_s,
            progress=self._progress,
            log=self._log,
        )

    def _save_snapshot(self, training: RankerTraining, step: int) -> None:
        path = snapshot_file(self._folder / "snapshots", step)
        if parallel.is_main_process() and not path.exists():
            save_weights(path, training.model, dtype=torch.float16, tokens=self._settings.tune_tokens)
            if losses := training.optimiser.losses.values:
                title = f"step {step:,} of {self._settings.steps:,}, losses:"
                self._log("\n".join([title, *grid_lines(losses)]))

    def finish(self, output: Path) -> RankerResult:
        """Select a snapshot and write the ranker."""
        inputs, model = self._inputs, self._inputs.model
        snapshots = snapshots_in(self._folder / "snapshots")
        selection = self._select(snapshots) if self._dev_lists else None
        step = max(snapshots) if selection is None else selection.selected
        load_weights(snapshots[step], model)
        provenance = {
            "name": inputs.encoder.location.name,
            "weights_sha256": inputs.encoder.location.sha256,
            "version": __version__,
            "step": step,
            "title": self._recipe.title,
            "plan": self._plan,
            "first_stage": {} if selection is None else dict(selection.full),
            "measures": {} if selection is None else {dev: dict(v) for dev, v in selection.values[step].items()},
        }
        save_ranker(
            output,
            base=inputs.encoder.location.path,
            model=model,
            settings=self._recipe.pair_settings,
            provenance=provenance,
            calibration=calibrate(model, self._subnets, self._dev_lists, bfloat16=self._settings.bfloat16),
        )
        return RankerResult(
            folder=output, run=self._folder, step=step, subnets=tuple(model.shape.grid), selection=selection
        )

    def _select(self, snapshots: dict[int, Path]) -> SnapshotSelection:
        """Measure the last snapshots on the dev lists, and select one."""
        model = self._inputs.model
        measured = partial(_measure, model, self._subnets, self._settings.bfloat16)
        return compare_snapshots(
            {step: snapshots[step] for step in list(snapshots)[-self._recipe.candidates :]},
            model,
            {dev.name: partial(measured, dev) for dev in self._dev_lists},
            self._folder / "selection.json",
            fingerprint_of([[dev.fingerprint() for dev in self._dev_lists], list(map(str, self._subnets))]),
            full={dev.name: _first_stage(dev) for dev in self._dev_lists},
            rule=self._recipe.select_by,
            progress=self._progress,
        )


def _measure(model: ElasticScorer, subnets: list[Subnet], bfloat16: bool, dev: DevLists) -> dict[str, float]:
    return dev.measure_subnets(model, subnets, bfloat16=bfloat16)


def _first_stage(dev: DevLists) -> float:
    value = dev.first_stage()
    if not value > 0:
        raise BadInputError(f"the first stage has {dev.name} = 0, expected a value above 0: choose other dev lists")
    return value
