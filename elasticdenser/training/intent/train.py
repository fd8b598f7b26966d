"""Training of a model of intents and slots: the stages of a recipe in order.

    WORK/outputs-KEY.f16      the teacher's outputs for the training utterances
    WORK/run-KEY/             one training; KEY is a hash of all that it depends on, which plan.json shows
        checkpoint.pt         all that an interrupted training resumes from
        losses.jsonl          losses at each checkpoint

The last step becomes the model: a dev set serves to report measures, not to select among steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch

from elasticdenser.artifacts import sha256_of
from elasticdenser.classifiers.intent_inputs import IntentReader
from elasticdenser.classifiers.intent_tagger import IntentTagger
from elasticdenser.datasets.intents import Utterance, load_utterances
from elasticdenser.errors import DataMissingError, ModelError
from elasticdenser.evaluation.intents import measure_parses
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.intent_files import (
    INTENT_MANIFEST,
    INTENT_WEIGHTS,
    IntentSettings,
    check_intent_replaceable,
    save_intent_model,
)
from elasticdenser.models.locate import DEFAULT_MODEL, find_model
from elasticdenser.models.model_files import transformer_folder
from elasticdenser.progress import Progress, silent
from elasticdenser.training import parallel
from elasticdenser.training.cost import last_step, time_steps
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.intent.data import TeacherOutputs, UtteranceData, label_names
from elasticdenser.training.intent.initialisation import new_intent_model
from elasticdenser.training.intent.intent_training import IntentTraining
from elasticdenser.training.intent.recipe import IntentRecipe
from elasticdenser.training.settings import settings_to_json
from elasticdenser.training.stages import Log, open_run, run_folder, run_stages
from elasticdenser.version import __version__


@dataclass(frozen=True, kw_only=True)
class IntentResult:
    """A trained model.

    Args:
        folder: Folder of the model.
        run: Folder of its training.
        measures: Measures on the dev set; empty without one.
    """

    folder: Path
    run: Path
    measures: Mapping[str, float]


def train_intent(
    recipe: IntentRecipe,
    output: Path,
    options: TrainOptions | None = None,
    *,
    progress: Progress = silent,
    log: Log = lambda message: None,
) -> IntentResult | None:
    """Train a model of intents and slots, or resume a training that was interrupted.

    Arguments, results and errors are those of `elasticdenser.training.train.train`.
    """
    options = options or TrainOptions()
    output = output.resolve()
    check_intent_replaceable(output)
    utterances = load_utterances(options.data / recipe.path, recipe.intent_task, "train")
    if recipe.limit and recipe.limit < len(utterances):
        utterances = Random(recipe.seed).sample(utterances, recipe.limit)

    def make(work: Path, device: torch.device, progress: Progress, log: Log) -> _IntentStages:
        return _IntentStages(recipe, utterances, options, work, device, progress, log)

    return run_stages(make, output, work=options.work, device=options.device, progress=progress, log=log)


class _IntentStages:
    """Stages of one training; the arguments are those of `train_intent`, and the working folder."""

    def __init__(
        self,
        recipe: IntentRecipe,
        utterances: list[Utterance],
        options: TrainOptions,
        work: Path,
        device: torch.device,
        progress: Progress,
        log: Log,
    ) -> None:
        self._recipe, self._options, self._work, self._device = recipe, options, work, device
        self._progress, self._log = progress, log
        self._location = find_model(recipe.encoder or DEFAULT_MODEL, download=not options.offline)
        self._teacher = IntentTagger.from_pretrained(recipe.teacher, device=str(device)) if recipe.teacher else None
        self._intents, self._tags = label_names(utterances)
        self._check_teacher()
        self._model = new_intent_model(recipe, self._location.path, self._intents, self._tags)
        folder = transformer_folder(self._location.path)
        reader = IntentReader(folder, self._model.shape, recipe.max_length)
        self._data = UtteranceData(utterances, reader, self._intents, self._tags)
        self._plan = self._plan_of(utterances)
        self._folder = run_folder(work, self._plan)

    def run(self, locks: ExitStack) -> None:
        """Compute the teacher's outputs, and train the model."""
        recipe, steps = self._recipe, self._recipe.train.steps
        numbers = f"{len(self._data):,} utterances, {len(self._intents)} intents, {len(self._tags)} tags"
        self._log(f"{recipe.task}: {numbers}; body: {self._model.shape.kind}")
        with parallel.main_process_first() as is_main:
            if is_main:
                open_run(self._folder, self._plan, locks)
                step = last_step(self._folder)
                resumes = f"resumes in {self._folder} at step {step:,} of {steps:,}"
                self._log(resumes if step else f"a new training in {self._folder}")
            if self._teacher is not None:
                self._data.targets = self._teacher_outputs(self._teacher)
        training = IntentTraining(self._model, self._data, recipe.train, self._folder, self._device)
        if remaining := time_steps(training, steps, self._progress):
            self._log(remaining)
        training.run(save_every_s=self._options.save_every_s, progress=self._progress)

    def finish(self, output: Path) -> IntentResult:
        """Write the model, and measure it on the dev set as it is stored."""
        recipe, location = self._recipe, self._location
        settings = IntentSettings(
            task=recipe.task, intents=self._intents, tags=self._tags, max_length=recipe.max_length
        )
        provenance = {
            "name": location.name,
            "weights_sha256": location.sha256,
            "version": __version__,
            "title": recipe.title,
            "seed": recipe.seed,
            "plan": self._plan,
        }
        base = None if self._model.shape.pqrnn is not None else location.path
        save_intent_model(output, base=base, model=self._model, settings=settings, provenance=provenance)
        return IntentResult(folder=output, run=self._folder, measures=self._measures_of(output))

    def _measures_of(self, folder: Path) -> dict[str, float]:
        task = self._recipe.intent_task
        if "dev" not in task.splits:
            self._log(f"no measures: {task.name} has no dev set")
            return {}
        try:
            utterances = load_utterances(self._options.data / self._recipe.path, task, "dev")
        except DataMissingError as error:
            self._log(f"no measures: {error}")
            return {}
        self._progress("Measuring on dev", 0, 1)
        parses = IntentTagger.from_pretrained(folder, device=str(self._device)).parse_words(
            [utterance.words for utterance in utterances]
        )
        self._progress("Measuring on dev", 1, 1)
        return measure_parses(utterances, parses, task)

    def _check_teacher(self) -> None:
        """Check that the teacher has the intents and tags of the utterances.

        Raises:
            ModelError: It has others.
        """
        if self._teacher is None:
            return
        settings = self._teacher.manifest.settings
        lacking = [*set(self._intents).difference(settings.intents), *set(self._tags).difference(settings.tags)]
        if lacking:
            raise ModelError(
                f"{self._teacher.folder}: a teacher of {settings.task} lacks {len(lacking)} intents or tags of these "
                f"utterances, such as {min(lacking)}: train it on the same data"
            )
        # A limit may have left out rare ones, for which the teacher has outputs.
        self._intents, self._tags = settings.intents, settings.tags

    def _teacher_outputs(self, teacher: IntentTagger) -> TeacherOutputs:
        key = fingerprint_of([self._plan["teacher"], self._plan["utterances"]])[:12]
        report = partial(self._progress, "Outputs of the teacher")
        return TeacherOutputs(teacher, self._data.utterances, self._work / f"outputs-{key}.f16", report)

    def _plan_of(self, utterances: list[Utterance]) -> dict[str, Any]:
        """Return all that the model depends on."""
        recipe, teacher = self._recipe, self._teacher
        files = [] if teacher is None else [teacher.folder / name for name in (INTENT_MANIFEST, INTENT_WEIGHTS)]
        start = {"init": sha256_of(Path(recipe.init) / INTENT_WEIGHTS)} if recipe.init else {}
        return start | {
            "trains": "intent",
            "task": recipe.task,
            "utterances": fingerprint_of([asdict(utterance) for utterance in utterances]),
            "encoder": self._location.sha256,
            "body": self._model.shape.to_json(),
            "max_length": recipe.max_length,
            "seed": recipe.seed,
            "teacher": [sha256_of(path) for path in files],
            "train": settings_to_json(recipe.train),
        }
