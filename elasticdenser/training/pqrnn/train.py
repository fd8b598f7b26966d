"""Training of a pQRNN for queries: the stages of a recipe in order. What each computes is saved, and not done again.

    WORK/vectors/         the teacher's vectors of the texts, and their nearest passages
    WORK/passages-KEY/    index of the passages that the recipe names
    WORK/run-KEY/         one training; KEY is a hash of all that it depends on, which plan.json shows
        checkpoint.pt     all that an interrupted training resumes from
        losses.jsonl      losses at each checkpoint

The last step becomes the model: there is no selection among snapshots.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from elasticdenser.index import PassageIndex
from elasticdenser.models.locate import DEFAULT_MODEL
from elasticdenser.models.manifest import SPACE
from elasticdenser.models.pqrnn import PQRNNVectors
from elasticdenser.models.pqrnn_files import check_pqrnn_replaceable, save_pqrnn
from elasticdenser.models.pqrnn_manifest import PQRNNManifest
from elasticdenser.models.projection import WordProjection
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.models.space import check_has_encoder
from elasticdenser.progress import Progress, silent
from elasticdenser.training import parallel
from elasticdenser.training.inputs import PassageInputs, TrainOptions
from elasticdenser.training.pqrnn.distillation import PQRNNDistillation
from elasticdenser.training.pqrnn.recipe import PQRNNRecipe
from elasticdenser.training.pqrnn.words import WordReader
from elasticdenser.training.recipe_paths import check_paths
from elasticdenser.training.settings import settings_to_json
from elasticdenser.training.stages import Log, open_run, run_folder, run_stages, train_with_snapshots
from elasticdenser.training.targets import encoder_identity, prepare_data, texts_sha256
from elasticdenser.training.teacher import load_full_encoder
from elasticdenser.training.texts import training_texts
from elasticdenser.version import __version__


@dataclass(frozen=True, kw_only=True)
class PQRNNResult:
    """A trained pQRNN.

    Args:
        folder: Folder of the model.
        run: Folder of its training.
        teacher: Name of the encoder whose passages it searches.
        index: Index of the passages that vectors were compared with; None without passages.
        cosine: Mean cosine to the teacher's vectors over the last steps, with typing errors.
        n_weights: Number of weights.
    """

    folder: Path
    run: Path
    teacher: str
    index: Path | None
    cosine: float
    n_weights: int


def train_pqrnn(
    recipe: PQRNNRecipe,
    output: Path,
    options: TrainOptions | None = None,
    *,
    progress: Progress = silent,
    log: Log = lambda message: None,
) -> PQRNNResult | None:
    """Train a pQRNN, or resume a training that was interrupted.

    Arguments, results and errors are those of `elasticdenser.training.train.train`.
    """
    options = options or TrainOptions()
    output = output.resolve()
    check_pqrnn_replaceable(output)
    check_paths(recipe, options.data)

    def make(work: Path, device: torch.device, progress: Progress, log: Log) -> _PQRNNStages:
        return _PQRNNStages(_PQRNNInputs(recipe, options, work, device), work, device, progress, log)

    return run_stages(make, output, work=options.work, device=options.device, progress=progress, log=log)


class _PQRNNInputs(PassageInputs):
    """The teacher; its passages on demand."""

    def __init__(self, recipe: PQRNNRecipe, options: TrainOptions, work: Path, device: torch.device) -> None:
        name, overrides = recipe.teacher or DEFAULT_MODEL, {}
        if recipe.index:
            indexed = PassageIndex.open(options.data / recipe.index).manifest.encoder
            check_has_encoder(indexed)
            name, overrides = recipe.teacher or indexed.name, asdict(indexed.settings)
        super().__init__(options, work, device, name, overrides)
        self.recipe = recipe
        self.encoder = load_full_encoder(
            name,
            recipe.target_dtype,
            overrides,
            device=device,
            download=not options.offline,
            trust_remote_code=options.trust_remote_code,
            option="--teacher",
        )


class _PQRNNStages:
    """Stages of one training."""

    def __init__(self, inputs: _PQRNNInputs, work: Path, device: torch.device, progress: Progress, log: Log) -> None:
        self._inputs, self._work, self._device = inputs, work, device
        self._progress, self._log = progress, log
        self._recipe, self._teacher = inputs.recipe, inputs.encoder
        torch.manual_seed(self._recipe.seed)
        self._model = PQRNNVectors(self._recipe.model, self._teacher.dim)
        self._n_weights = sum(parameter.numel() for parameter in self._model.parameters())

    def run(self, locks: ExitStack) -> None:
        """Prepare the targets and train."""
        recipe, options, steps = self._recipe, self._inputs.options, self._recipe.distil
        texts = training_texts(recipe.texts, data=options.data, seed=recipe.seed)
        self._log(f"{len(texts):,} texts; a pQRNN of {self._n_weights:,} weights, {steps.steps:,} steps")
        normalize, dim = self._teacher.settings.normalize, self._teacher.dim
        settings = EncoderSettings(pooling="mean", normalize=normalize, max_length=recipe.max_length, dim=dim)
        words = WordReader(WordProjection(recipe.projection), settings)
        with parallel.main_process_first() as is_main:
            index = self._index(build=is_main)
            data = prepare_data(
                texts,
                self._teacher,
                index,
                self._work / "vectors",
                reader=words,
                n_neighbours=recipe.n_neighbours,
                progress=self._progress,
            )
            self._plan, self._index_folder = self._plan_of(texts, index), None if index is None else index.path
            self._folder = run_folder(self._work, self._plan)
            if is_main:
                open_run(self._folder, self._plan, locks)
        self._training = PQRNNDistillation(self._model, data, words, steps, self._folder, self._device)
        train_with_snapshots(
            self._training,
            steps.steps,
            lambda step: None,  # the last checkpoint has all that there is to save
            save_every_s=options.save_every_s,
            progress=self._progress,
            log=self._log,
        )

    def finish(self, output: Path) -> PQRNNResult:
        """Write the model."""
        recipe, fingerprint = self._recipe, self._teacher.fingerprint
        provenance: dict[str, Any] = {
            "name": fingerprint.name,
            "weights_sha256": fingerprint.weights_sha256,
            SPACE: fingerprint.to_json(),
            "version": __version__,
            "title": recipe.title,
            "seed": recipe.seed,
            "plan": self._plan,
        }
        manifest = PQRNNManifest(
            projection=recipe.projection,
            shape=recipe.model,
            dim=self._teacher.dim,
            max_length=recipe.max_length,
            provenance=provenance,
        )
        save_pqrnn(output, model=self._model, manifest=manifest)
        return PQRNNResult(
            folder=output,
            run=self._folder,
            teacher=fingerprint.name,
            index=self._index_folder,
            cosine=self._training.running_losses()["cosine"],
            n_weights=self._n_weights,
        )

    def _index(self, *, build: bool) -> PassageIndex | None:
        recipe = self._recipe
        if not (recipe.index or recipe.passages):
            return None
        return self._inputs.index(self._progress, build=build, path=recipe.index, passages=recipe.passages)

    def _plan_of(self, texts: list[str], index: PassageIndex | None) -> dict[str, Any]:
        """Return all that the model depends on."""
        recipe = self._recipe
        passages = None
        if index is not None:
            passages = {"vectors_sha256": index.manifest.vectors_sha256, "n_neighbours": recipe.n_neighbours}
        return {
            "trains": "pqrnn",
            "encoder": encoder_identity(self._teacher),
            "texts": {"n": len(texts), "sha256": texts_sha256(texts)},
            "passages": passages,
            "projection": asdict(recipe.projection),
            "model": asdict(recipe.model),
            "max_length": recipe.max_length,
            "seed": recipe.seed,
            "distil": settings_to_json(recipe.distil),
        }
