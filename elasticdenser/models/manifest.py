"""Manifest of an elastic encoder, `elastic.json`: the shape of its subnets, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import ElasticDenserError, ModelError
from elasticdenser.models.model_files import PQRNN_MANIFEST, read_json
from elasticdenser.models.shape import ElasticShape

MANIFEST = "elastic.json"
"""File that makes the folder of a sentence encoder one of an elastic encoder."""

FORMAT = 1
"""Raised by every change of the layout that older versions of this package cannot read."""

PROVENANCE_KEYS = ("name", "weights_sha256")
"""Required values of a provenance: the name that the full encoder was loaded by, and its weights file's SHA-256."""

FETCH_AGAIN = "fetch the model again, or train it again"

PROVENANCE = "made_by"
"""Key of a provenance in a manifest."""

SPACE = "space"
"""Key of a student's provenance with the fingerprint of its teacher, in whose vector space it answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Content of `elastic.json`.

    Args:
        shape: Shape of the elastic transformer.
        provenance: The full encoder that the subnets were made of, under `PROVENANCE_KEYS`, and anything else that the
            training recorded; `made_by` in the file.
    """

    shape: ElasticShape
    provenance: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        return {"format": FORMAT, "shape": self.shape.to_json(), PROVENANCE: self.provenance}


def is_elastic(folder: Path) -> bool:
    """Return whether `folder` holds an elastic encoder, of whatever format."""
    return (folder / MANIFEST).is_file()


def is_student(folder: Path) -> bool:
    """Return whether `folder` holds an elastic encoder, or a pQRNN, that answers in the vector space of another model.

    It has no full encoder beside its subnets.

    Raises:
        ModelError: The manifest is not JSON.
    """
    return SPACE in read_provenance(folder)


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest in `folder`.

    Raises:
        ModelError: The file is missing, damaged or of another format.
    """
    shape, values = read_shape(folder / MANIFEST, FORMAT, "encoder")
    return Manifest(shape=shape, provenance=values[PROVENANCE])


def read_shape(path: Path, format_number: int, kind: str) -> tuple[ElasticShape, dict[str, Any]]:
    """Read a manifest with `format`, `shape` and `made_by`; return its shape and its whole content.

    Args:
        path: Its file.
        format_number: The format that is expected.
        kind: Kind of the model, as a recipe names it.

    Raises:
        ModelError: The file is missing, damaged or of another format.
    """
    recipe = "" if kind == "encoder" else f' from a recipe with trains = "{kind}"'
    values = read_versioned(path, format_number, f"an elastic {kind}, as `elasticdenser train` makes it{recipe}")
    try:
        shape = from_value(ElasticShape, values.get("shape"), f"{path}: shape", ModelError)
    except (ElasticDenserError, ArithmeticError) as error:
        where = "" if isinstance(error, ModelError) else f"{path}: shape: "
        raise ModelError(f"{where}{error}; {FETCH_AGAIN}") from error
    return shape, values


def read_versioned(path: Path, format_number: int, what: str) -> dict[str, Any]:
    """Return the content of a manifest with `format` and `made_by`, of any kind of model.

    Args:
        path: Its file.
        format_number: The format that is expected.
        what: What its folder holds, for the message where there is none.

    Raises:
        ModelError: The file is missing, damaged or of another format.
    """
    if not path.is_file():
        raise ModelError(f"{path} is missing: give the folder of {what}")
    content = read_json(path)
    values = content if isinstance(content, dict) else {}
    if values.get("format") != format_number:
        raise ModelError(
            f"{path}: got format {values.get('format')!r}, expected {format_number}: use the version of elasticdenser "
            "that wrote it, or train again"
        )
    check_provenance(values.get(PROVENANCE), f"{path}: {PROVENANCE}")
    return values


def read_provenance(folder: Path) -> dict[str, Any]:
    """Return the provenance in the manifest in `folder`, unchecked; empty if there is none.

    Raises:
        ModelError: The manifest is not JSON.
    """
    path = next((folder / name for name in (MANIFEST, PQRNN_MANIFEST) if (folder / name).is_file()), None)
    content = {} if path is None else read_json(path)
    provenance = content.get(PROVENANCE) if isinstance(content, dict) else None
    return provenance if isinstance(provenance, dict) else {}


def retention_of(folder: Path) -> dict[str, float]:
    """Return each subnet's share of the full encoder's quality, as measured when it was trained; empty if unknown.

    Raises:
        ModelError: The manifest holds something else under this key.
    """
    where = f"{folder / MANIFEST}: {PROVENANCE}.retention"
    return from_value(dict[str, float], read_provenance(folder).get("retention", {}), where, ModelError)


def retention_by_length_of(folder: Path) -> dict[str, dict[int, float]]:
    """Return each subnet's share of the full encoder's quality for queries of one length; empty if unknown.

    Returns:
        Subnet -> largest number of tokens of a range of lengths, special tokens included -> share.

    Raises:
        ModelError: The manifest holds something else under this key.
    """
    shares = read_provenance(folder).get("retention_by_length", {})
    where = f"{folder / MANIFEST}: {PROVENANCE}.retention_by_length"
    return from_value(dict[str, dict[int, float]], shares, where, ModelError)


def check_provenance(provenance: object, where: str) -> None:
    """Check that a provenance says which full encoder a model was made of.

    Raises:
        ModelError: It does not.
    """
    values = provenance if isinstance(provenance, Mapping) else {}
    if not all(isinstance(values.get(key), str) and values[key] for key in PROVENANCE_KEYS):
        raise ModelError(
            f"got {where} = {provenance!r}, expected {' and '.join(PROVENANCE_KEYS)} of the full encoder as text, as "
            "`find_model` returns them: an index is searched only by encoders of its own vector space"
        )


def misfit_of(folder: Path, pooling: str) -> str:
    """Return the reason why an encoder's trained subnets cannot be used; empty if they can, or if there are none.

    The vectors of subnets that were trained for one pooling do not lie in the vector space of another.

    Args:
        folder: Folder of the encoder.
        pooling: Pooling that its full encoder is used with.

    Raises:
        ModelError: The manifest is damaged or of another format.
    """
    if not is_elastic(folder):
        return ""
    trained = read_manifest(folder).shape.pooling
    return "" if trained == pooling else f"they were trained for {trained} pooling, and it is used with {pooling}"


def check_layers(folder: Path, shape: ElasticShape, n_layers: int) -> None:
    """Check that subnets were trained for the number of layers of the full encoder beside them.

    Args:
        folder: Folder of the encoder, for the message.
        shape: Shape of the trained subnets.
        n_layers: Layers of the full encoder.

    Raises:
        ModelError: They were trained for another number.
    """
    if shape.n_layers != n_layers:
        raise ModelError(
            f"{folder}: got subnets of {shape.n_layers} layers, expected {n_layers}, as its full encoder has: "
            f"{FETCH_AGAIN}"
        )
