"""Training of an elastic encoder: the stages of a recipe in order. The result of each is saved and not computed again.

    WORK/vectors/             the full encoder's vectors of the texts, and their nearest passages
    WORK/passages-KEY/        indexes of the passages that the recipe names
    WORK/tokens-KEY.npy       its vectors of single tokens, if level 0 starts from them
    WORK/run-KEY/             one training; KEY is a hash of all that it depends on, which plan.json shows
        start.safetensors     the subnets after their initialisation
        table/                level 0: start.pt, and a checkpoint and losses as below
        checkpoint.pt         all that an interrupted training resumes from
        losses.jsonl          losses and cosines at each checkpoint
        snapshots/            weights at some steps
        selection.json        measures of the snapshots on the dev sets

Another recipe, other texts or another encoder get a run of their own; nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from elasticdenser import __version__
from elasticdenser.models.elastic_files import check_elastic_replaceable, save_elastic
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import LEVEL_0, Subnet
from elasticdenser.training import parallel
from elasticdenser.training.cost import planned_work, resumption
from elasticdenser.training.dev_sets import DevSet, check_dev_set, load_dev_set
from elasticdenser.training.distil import Distillation
from elasticdenser.training.initialisation import initialise_subnets, initialise_table
from elasticdenser.training.inputs import TrainingInputs, TrainOptions
from elasticdenser.training.recipe import Recipe
from elasticdenser.training.recipe_paths import check_paths
from elasticdenser.training.retention import SnapshotSelection
from elasticdenser.training.retention_by_length import measure_by_length
from elasticdenser.training.selection import select_snapshot
from elasticdenser.training.settings import TableSettings
from elasticdenser.training.snapshots import load_weights, save_weights, snapshot_file, snapshots_in
from elasticdenser.training.stages import Log, open_run, run_folder, run_stages, train_with_snapshots
from elasticdenser.training.subnet_grid import grid_lines
from elasticdenser.training.subnet_training import supports_bfloat16
from elasticdenser.training.table_tuning import TableTuning
from elasticdenser.training.token_outputs import TokenOutputs, outputs_of


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """A trained model.

    Args:
        folder: Folder of the model.
        run: Folder of its training.
        step: Step of the snapshot that was selected.
        subnets: Its subnets beside the full one, from large to small.
        selection: Measures of all candidates; None without dev sets.
        index: Index of the passages that vectors were compared with; None without passages.
        teacher: Name of the model in whose vector space a student answers; empty for no student.
    """

    folder: Path
    run: Path
    step: int
    subnets: tuple[Subnet, ...]
    selection: SnapshotSelection | None
    index: Path | None
    teacher: str = ""


def train(
    recipe: Recipe,
    output: Path,
    options: TrainOptions | None = None,
    *,
    progress: Progress = silent,
    log: Log = lambda message: None,
) -> TrainingResult | None:
    """Train an elastic encoder, or resume a training that was interrupted.

    Args:
        recipe: The recipe.
        output: Folder of the model; an elastic encoder that is there already is replaced in the end.
        options: Options that are not part of the recipe.
        progress: Called with (activity, done, total).
        log: Called with messages for the log.

    Returns:
        The result; None in the processes of `torchrun` that are not the main one.

    Raises:
        BuildError: Something else is at `output`, another process runs the same training, or a file cannot be
            written.
        ElasticDenserError: Data, encoder or recipe cannot be used.
    """
    options = options or TrainOptions()
    output = output.resolve()
    check_elastic_replaceable(output)
    check_paths(recipe, options.data)

    def make(work: Path, device: torch.device, progress: Progress, log: Log) -> _Training:
        return _Training(TrainingInputs(recipe, options, work, device), work, device, progress, log)

    return run_stages(make, output, work=options.work, device=options.device, progress=progress, log=log)


class _Training:
    """Stages of one training.

    Args:
        inputs: Recipe, encoder and data.
        work: The working folder.
        device: Where to compute.
        progress: Called with (activity, done, total).
        log: Called with messages for the log.
    """

    def __init__(self, inputs: TrainingInputs, work: Path, device: torch.device, progress: Progress, log: Log) -> None:
        self._inputs, self._work, self._device = inputs, work, device
        self._progress, self._log = progress, log
        self._recipe = inputs.recipe

    def run(self, locks: ExitStack) -> None:
        """Train level 0 and the subnets."""
        self.prepare(locks)
        self.make_level0()
        self.initialise_subnets()
        self.distil()

    def prepare(self, locks: ExitStack) -> None:
        """Compute all that training starts from, first in the main process; the other processes read its results.

        Args:
            locks: Takes the lock on the folder of the run.
        """
        recipe, inputs = self._recipe, self._inputs
        with parallel.main_process_first() as is_main:
            # Before the passages, whose encoding may take hours, so that missing files show at once.
            self._log("reading the training texts")
            texts = inputs.texts()
            for dev in recipe.dev_sets:
                check_dev_set(dev, data=inputs.options.data)
            self._index = None
            self._log("opening the passages and the dev sets" if recipe.dev_sets else "opening the passages")
            if recipe.index or recipe.passages:
                self._index = inputs.index(self._progress, build=is_main, path=recipe.index, passages=recipe.passages)
            self._dev_sets = self._load_dev_sets() if is_main else []
            self._log(f"{len(texts):,} training texts, {len(self._index or ()):,} passages")
            self._log(planned_work(recipe, inputs.model, len(texts), self._device))
            self._data = inputs.data(texts, self._index, self._progress)
            self._plan = inputs.plan(texts, self._index)
            self.folder = run_folder(self._work, self._plan)
            if is_main:
                open_run(self.folder, self._plan, locks)
                self._log(resumption(self.folder, recipe) or f"a new training in {self.folder}")
            self._table = self._initial_table()

    def _initial_table(self) -> Tensor | None:
        """Return the token vectors that the tuning of level 0 starts from; None where there is no level 0."""
        settings, model = self._recipe.table, self._inputs.model
        is_foreign = self._inputs.is_mapped and model.shape.level0  # a table of another space, which is mapped
        if settings is None and not is_foreign:
            return None
        if model.shape.level0 and not is_foreign:
            return model.table.detach().clone()
        settings = settings or TableSettings()

        def tokens() -> Tensor | TokenOutputs:
            if settings.start == "outputs":
                encoder, size = self._inputs.encoder, model.shape.vocabulary
                return outputs_of(encoder, size, self._work, device=self._device, progress=self._progress)
            return model.table if is_foreign else model.tokens

        return initialise_table(
            tokens,
            self._data,
            settings,
            self.folder / "table" / "start.pt",
            progress=self._progress,
        )

    def _load_dev_sets(self) -> list[DevSet]:
        """Load the dev sets before the training, so that faults in them show early."""
        loaded = []
        for settings in self._recipe.dev_sets:
            index = self._index
            if settings.index or settings.passages or index is None:
                index = self._inputs.index(self._progress, build=True, path=settings.index, passages=settings.passages)
            loaded.append(load_dev_set(settings, index, data=self._inputs.options.data, seed=self._recipe.seed))
        return loaded

    def make_level0(self) -> None:
        """Tune level 0 and add it to the model, unless the recipe has none."""
        settings = self._recipe.table
        if settings is not None and self._table is not None:
            tuning = TableTuning(self._table, self._data, settings, self.folder / "table", self._device)
            tuning.run(save_every_s=self._inputs.options.save_every_s, progress=self._progress)
            self._table = tuning.vectors.cpu()
        if self._table is not None and not self._inputs.is_mapped:
            self._inputs.add_level0(self._table)

    def initialise_subnets(self) -> None:
        """Initialise the subnets, first in the main process; the other processes read its result."""
        path, settings = self.folder / "start.safetensors", self._recipe.init
        if settings.model:
            return
        with parallel.main_process_first():
            if self._inputs.is_mapped:
                self._inputs.enter_space(self._table, self._data, path, self._progress)
            else:
                initialise_subnets(self._inputs.model, self._data, settings, path, progress=self._progress)

    def distil(self) -> None:
        """Train the subnets up to the last step, and save snapshots."""
        settings, interval = self._recipe.distil, self._recipe.snapshot_interval
        settings = replace(settings, bfloat16=settings.bfloat16 and supports_bfloat16(self._device))
        distillation = Distillation(self._inputs.model, self._data, settings, self.folder, self._device)
        train_with_snapshots(
            distillation,
            interval,
            lambda step: self._save_snapshot(step, distillation.cosines),
            save_every_s=self._inputs.options.save_every_s,
            progress=self._progress,
            log=self._log,
        )

    def _save_snapshot(self, step: int, cosines: Mapping[str, float]) -> None:
        path = snapshot_file(self.folder / "snapshots", step)
        if parallel.is_main_process() and not path.exists():
            save_weights(path, self._inputs.model, dtype=torch.float16, tokens=self._recipe.distil.tune_tokens)
            if cosines:
                title = f"step {step:,} of {self._recipe.distil.steps:,}, cosines to the full encoder's vectors:"
                self._log("\n".join([title, *grid_lines(cosines)]))

    def finish(self, output: Path) -> TrainingResult:
        """Select a snapshot and write the model."""
        inputs, encoder, model = self._inputs, self._inputs.encoder, self._inputs.model
        snapshots = snapshots_in(self.folder / "snapshots")
        selection = self._select(snapshots) if self._dev_sets else None
        step = max(snapshots) if selection is None else selection.selected
        load_weights(snapshots[step], model)
        retention, worst, by_length = {}, {}, {}
        if selection is not None:
            full = {} if self._recipe.is_student else {str(encoder.full_subnet): 1.0}
            retention = full | selection.retention_with_level0(step)
            worst = {name: asdict(subnet) for name, subnet in selection.worst_retention(step).items()}
            by_length = measure_by_length(
                model, inputs.subnets, self._dev_sets, encoder, teacher=inputs.teacher, progress=self._progress
            )
            self._log(selection.report())
        provenance = inputs.provenance() | {
            "version": __version__,
            "step": step,
            "title": self._recipe.title,
            "plan": self._plan,
            "retention": retention,
            "worst_retention": worst,
            "retention_by_length": by_length,
        }
        save_elastic(output, base=encoder.location.path, model=model, provenance=provenance, settings=encoder.settings)
        return TrainingResult(
            folder=output,
            run=self.folder,
            step=step,
            subnets=(*self._inputs.subnets, *([LEVEL_0] if model.shape.level0 else [])),
            selection=selection,
            index=None if self._index is None else self._index.path,
            teacher=inputs.teacher.fingerprint.name if self._recipe.is_student else "",
        )

    def _select(self, snapshots: Mapping[int, Path]) -> SnapshotSelection:
        """Measure the last snapshots on the dev sets, and select one."""
        inputs, encoder, model = self._inputs, self._inputs.encoder, self._inputs.model
        for_record = [] if self._recipe.is_student else [s for s in model.shape.grid if s == encoder.full_subnet]
        return select_snapshot(
            {step: snapshots[step] for step in list(snapshots)[-self._recipe.candidates :]},
            self._dev_sets,
            encoder,
            model,
            inputs.subnets,
            self.folder / "selection.json",
            teacher=inputs.teacher,
            rule=self._recipe.select_by,
            for_record=for_record,
            progress=self._progress,
        )
