"""What a training run is made of: the full encoder, the model of all sizes, passages, texts and their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elasticdenser.datasets import open_corpus
from elasticdenser.datasets.sources import is_dataset_id
from elasticdenser.encoders import ElasticQueryEncoder, PassageEncoder, resolve_dtype
from elasticdenser.errors import BadInputError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index import PassageIndex, layout
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_init import elastic_from_full
from elasticdenser.models.locate import DEFAULT_MODEL
from elasticdenser.models.shape import WIDTHS
from elasticdenser.progress import Progress
from elasticdenser.subnet import Subnet
from elasticdenser.training.data import TrainingData, identity_of, texts_sha256
from elasticdenser.training.settings import Recipe
from elasticdenser.training.texts import training_texts


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """What a recipe leaves to the caller.

    Args:
        data: Folder that paths in the recipe start from.
        work: Folder for all that is kept while training; None is `NAME.work` beside the model.
        device: `cpu`, `cuda`, `cuda:N`, or `auto`.
        offline: Never ask the hub for an encoder.
        workers: Cores to encode passages on; None is all usable ones.
        save_every_s: Seconds between checkpoints.
    """

    data: Path = Path()
    work: Path | None = None
    device: str = "auto"
    offline: bool = False
    workers: int | None = None
    save_every_s: float = 300


class TrainingInputs:
    """The full encoder and the model of all sizes; passages and texts, when they are asked for.

    Attributes:
        encoder: The full encoder, in the arithmetic of the targets.
        model: As large as the full encoder, on the CPU, with its weights.
        sizes: Those that are trained and not the full one, from large to small.

    Args:
        recipe: What is wanted.
        options: See there.
        work: Where indexes and vectors are kept.
        device: Where to compute.

    Raises:
        ModelError: The encoder is not found or not of a kind that can be made elastic.
        QueryError: It cannot be cut into such sizes.
        EncoderMismatchError: The index is another encoder's.
    """

    def __init__(self, recipe: Recipe, options: TrainOptions, work: Path, device: torch.device) -> None:
        self.recipe, self.options, self._work, self._device = recipe, options, work, device
        given = PassageIndex.open(options.data / recipe.index) if recipe.index else None
        self._overrides = _overrides(recipe, given)
        self._name = recipe.encoder or (DEFAULT_MODEL if given is None else given.manifest.encoder.name)
        self.encoder = ElasticQueryEncoder.from_pretrained(
            self._name,
            # Not what queries are served in by default: what passages are encoded in.
            dtype=str(resolve_dtype(recipe.target_dtype, device)).removeprefix("torch."),
            device=str(device),
            download=not options.offline,
            **self._overrides,
        )
        if given is not None:
            given.check_encoder(self.encoder.fingerprint)
        self.model = _model(recipe, self.encoder)
        sizes = [Subnet.parse(name) for name in recipe.distil.sizes] or self.model.shape.grid
        for subnet in sizes:
            self.model.shape.check(subnet)
        self.subnets = [subnet for subnet in sizes if subnet != Subnet(1.0, self.model.shape.n_layers)]
        if not self.subnets:
            raise BadInputError("there is no size to train beside the full one: expected more widths or depths")

    def give_table(self, vectors: Tensor) -> None:
        """Make the model anew, its exits given level 0's vectors too."""
        shape, folder = self.model.shape, self.encoder.location.path
        self.model = elastic_from_full(
            folder, self.encoder.settings, widths=shape.widths, depths=shape.depths, table=vectors
        )

    def texts(self) -> list[str]:
        """Gather the training texts."""
        return training_texts(self.recipe.texts, data=self.options.data, seed=self.recipe.seed)

    def index(self, progress: Progress, *, build: bool, path: str = "", passages: Sequence[str] = ()) -> PassageIndex:
        """Open an index of the full encoder.

        Args:
            progress: Called with (what, done, of how many).
            build: Whether it may be made, of `passages`.
            path: A finished one.
            passages: The corpus of one that is kept in the working folder.
        """
        if path:
            return PassageIndex.open(self.options.data / path, encoder=self.encoder.fingerprint)
        place = self._work / f"passages-{fingerprint_of([list(passages), identity_of(self.encoder)])[:12]}"
        if not build:
            return PassageIndex.open(place, encoder=self.encoder.fingerprint)
        corpus = open_corpus([_resolved(source, self.options.data) for source in passages])
        encoder = PassageEncoder.from_pretrained(
            self._name, device=str(self._device), download=not self.options.offline, **self._overrides
        )
        # Ours alone: where the corpus has changed, what stands there is of no use.
        return PassageIndex.build(
            corpus, place, encoder, overwrite=True, restart=True, workers=self.options.workers, progress=progress
        )

    def data(self, texts: list[str], index: PassageIndex | None, progress: Progress) -> TrainingData:
        """Return texts with their vectors and neighbours, made now if they are not there."""
        n_neighbours, folder = self.recipe.n_neighbours, self._work / "vectors"
        return TrainingData.prepare(texts, self.encoder, index, folder, n_neighbours=n_neighbours, progress=progress)

    def plan(self, texts: list[str], index: PassageIndex | None) -> dict[str, Any]:
        """Return, as JSON holds it, all that a trained model depends on."""
        recipe = self.recipe
        shape = self.model.shape
        return {
            "encoder": identity_of(self.encoder),
            "texts": {"n": len(texts), "sha256": texts_sha256(texts)},
            "passages": None
            if index is None
            else {
                "n": len(index),
                "vectors_sha256": index.manifest.files[layout.VECTORS].sha256,
                "structure": index.manifest.structure.factory,
                "n_neighbours": recipe.n_neighbours,
            },
            "widths": list(shape.widths),
            "depths": list(shape.depths),
            "start": asdict(recipe.start),
            "distil": asdict(recipe.distil),
            "table": None if recipe.table is None else asdict(recipe.table),
        }


def _overrides(recipe: Recipe, index: PassageIndex | None) -> dict[str, Any]:
    """Return the encoder's settings that are not its own: the recipe's, else the index's."""
    overrides: dict[str, Any] = {}
    if index is not None:
        overrides = asdict(index.manifest.encoder.settings)
        del overrides["dim"]
    own = {name: getattr(recipe, name) for name in ("query_prompt", "passage_prompt", "max_length")}
    return overrides | {name: value for name, value in own.items() if value}


def _model(recipe: Recipe, encoder: ElasticQueryEncoder) -> ElasticBert:
    folder, settings, depths = encoder.location.path, encoder.settings, recipe.depths or None
    widths = recipe.widths
    if not widths:
        shape = elastic_from_full(folder, settings, widths=(1.0,)).shape
        widths = tuple(width for width in WIDTHS if not (shape.n_heads * width % 1 or shape.n_neurons * width % 1))
    return elastic_from_full(folder, settings, widths=widths, depths=depths)


def _resolved(source: str, data: Path) -> str:
    place = data / source
    return source if not place.exists() and is_dataset_id(source) else str(place)
