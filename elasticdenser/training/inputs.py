"""Inputs of a training: the full encoder, the elastic model made of it, passages, texts and their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import torch
from torch import Tensor

from elasticdenser.artifacts import sha256_of
from elasticdenser.datasets import Corpus, open_corpus
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.encoders import ElasticQueryEncoder, PassageEncoder
from elasticdenser.encoders.devices import device_type
from elasticdenser.errors import BadInputError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index import PassageIndex
from elasticdenser.models.locate import DEFAULT_ELASTIC, DEFAULT_MODEL, TRAINED_WEIGHTS, find_model
from elasticdenser.models.manifest import SPACE, is_elastic
from elasticdenser.models.space import check_has_encoder
from elasticdenser.progress import Progress
from elasticdenser.subnet import Subnet
from elasticdenser.training.data import TrainingData
from elasticdenser.training.initial_models import initial_model
from elasticdenser.training.initialisation import mapped_subnets
from elasticdenser.training.recipe import Recipe
from elasticdenser.training.settings import settings_to_json
from elasticdenser.training.space_map import with_level0
from elasticdenser.training.subnet_training import trained_subnets
from elasticdenser.training.targets import encoder_identity, prepare_data, texts_sha256
from elasticdenser.training.teacher import Teacher, TextVectors, load_full_encoder, load_teacher
from elasticdenser.training.texts import training_texts

Item = TypeVar("Item")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of a training that are not part of the recipe, as the model does not depend on them.

    Args:
        data: Folder that paths in the recipe are relative to.
        work: Folder for caches, checkpoints and snapshots; None is `NAME.work` beside the model.
        device: `cpu`, `cuda`, `cuda:N`, or `auto`.
        offline: Do not download an encoder.
        trust_remote_code: Let a teacher execute code that it brings.
        workers: Cores to encode passages on; None is all usable ones.
        save_every_s: Seconds between checkpoints.

    Raises:
        ModelError: There is no such device.
    """

    data: Path = Path()
    work: Path | None = None
    device: str = "auto"
    offline: bool = False
    trust_remote_code: bool = False
    workers: int | None = None
    save_every_s: float = 300

    def __post_init__(self) -> None:
        device_type(self.device)


class PassageInputs:
    """Encoder with the indexes of its passages; base of the inputs of every kind of training.

    Attributes:
        encoder: The encoder; a subclass makes it.

    Args:
        options: Options of the training.
        work: Folder for indexes and caches.
        device: Where to compute.
        encoder_name: Folder or model id of the encoder of the passages.
        overrides: Settings that replace those of this encoder.
    """

    encoder: ElasticQueryEncoder

    def __init__(
        self, options: TrainOptions, work: Path, device: torch.device, encoder_name: str, overrides: dict[str, Any]
    ) -> None:
        self.options, self._work, self._device = options, work, device
        self._encoder_name, self._overrides = encoder_name, overrides

    @property
    def teacher(self) -> Teacher:
        """Encoder of the passages, and of the targets."""
        return self.encoder

    def index(self, progress: Progress, *, build: bool, path: str = "", passages: Sequence[str] = ()) -> PassageIndex:
        """Open an index of the encoder of the passages.

        Args:
            progress: Called with (activity, done, total).
            build: Whether it may be built, of `passages`.
            path: A finished index.
            passages: The corpus of an index in the working folder, where there is no finished one.
        """
        if path:
            return PassageIndex.open(self.options.data / path, encoder=self.teacher.fingerprint)
        folder = self._work / f"passages-{fingerprint_of([list(passages), encoder_identity(self.teacher)])[:12]}"
        if not build:
            return PassageIndex.open(folder, encoder=self.teacher.fingerprint)
        encoder = PassageEncoder.from_pretrained(
            self._encoder_name,
            device=str(self._device),
            download=not self.options.offline,
            trust_remote_code=self.options.trust_remote_code,
            **self._overrides,
        )
        # Only trainings use this folder: an index of a corpus that has changed since may be replaced.
        return PassageIndex.build(
            corpus_of(passages, self.options.data),
            folder,
            encoder,
            overwrite=True,
            restart=True,
            workers=self.options.workers,
            progress=progress,
        )


