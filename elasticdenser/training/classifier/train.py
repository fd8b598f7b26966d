"""Training of an elastic classifier: the stages of a recipe in order. What each computes is saved, and not done again.

    WORK/teacher-KEY/         the fine-tuned full encoder, see `teacher`; model/ in it is the finished classifier
    WORK/run-KEY/             one training; KEY is a hash of all that it depends on, which plan.json shows
        start.safetensors     the subnets after their initialisation
        checkpoint.pt         all that an interrupted training resumes from
        losses.jsonl          losses at each checkpoint
        snapshots/            weights at the last step

The last step becomes the classifier: a dev set serves to report measures, not to select among snapshots.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from elasticdenser.arrays import Vectors
from elasticdenser.artifacts import sha256_of
from elasticdenser.classifiers import ElasticClassifier
from elasticdenser.classifiers.inputs import InputTokenizer
from elasticdenser.datasets.glue import Example, load_glue
from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError, DataMissingError, ModelError
from elasticdenser.evaluation.glue import DevOutputs
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.classifier_files import check_classifier_replaceable, save_classifier
from elasticdenser.models.classifier_manifest import ClassifierSettings as StoredSettings
from elasticdenser.models.locate import DEFAULT_MODEL, TRAINED_WEIGHTS, find_model
from elasticdenser.models.logits import ElasticLogits
from elasticdenser.models.model_files import transformer_folder
from elasticdenser.models.tokenizer import load_tokenizer
from elasticdenser.progress import Progress, silent
from elasticdenser.subnet import Subnet
from elasticdenser.training import parallel
from elasticdenser.training.classifier.augmentation import Augmentation, similar_words
from elasticdenser.training.classifier.classifier_training import ClassifierTraining
from elasticdenser.training.classifier.data import ExampleData
from elasticdenser.training.classifier.initialisation import initialise_classifier, new_classifier, new_teacher
from elasticdenser.training.classifier.recipe import ClassifierRecipe
from elasticdenser.training.classifier.teacher import as_training, fine_tune, teacher_outputs
from elasticdenser.training.cost import last_step
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.settings import settings_to_json
from elasticdenser.training.snapshots import load_weights, save_weights, snapshot_file
from elasticdenser.training.stages import Log, open_run, run_folder, run_stages, train_with_snapshots
from elasticdenser.training.subnet_training import supports_bfloat16, trained_subnets
from elasticdenser.training.targets import encoder_identity
from elasticdenser.version import __version__

Measures = Mapping[str, float]
"""Measure -> value on the dev sets of the task."""


@dataclass(frozen=True, kw_only=True)
class ClassifierResult:
    """A trained classifier.

    Args:
        folder: Folder of the classifier.
        run: Folder of its training.
        measures: Trained subnet -> measures on the dev sets; none without dev sets.
        teacher: Measures of the fine-tuned full encoder; None without a teacher or dev sets.
    """

    folder: Path
    run: Path
    measures: Mapping[Subnet, Measures]
    teacher: Measures | None


def train_classifier(
    recipe: ClassifierRecipe,
    output: Path,
    options: TrainOptions | None = None,
    *,
    progress: Progress = silent,
    log: Log = lambda message: None,
) -> ClassifierResult | None:
    """Train an elastic classifier, or resume a training that was interrupted.

    Arguments, results and errors are those of `elasticdenser.training.train.train`.
    """
    options = options or TrainOptions()
    output = output.resolve()
    check_classifier_replaceable(output)
    train = load_glue(options.data / recipe.path, recipe.glue_task, "train")
    examples = train[: recipe.limit or None]

    def make(work: Path, device: torch.device, progress: Progress, log: Log) -> _ClassifierStages:
        return _ClassifierStages(recipe, examples, options, work, device, progress, log)

    return run_stages(make, output, work=options.work, device=options.device, progress=progress, log=log)


class _ClassifierStages:
    """Stages of one training; the arguments are those of `train_classifier`, and the working folder."""

    def __init__(
        self,
        recipe: ClassifierRecipe,
        examples: list[Example],
        options: TrainOptions,
        work: Path,
        device: torch.device,
        progress: Progress,
        log: Log,
    ) -> None:
        self._recipe, self._options, self._work, self._device = recipe, options, work, device
        self._progress, self._log = progress, log
        self._task = recipe.glue_task
        self._encoder = ElasticQueryEncoder.from_pretrained(
            recipe.encoder or DEFAULT_MODEL, device=str(device), download=not options.offline
        )
        self._model = new_classifier(recipe, self._encoder)
        shape = self._model.shape
        if recipe.max_length > shape.n_positions:
            raise ModelError(
                f"got max_length = {recipe.max_length} for an encoder of {shape.n_positions} positions: lower it"
            )
        folder = transformer_folder(self._encoder.location.path)
        self._tokenizer = InputTokenizer(folder, shape.vocabulary, recipe.max_length)
        self._data = ExampleData(examples, self._tokenizer, self._task.highest)
        self._bfloat16 = supports_bfloat16(device)
        self._subnets = trained_subnets(self._model, recipe.train)
        self._teacher_measures: Measures | None = None

    def run(self, locks: ExitStack) -> None:
        """Fine-tune the teacher, initialise the model and train it."""
        recipe, settings = self._recipe, self._recipe.train
        self._log(f"{self._task.name}: {len(self._data):,} training examples, {len(self._subnets)} subnets")
        teacher, data = (None, self._data) if recipe.teacher is None else self._fine_tuned(locks)
        self._plan = self._plan_of("classifier", settings_to_json(settings)) | {
            "teacher": None if recipe.teacher is None else settings_to_json(recipe.teacher),
            "widths": list(self._model.shape.widths),
            "depths": list(self._model.shape.depths),
            "layers": recipe.layers,
            "start": self._start_plan(),
        }
        if settings.state_steps:
            self._plan["matched_states"] = "after the same layer"  # once they were the teacher's last ones
        if data.augmentation is not None:
            self._plan["augmentation"] = asdict(data.augmentation.settings) | {"copies_key": data.augmentation.key}
        self._folder = run_folder(self._work, self._plan)
        with parallel.main_process_first() as is_main:
            if is_main:
                open_run(self._folder, self._plan, locks)
                step = last_step(self._folder)
                resumes = f"resumes in {self._folder} at step {step:,} of {settings.steps:,}"
                self._log(resumes if step else f"a new training in {self._folder}")
            initialise_classifier(self._model, self._data, recipe, self._folder / "start.safetensors")
        settings = replace(settings, bfloat16=settings.bfloat16 and self._bfloat16)
        training = ClassifierTraining(self._model, data, settings, self._folder, self._device, teacher)
        train_with_snapshots(
            training,
            settings.steps,
            self._save_snapshot,
            save_every_s=self._options.save_every_s,
            progress=self._progress,
            log=self._log,
        )

    def finish(self, output: Path) -> ClassifierResult:
        """Write the classifier, and measure it on the dev sets as it is stored."""
        load_weights(self._snapshot, self._model)
        self._save(output, self._model, self._subnets, self._plan)
        measures = self._measures_of(output)
        return ClassifierResult(
            folder=output, run=self._folder, measures=measures, teacher=self._teacher_measures if measures else None
        )

    @property
    def _snapshot(self) -> Path:
        return snapshot_file(self._folder / "snapshots", self._recipe.train.steps)

    def _save_snapshot(self, step: int) -> None:
        if parallel.is_main_process() and not self._snapshot.exists():
            save_weights(self._snapshot, self._model, tokens=self._recipe.train.tune_tokens)

    def _fine_tuned(self, locks: ExitStack) -> tuple[ElasticLogits, ExampleData]:
        """Fine-tune the full encoder and measure it; return it, and the examples and copies with its outputs."""
        recipe, settings = self._recipe, self._recipe.teacher
        if settings is None:
            raise ValueError("the recipe has no teacher")
        model = new_teacher(recipe, self._encoder)
        augmentation = self._augmentation(model.tokens.detach().cpu().numpy())
        data = ExampleData(self._data.examples, self._tokenizer, self._task.highest, augmentation)
        plan = self._plan_of("teacher", settings_to_json(settings))
        folder = self._work / f"teacher-{fingerprint_of(plan)[:12]}"
        fine_tune(
            model,
            self._data,
            as_training(replace(settings, bfloat16=settings.bfloat16 and self._bfloat16)),
            folder,
            plan,
            locks,
            device=self._device,
            save_every_s=self._options.save_every_s,
            progress=self._progress,
        )
        data.targets = teacher_outputs(model, data, folder, self._device, self._progress)
        if parallel.is_main_process():
            full = Subnet(1.0, model.shape.n_layers)
            self._save(folder / "model", model, [full], plan)
            self._teacher_measures = self._measures_of(folder / "model").get(full)
        return model, data

    def _augmentation(self, embeddings: Vectors) -> Augmentation | None:
        """Return what makes the copies of the examples, from the word embeddings of the encoder."""
        settings = self._recipe.augmentation
        if settings is None:
            return None
        tokenizer = load_tokenizer(transformer_folder(self._encoder.location.path), self._recipe.max_length)
        texts = (text for example in self._data.examples for text in example.texts)
        candidates = similar_words(texts, tokenizer, embeddings, settings.candidates, self._progress)
        if not candidates:
            raise BadInputError(
                "got a table [augmentation], but no word of the examples has a similar one: leave it out"
            )
        self._log(f"{settings.copies} copies of each example; {len(candidates):,} different words can be replaced")
        return Augmentation(settings=settings, candidates=candidates, seed=self._recipe.seed)

    def _save(self, folder: Path, model: ElasticLogits, subnets: list[Subnet], plan: dict[str, Any]) -> None:
        recipe, location = self._recipe, self._encoder.location
        settings = StoredSettings(
            task=self._task.name,
            labels=self._task.labels,
            highest=self._task.highest,
            max_length=recipe.max_length,
            layers=model.layer_choice,
            subnets=tuple(map(str, sorted(subnets, reverse=True))),
        )
        provenance: dict[str, Any] = {
            "name": location.name,
            "weights_sha256": location.sha256,
            "version": __version__,
            "title": recipe.title,
            "seed": recipe.seed,
            "plan": plan,
        }
        if self._teacher_measures:
            provenance["teacher"] = dict(self._teacher_measures)
        save_classifier(folder, base=location.path, model=model, settings=settings, provenance=provenance)

    def _measures_of(self, folder: Path) -> dict[Subnet, Measures]:
        """Return the measures of a finished classifier by subnet; none where there are no dev sets."""
        classifier = ElasticClassifier.from_pretrained(folder, device=str(self._device))
        self._progress("Measuring on dev", 0, 1)
        try:
            dev = DevOutputs(classifier, self._options.data / self._recipe.path, self._task)
        except DataMissingError as error:
            self._log(f"no measures: {error}")
            return {}
        self._progress("Measuring on dev", 1, 1)
        return {subnet: dev.of_subnet(subnet).measures for subnet in classifier.subnets}

    def _plan_of(self, trains: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Return what a teacher and a classifier depend on."""
        recipe, examples = self._recipe, self._data.examples
        return {
            "trains": trains,
            "task": self._task.name,
            "encoder": encoder_identity(self._encoder),
            "examples": fingerprint_of([[*example.texts, example.label] for example in examples]),
            "pooling": recipe.pooling,
            "max_length": recipe.max_length,
            "steps": settings,
        }

    def _start_plan(self) -> dict[str, Any]:
        start: dict[str, Any] = asdict(self._recipe.init) | {"seed": self._recipe.seed}
        if self._recipe.init.model:
            start["weights_sha256"] = sha256_of(
                find_model(self._recipe.init.model, option="init.model").path / TRAINED_WEIGHTS
            )
        return start
