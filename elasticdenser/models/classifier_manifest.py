"""Manifest of an elastic classifier, `classifier.json`: its shape, its classes, and how it was made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import ModelError
from elasticdenser.models.manifest import FETCH_AGAIN, PROVENANCE, read_shape
from elasticdenser.models.shape import ElasticShape
from elasticdenser.subnet import Subnet

CLASSIFIER_MANIFEST = "classifier.json"
"""File that makes a folder one of an elastic classifier."""

CLASSIFIER_WEIGHTS = "classifier.safetensors"
"""File beside the manifest that holds all weights."""

CLASSIFIER_FORMAT = 1
"""Raised by every change of the layout that older versions of this package cannot read."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSettings:
    """Settings of a classifier.

    Args:
        task: Name of its task, such as `RTE`.
        labels: Names of the classes, one for each output; none for a regression.
        highest: Highest number of a regression, whose outputs are shares of it; 0 for classes.
        max_length: Maximum number of tokens of a text or pair, special tokens included.
        layers: Layers of a depth, as in `ElasticLogits`.
        subnets: The trained subnets, from large to small.
    """

    task: str
    labels: tuple[str, ...] = ()
    highest: Annotated[float, Meta(ge=0)] = 0.0
    max_length: Annotated[int, Meta(ge=8)] = 128
    layers: str = "first-and-last"
    subnets: tuple[str, ...]

    @property
    def is_regression(self) -> bool:
        """Whether the output is a number."""
        return not self.labels


@dataclass(frozen=True, kw_only=True)
class ClassifierManifest:
    """Content of `classifier.json`.

    Args:
        shape: Shape of the elastic transformer.
        settings: Classes and inputs.
        provenance: The full encoder that training started from, under `PROVENANCE_KEYS`, and anything else that the
            training recorded; `made_by` in the file.
    """

    shape: ElasticShape
    settings: ClassifierSettings
    provenance: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        content = {"shape": self.shape.to_json(), "settings": asdict(self.settings)}
        return {"format": CLASSIFIER_FORMAT, **content, PROVENANCE: self.provenance}


def is_classifier(folder: Path) -> bool:
    """Return whether `folder` holds an elastic classifier, of whatever format."""
    return (folder / CLASSIFIER_MANIFEST).is_file()


def read_classifier_manifest(folder: Path) -> ClassifierManifest:
    """Read the manifest in `folder`.

    Raises:
        ModelError: The file is missing, damaged or of another format.
    """
    path = folder / CLASSIFIER_MANIFEST
    shape, values = read_shape(path, CLASSIFIER_FORMAT, "classifier")
    settings = from_value(ClassifierSettings, values.get("settings"), f"{path}: settings", ModelError)
    n_outputs = len(settings.labels) or 1
    if shape.dim != n_outputs or shape.level0 or (settings.is_regression and not settings.highest):
        raise ModelError(f"{path}: got {shape.dim} outputs for {len(settings.labels)} classes: {FETCH_AGAIN}")
    known = set(map(str, shape.grid))
    if settings.max_length > shape.n_positions or not settings.subnets or not known.issuperset(settings.subnets):
        raise ModelError(
            f"{path}: got max_length = {settings.max_length} and the subnets {', '.join(settings.subnets)}, expected "
            f"at most {shape.n_positions} and some of {', '.join(sorted(known))}: {FETCH_AGAIN}"
        )
    return ClassifierManifest(shape=shape, settings=settings, provenance=values[PROVENANCE])


def trained_subnets_of(settings: ClassifierSettings) -> list[Subnet]:
    """Return the trained subnets, from large to small."""
    return sorted(map(Subnet.parse, settings.subnets), reverse=True)