class TrainingInputs(PassageInputs):
    """The full encoder and the elastic model; passages, texts and vectors on demand.

    Attributes:
        encoder: The full encoder, with the dtype of the targets; of a student, the encoder that it is made of.
        model: The elastic model, on the CPU, with the full encoder's weights; of a student of trained subnets these, in
            their own space until `enter_space`.
        is_mapped: Whether it is a student of trained subnets.
        subnets: The subnets that are trained, from large to small; without the full one, which a student has too.

    Args:
        recipe: The recipe.
        options: Options of the training.
        work: Folder for indexes and vectors.
        device: Where to compute.

    Raises:
        ModelError: An encoder is not found, or its architecture cannot be made elastic; or the model to start from was
            made of another encoder.
        QueryError: The encoder cannot be divided into such subnets.
        EncoderMismatchError: The index was made by another encoder.
        BadInputError: There is no subnet to train.
    """

    def __init__(self, recipe: Recipe, options: TrainOptions, work: Path, device: torch.device) -> None:
        index = PassageIndex.open(options.data / recipe.index) if recipe.index else None
        indexed = "" if index is None else index.manifest.encoder.name
        name = recipe.teacher or (indexed if recipe.is_student else recipe.encoder or indexed) or DEFAULT_MODEL
        overrides, download = _encoder_overrides(recipe, index), not options.offline
        super().__init__(options, work, device, name, overrides)
        self.recipe = recipe
        if recipe.is_student:
            self._teacher = load_teacher(
                recipe,
                index,
                overrides,
                data=options.data,
                device=device,
                download=download,
                trust_remote_code=options.trust_remote_code,
            )
            trunk = recipe.encoder or DEFAULT_ELASTIC
            self.encoder = load_full_encoder(trunk, "float32", {}, device=device, download=download)
        else:
            if index is not None:
                check_has_encoder(index.manifest.encoder)
            self.encoder = load_full_encoder(name, recipe.target_dtype, overrides, device=device, download=download)
            self._teacher = self.encoder
        if index is not None:
            index.check_encoder(self.teacher.fingerprint)
        self.is_mapped = recipe.is_student and not recipe.init.model and is_elastic(self.encoder.location.path)
        self.model = initial_model(recipe, self.encoder, self.teacher, is_mapped=self.is_mapped)
        # The full encoder itself takes the place of its subnet; a student has none.
        full_subnet = None if recipe.is_student else Subnet(1.0, self.model.shape.n_layers)
        self.subnets = [subnet for subnet in trained_subnets(self.model, recipe.distil) if subnet != full_subnet]
        if not self.subnets:
            raise BadInputError("there is no subnet to train beside the full one: give more widths or depths")

    @property
    def teacher(self) -> Teacher:
        """Encoder of the passages, and of the targets: the full encoder itself, unless a student is trained."""
        return self._teacher

    def enter_space(self, table: Tensor | None, data: TrainingData, path: Path, progress: Progress) -> None:
        """Map trained subnets into the teacher's space, or read the result of an earlier call.

        Args:
            table: Token vectors of level 0 in this space, where the subnets have a level 0.
            data: Texts and the teacher's vectors.
            path: File of the result.
            progress: Called with (activity, done, total).
        """
        self.model = mapped_subnets(self.model, table, data, self.recipe.init, path, progress=progress)

    def add_level0(self, vectors: Tensor) -> None:
        """Give the model a level 0, whose vectors are an input of every exit."""
        if self.model.shape.level0:
            self.model.table.data = vectors
        else:
            self.model = with_level0(self.model, vectors)

    def texts(self) -> list[str]:
        """Gather the training texts."""
        if isinstance(self.teacher, TextVectors):
            return self.teacher.texts
        return training_texts(self.recipe.texts, data=self.options.data, seed=self.recipe.seed)

    def data(self, texts: list[str], index: PassageIndex | None, progress: Progress) -> TrainingData:
        """Return the texts with their vectors and neighbours, which are computed unless they are cached."""
        n_neighbours, folder = self.recipe.n_neighbours, self._work / "vectors"
        return prepare_data(
            texts, self.encoder, index, folder, teacher=self.teacher, n_neighbours=n_neighbours, progress=progress
        )

    def provenance(self) -> dict[str, Any]:
        """Return whose vector space the model answers in, and of a student what it was made of."""
        fingerprint, location = self.teacher.fingerprint, self.encoder.location
        made_of = {"name": fingerprint.name, "weights_sha256": fingerprint.weights_sha256}
        if not self.recipe.is_student:
            return made_of
        trunk = {"name": location.name, "weights_sha256": location.sha256}
        return made_of | {SPACE: fingerprint.to_json(), "trunk": trunk}

    def plan(self, texts: list[str], index: PassageIndex | None) -> dict[str, Any]:
        """Return all that a trained model depends on, as its `elastic.json` holds it."""
        recipe, shape = self.recipe, self.model.shape
        passages = None
        if index is not None:
            passages = {
                "n": len(index),
                "vectors_sha256": index.manifest.vectors_sha256,
                "structure": index.manifest.structure.factory,
                "n_neighbours": recipe.n_neighbours,
            }
        student = {"trunk": self._trunk_plan()} if recipe.is_student else {}
        return student | {
            "encoder": encoder_identity(self.teacher),
            "texts": {"n": len(texts), "sha256": texts_sha256(texts)},
            "passages": passages,
            "widths": list(shape.widths),
            "depths": list(shape.depths),
            **({"layers": [list(layers) for layers in shape.layers]} if shape.layers else {}),
            "start": self._start_plan(),
            "distil": settings_to_json(recipe.distil),
            "table": None if recipe.table is None else settings_to_json(recipe.table),
        }

    def _trunk_plan(self) -> dict[str, Any]:
        """Return the identity of what a student is made of."""
        trained = self.encoder.location.path / TRAINED_WEIGHTS
        subnets = {"subnets_sha256": sha256_of(trained)} if self.is_mapped else {}
        return encoder_identity(self.encoder) | subnets

    def _start_plan(self) -> dict[str, Any]:
        """Return the initialisation's part of the plan: its settings, or the weights it starts from."""
        settings = self.recipe.init
        if not settings.model:
            return settings_to_json(settings)
        trained = find_model(settings.model, option="init.model").path / TRAINED_WEIGHTS
        return {"model": settings.model, "weights_sha256": sha256_of(trained)}


def corpus_of(passages: Sequence[str], data: Path) -> Corpus:
    """Open the corpus that a recipe names."""
    return open_corpus([_resolved(source, data) for source in passages])


def _encoder_overrides(recipe: Recipe, index: PassageIndex | None) -> dict[str, Any]:
    """Return the settings that replace those of the encoder: from the recipe, otherwise from the index."""
    overrides = {} if index is None else asdict(index.manifest.encoder.settings)
    from_recipe = {name: getattr(recipe, name) for name in ("query_prompt", "passage_prompt", "max_length")}
    return overrides | {name: value for name, value in from_recipe.items() if value}


def _resolved(source: str, data: Path) -> str:
    path = data / source
    return source if not path.exists() and is_dataset_id(source) else str(path)


def reservoir_sample(items: Iterable[Item], n: int, random: Random) -> list[Item]:
    """Return n items drawn at random, or all if there are fewer, in one pass (Vitter 1985)."""
    drawn: list[Item] = []
    for number, item in enumerate(items):
        if number < n:
            drawn.append(item)
        elif (place := random.randrange(number + 1)) < n:
            drawn[place] = item
    return drawn
