"""Manifest of a pQRNN, `pqrnn.json`: its features, its shape, and the vector space that it answers in.

A folder with this file is a query encoder: a student of another encoder, whose passages it searches.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import ModelError
from elasticdenser.models.manifest import FETCH_AGAIN, PROVENANCE, SPACE, read_versioned
from elasticdenser.models.model_files import MIN_LENGTH, PQRNN_MANIFEST
from elasticdenser.models.projection import ProjectionSettings

PQRNN_WEIGHTS = "model.safetensors"
"""File beside the manifest that holds all weights: matrices in 8 bits with a scale a row, biases in float16."""

PQRNN_FORMAT = 1
"""Raised by every change of the layout that older versions of this package cannot read."""

Size = Annotated[int, Meta(ge=1)]
Probability = Annotated[float, Meta(ge=0, lt=1)]


@dataclass(frozen=True, kw_only=True)
class PQRNNSettings:
    """Shape of a pQRNN, and its regularisation in training.

    Args:
        n_features: Features of a word, as in `ProjectionSettings`.
        bottleneck: Outputs of the first layer, which is applied to each word alone.
        n_layers: Number of bidirectional QRNN layers.
        hidden: States of a layer in each direction.
        kernel: Words that a gate sees: the current one, and those before it in the layer's direction.
        pooling: How the states of a text become one vector: weighted by `attention`, or their `mean`.
        dropout: Probability with which an output of the bottleneck or of a layer is dropped in training.
        zoneout: Probability with which a state keeps its value in training, instead of being updated.
    """

    n_features: Size = 512
    bottleneck: Size = 256
    n_layers: Size = 2
    hidden: Size = 128
    kernel: Size = 2
    pooling: Literal["attention", "mean"] = "attention"
    dropout: Probability = 0.1
    zoneout: Probability = 0.1


@dataclass(frozen=True, kw_only=True)
class PQRNNManifest:
    """Content of `pqrnn.json`.

    Args:
        projection: Features of words.
        shape: Shape of the model.
        dim: Dimensions of a vector.
        max_length: Bytes of a text, in UTF-8, that are read.
        provenance: The teacher, under `PROVENANCE_KEYS`, its fingerprint under `SPACE`, and anything else that the
            training recorded; `made_by` in the file.
    """

    projection: ProjectionSettings
    shape: PQRNNSettings
    dim: int
    max_length: int
    provenance: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        content = {"projection": asdict(self.projection), "shape": asdict(self.shape)}
        sizes = {"dim": self.dim, "max_length": self.max_length}
        return {"format": PQRNN_FORMAT, **content, **sizes, PROVENANCE: self.provenance}

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of all weights by name, as in `PQRNNVectors`."""
        shape, states = self.shape, 2 * self.shape.hidden
        shapes = {"trunk.bottleneck": (shape.bottleneck, shape.n_features), "head": (self.dim, states)}
        n_inputs = shape.bottleneck
        for number in range(shape.n_layers):
            for direction in ("forwards", "backwards"):
                shapes[f"trunk.layers.{number}.{direction}"] = (3 * shape.hidden, shape.kernel * n_inputs)
            n_inputs = states
        if shape.pooling == "attention":
            shapes["trunk.attention"] = (1, states)
        weights = {f"{name}.weight": rows_and_columns for name, rows_and_columns in shapes.items()}
        return weights | {f"{name}.bias": rows_and_columns[:1] for name, rows_and_columns in shapes.items()}


def is_pqrnn(folder: Path) -> bool:
    """Return whether `folder` holds a pQRNN, of whatever format."""
    return (folder / PQRNN_MANIFEST).is_file()


def read_pqrnn_manifest(folder: Path) -> PQRNNManifest:
    """Read the manifest in `folder`.

    Raises:
        ModelError: The file is missing, damaged or of another format.
    """
    path = folder / PQRNN_MANIFEST
    values = read_versioned(path, PQRNN_FORMAT, "a pQRNN, as `elasticdenser train` makes it")
    provenance = values[PROVENANCE]
    if SPACE not in provenance:
        raise ModelError(f"{path}: got no {PROVENANCE}.{SPACE}, the vector space that it answers in: {FETCH_AGAIN}")
    manifest = PQRNNManifest(
        projection=from_value(ProjectionSettings, values.get("projection"), f"{path}: projection", ModelError),
        shape=from_value(PQRNNSettings, values.get("shape"), f"{path}: shape", ModelError),
        dim=from_value(Size, values.get("dim"), f"{path}: dim", ModelError),
        max_length=from_value(Size, values.get("max_length"), f"{path}: max_length", ModelError),
        provenance=provenance,
    )
    if manifest.projection.n_features != manifest.shape.n_features or manifest.max_length < MIN_LENGTH:
        raise ModelError(
            f"{path}: got {manifest.projection.n_features} features of a word for a model of "
            f"{manifest.shape.n_features}, and texts of {manifest.max_length} bytes, expected the same number and at "
            f"least {MIN_LENGTH}: {FETCH_AGAIN}"
        )
    return manifest
