"""`train`: a recipe's steps in order, each of which is kept and not repeated.

    WORK/vectors/            the full encoder's vectors of the texts, and their nearest passages
    WORK/passages-KEY/       indexes of the passages that the recipe names
    WORK/run-KEY/            one training; KEY stands for all that it depends on, which plan.json says
        start.safetensors    the sizes before training
        table/               level 0
        checkpoint.pt, losses.jsonl
        snapshots/           weights at some steps
        choice.json          what the snapshots are worth on the dev sets

Another recipe, other texts or another encoder get a run of their own; nothing is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from elasticdenser import __version__
from elasticdenser.artifacts import explained_os_errors, write_json
from elasticdenser.cpus import cpu_count
from elasticdenser.encoders import resolve_device, resolve_dtype
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index.locking import only_builder
from elasticdenser.models.elastic_files import check_replaceable, save_elastic
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import LEVEL_0, Subnet
from elasticdenser.training import parallel
from elasticdenser.training.dev_sets import DevSet, check_dev_set, load_dev_set
from elasticdenser.training.distil import Distillation
from elasticdenser.training.inputs import TrainingInputs, TrainOptions
from elasticdenser.training.selection import Choice, choose
from elasticdenser.training.settings import Recipe
from elasticdenser.training.snapshots import load_weights, save_weights, snapshot_file, snapshots_in
from elasticdenser.training.start import start_sizes, start_table
from elasticdenser.training.table import TableTuning

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What came of a training.

    Args:
        folder: The model.
        run: What is kept of its training.
        step: Of the snapshot that it is.
        sizes: Its sizes beside the full one, from large to small.
        choice: What all candidates were worth; None where there was no dev set.
        index: Of the passages that vectors were compared with; None where there were none.
    """

    folder: Path
    run: Path
    step: int
    subnets: tuple[Subnet, ...]
    choice: Choice | None
    index: Path | None


def train(
    recipe: Recipe,
    output: Path,
    options: TrainOptions | None = None,
    *,
    progress: Progress = silent,
    say: Say = lambda text: None,
) -> Trained | None:
    """Train an elastic encoder, or go on with a training that was interrupted.

    Args:
        recipe: What is wanted.
        output: Folder of the model; an elastic encoder that stands there is replaced in the end.
        options: See there.
        progress: Called with (what, done, of how many).
        say: Called with what is worth a line in a log.

    Returns:
        The model; None in processes of `torchrun` that are not the first.

    Raises:
        BuildError: Something else stands at `output`, another process trains the same, or the disk refuses.
        ElasticDenserError: Data, encoder or recipe cannot be used.
    """
    options = options or TrainOptions()
    output = output.resolve()
    check_replaceable(output)
    work = options.work or output.with_name(f"{output.name}.work")
    with explained_os_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(min(torch.get_num_threads(), cpu_count()))
    with ExitStack() as held:
        with parallel.joined(resolve_device(options.device)) as device:
            is_first = parallel.is_first()
            if not is_first:
                progress, say = silent, lambda text: None
            materials = TrainingInputs(recipe, options, work, device)
            run = _Run(materials, work, device, progress, say)
            run.prepare(held)
            run.make_table()
            run.start()
            run.distil()
        # The others may go: what is left is not worth sharing.
        return run.finish(output) if is_first else None


