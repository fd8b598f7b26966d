"""Mirror training of a sentence encoder: the stages of a recipe in order.

    WORK/run-KEY/             one training; KEY is a hash of all that it depends on, which plan.json shows
        checkpoint.pt         all that an interrupted training resumes from
        losses.jsonl          the loss at each checkpoint

The last step becomes the encoder: nothing is selected, as there are no labels to select by.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from elasticdenser.errors import BadInputError, MissingExtraError, ModelError
from elasticdenser.lazy_imports import is_installed
from elasticdenser.models.lengths import max_positions
from elasticdenser.models.locate import find_model
from elasticdenser.models.model_files import TRANSFORMER, read_config, read_modules
from elasticdenser.models.sentence_files import check_sentence_encoder_replaceable, save_sentence_encoder
from elasticdenser.progress import Progress, silent
from elasticdenser.training import parallel
from elasticdenser.training.cost import last_step
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.mirror.data import MirrorData
from elasticdenser.training.mirror.recipe import MirrorRecipe
from elasticdenser.training.recipe_paths import check_paths
from elasticdenser.training.settings import settings_to_json
from elasticdenser.training.stages import Log, open_run, run_folder, run_stages, train_with_snapshots
from elasticdenser.training.subnet_training import supports_bfloat16
from elasticdenser.training.targets import texts_sha256
from elasticdenser.training.texts import training_texts
from elasticdenser.version import __version__


@dataclass(frozen=True, kw_only=True)
class MirrorResult:
    """A sentence encoder made by a mirror training.

    Args:
        folder: Folder of the encoder.
        run: Folder of its training.
        n_texts: Number of texts.
    """

    folder: Path
    run: Path
    n_texts: int


def train_mirror(
    recipe: MirrorRecipe,
    output: Path,
    options: TrainOptions | None = None,
    *,
    progress: Progress = silent,
    log: Log = lambda message: None,
) -> MirrorResult | None:
    """Make a sentence encoder of a plain transformer, or resume a training that was interrupted.

    Arguments, results and errors are those of `elasticdenser.training.train.train`.
    """
    options = options or TrainOptions()
    output = output.resolve()
    check_sentence_encoder_replaceable(output)
    if not recipe.encoder:
        raise BadInputError("got no model to start from, expected one: name it with --encoder or in the recipe")
    if parallel.n_processes() > 1:
        raise BadInputError(
            f"got {parallel.n_processes()} processes, expected one: every text of a batch is compared with all "
            "others, and one GPU needs about a minute; start it without torchrun"
        )
    if not is_installed("transformers"):
        raise MissingExtraError("a mirror training", "transformers")
    check_paths(recipe, options.data)
    texts = training_texts(recipe.texts, data=options.data, seed=recipe.seed)

    def make(work: Path, device: torch.device, progress: Progress, log: Log) -> _MirrorStages:
        return _MirrorStages(recipe, texts, options, work, device, progress, log)

    return run_stages(make, output, work=options.work, device=options.device, progress=progress, log=log)


class _MirrorStages:
    """Stages of one training; the arguments are those of `train_mirror`, the texts, and the working folder."""

    def __init__(
        self,
        recipe: MirrorRecipe,
        texts: list[str],
        options: TrainOptions,
        work: Path,
        device: torch.device,
        progress: Progress,
        log: Log,
    ) -> None:
        self._recipe, self._options, self._work, self._device = recipe, options, work, device
        self._progress, self._log = progress, log
        self._location = find_model(
            recipe.encoder, download=not options.offline, option="--mirror, or encoder in a recipe"
        )
        first = read_modules(self._location.path)[0]
        if first.kind != TRANSFORMER:
            raise ModelError(f"got {recipe.encoder}, a table of token vectors, expected a transformer")
        n_positions = max_positions(read_config(self._location.path))
        if recipe.max_length > n_positions:
            raise BadInputError(
                f"got max_length = {recipe.max_length}, expected at most {n_positions}, the positions of this model"
            )
        bfloat16 = recipe.train.bfloat16 and supports_bfloat16(device)
        self._settings = replace(recipe.train, bfloat16=bfloat16)
        self._data = MirrorData(texts, first.folder, recipe.max_length, recipe.train)
        self._plan: dict[str, Any] = {
            "trains": "mirror",
            "encoder": {"name": self._location.name, "weights_sha256": self._location.sha256},
            "texts": {"n": len(texts), "sha256": texts_sha256(texts)},
            "pooling": recipe.pooling,
            "max_length": recipe.max_length,
            "steps": settings_to_json(recipe.train),
        }
        self._folder = run_folder(work, self._plan)

    def run(self, locks: ExitStack) -> None:
        """Train all steps."""
        from elasticdenser.encoders.backends.transformers import load_transformer
        from elasticdenser.training.mirror.mirror_training import MirrorTraining

        steps = self._settings.steps
        open_run(self._folder, self._plan, locks)
        done = last_step(self._folder)
        resumes = f"resumes in {self._folder} at step {done:,} of {steps:,}"
        self._log(f"{len(self._data):,} texts; {resumes if done else f'a new training in {self._folder}'}")
        self._model = load_transformer(self._location, torch.float32)
        if hasattr(self._model, "pooler"):
            self._model.pooler = None  # a layer behind those that sentence encoders use, here with random weights
        training = MirrorTraining(
            self._model,
            self._data,
            self._settings,
            self._folder,
            pooling=self._recipe.pooling,
            device=self._device,
        )
        train_with_snapshots(
            training,
            steps,
            lambda step: None,  # the checkpoint of the last step has its weights
            save_every_s=self._options.save_every_s,
            progress=self._progress,
            log=self._log,
        )
        self._log(f"loss {training.means.values['loss']:.3f}, the mean of the last steps")

    def finish(self, output: Path) -> MirrorResult:
        """Write the encoder."""
        provenance = {
            **self._plan["encoder"],
            "version": __version__,
            "title": self._recipe.title,
            "seed": self._recipe.seed,
            "plan": self._plan,
        }
        save_sentence_encoder(
            output,
            base=self._location.path,
            weights=self._model.state_dict(),
            pooling=self._recipe.pooling,
            provenance=provenance,
        )
        return MirrorResult(folder=output, run=self._folder, n_texts=len(self._data))