class _Run:
    """One training.

    Args:
        materials: What it is made of.
        work: The working folder.
        device: Where to compute.
        progress: Called with (what, done, of how many).
        say: Called with lines for a log.
    """

    def __init__(
        self, materials: TrainingInputs, work: Path, device: torch.device, progress: Progress, say: Say
    ) -> None:
        self._materials, self._work, self._device = materials, work, device
        self._progress, self._say = progress, say
        self._recipe = materials.recipe

    def prepare(self, held: ExitStack) -> None:
        """Make all that training starts from: the first process alone, then the others read it.

        Args:
            held: Holds the right to write the run.
        """
        recipe, materials, progress = self._recipe, self._materials, self._progress
        with _first_goes_ahead() as is_first:
            # What may be missing is looked for before passages are encoded for hours.
            texts = materials.texts()
            for dev in recipe.choose:
                check_dev_set(dev, data=materials.options.data)
            self._index = None
            if recipe.index or recipe.passages:
                self._index = materials.index(progress, build=is_first, path=recipe.index, passages=recipe.passages)
            self._dev_sets = self._load_dev_sets() if is_first else []
            self._say(f"{len(texts):,} training texts, {len(self._index or ()):,} passages")
            self._data = materials.data(texts, self._index, progress)
            self._plan = materials.plan(texts, self._index)
            self.folder = self._work / f"run-{fingerprint_of(self._plan)[:12]}"
            if is_first:
                held.enter_context(only_builder(self.folder))
                with explained_os_errors(self.folder):
                    self.folder.mkdir(exist_ok=True)
                write_json(self.folder / "plan.json", self._plan)
            self._first_table = None
            if recipe.table is not None:
                path = self.folder / "table" / "start.pt"
                self._first_table = start_table(
                    materials.model.tokens, self._data, recipe.table, path, progress=progress
                )

    def _load_dev_sets(self) -> list[DevSet]:
        """Load them before the training, so that what is wrong with them shows now."""
        loaded = []
        for settings in self._recipe.choose:
            index = self._index
            if settings.index or settings.passages or index is None:
                index = self._materials.index(
                    self._progress, build=True, path=settings.index, passages=settings.passages
                )
            loaded.append(load_dev_set(settings, index, data=self._materials.options.data, seed=self._recipe.seed))
        return loaded

    def make_table(self) -> None:
        """Tune level 0, and give it to the model."""
        settings = self._recipe.table
        if settings is None or self._first_table is None:
            return
        tuning = TableTuning(self._first_table, self._data, settings, self.folder / "table", self._device)
        if tuning.step < settings.steps:
            tuning.run(save_every_s=self._materials.options.save_every_s, progress=self._progress)
        self._materials.give_table(tuning.vectors.cpu())

    def start(self) -> None:
        """Fit the sizes: the first process alone, then the others read it."""
        path, recipe = self.folder / "start.safetensors", self._recipe
        with _first_goes_ahead():
            start_sizes(self._materials.model, self._data, recipe.start, path, progress=self._progress)

    def distil(self) -> None:
        """Train the sizes up to the last step, and keep snapshots."""
        recipe = self._recipe
        settings = replace(recipe.distil, bfloat16=recipe.distil.bfloat16 and _has_bfloat16(self._device))
        distillation = Distillation(self._materials.model, self._data, settings, self.folder, self._device)
        if 0 < distillation.step < settings.steps:
            self._say(f"training goes on at step {distillation.step:,} of {settings.steps:,}")
        while True:
            step = distillation.step
            if step and (step % recipe.every == 0 or step == settings.steps):
                self._keep(step, distillation.cosines)
            if step == settings.steps:
                return
            until = (step // recipe.every + 1) * recipe.every
            distillation.run(until=until, save_every_s=self._materials.options.save_every_s, progress=self._progress)

    def _keep(self, step: int, cosines: Mapping[str, float]) -> None:
        path = snapshot_file(self.folder / "snapshots", step)
        if parallel.is_first() and not path.exists():
            save_weights(path, self._materials.model, dtype=torch.float16, tokens=self._recipe.distil.tune_tokens)
            if cosines:
                title = f"step {step:,} of {self._recipe.distil.steps:,}, cosines to the full encoder's vectors:"
                self._say("\n".join([title, *grid_lines(cosines)]))

    def finish(self, output: Path) -> Trained:
        """Choose a snapshot and write the model."""
        recipe, encoder, model = self._recipe, self._materials.encoder, self._materials.model
        snapshots = snapshots_in(self.folder / "snapshots")
        step, choice = max(snapshots), None
        if self._dev_sets:
            candidates = {at: snapshots[at] for at in list(snapshots)[-recipe.candidates :]}
            sizes, kept = self._materials.subnets, self.folder / "choice.json"
            also = [size for size in model.shape.grid if size == encoder.full_subnet]
            choice = choose(candidates, self._dev_sets, encoder, model, sizes, kept, also=also, progress=self._progress)
            step = choice.chosen
        load_weights(snapshots[step], model)
        provenance = {
            "name": encoder.location.name,
            "weights_sha256": encoder.location.sha256,
            "version": __version__,
            "step": step,
            "title": recipe.title,
            "plan": self._plan,
            "retention": {} if choice is None else {str(encoder.full_subnet): 1.0, **choice.retention_of_all(step)},
        }
        save_elastic(output, base=encoder.location.path, model=model, provenance=provenance, settings=encoder.settings)
        sizes_made = (*self._materials.subnets, *([LEVEL_0] if model.shape.level0 else []))
        index = None if self._index is None else self._index.path
        return Trained(folder=output, run=self.folder, step=step, subnets=sizes_made, choice=choice, index=index)


def grid_lines(values: Mapping[str, float]) -> list[str]:
    """Return numbers by size as lines of text: widths below each other, depths side by side."""
    by_size = {Subnet.parse(name): value for name, value in values.items()}
    depths = sorted({size.depth for size in by_size})
    lines = [" " * 8 + "".join(f"{f'd{depth}':>8}" for depth in depths)]
    for width in sorted({size.width for size in by_size}, reverse=True):
        cells = (by_size.get(Subnet(width, depth)) for depth in depths)
        lines.append(f"{f'w{width:g}':>8}" + "".join(f"{'' if cell is None else f'{cell:.4f}':>8}" for cell in cells))
    return lines


@contextmanager
def _first_goes_ahead() -> Iterator[bool]:
    """Run a block in the first process, then in the others; yield whether this is the first."""
    is_first = parallel.is_first()
    if not is_first:
        parallel.wait_for_first()
    yield is_first
    if is_first:
        parallel.wait_for_first()


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return resolve_dtype("auto", device) == torch.bfloat16
