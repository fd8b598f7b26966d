"""Manifest of an elastic ranker, `ranker.json`: its shape, how it reads pairs, and how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import ModelError
from elasticdenser.models.calibration import Calibration
from elasticdenser.models.manifest import FETCH_AGAIN, PROVENANCE, read_shape
from elasticdenser.models.shape import ElasticShape

RANKER_MANIFEST = "ranker.json"
"""File that makes a folder one of an elastic ranker."""

RANKER_WEIGHTS = "ranker.safetensors"
"""File beside the manifest that holds all weights."""

LATE_INTERACTION_MANIFEST = "late-interaction.json"
"""File that makes a folder one of a late-interaction ranker."""

RANKER_FORMAT = 1
"""Raised by every change of the layout that older versions of this package cannot read."""

_WEIGHT, _CALIBRATION = "first_stage_weight", "calibration"


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Settings by which a query and a passage become one sequence.

    Args:
        max_length: Maximum number of tokens of a pair, special tokens included; the passage is cut.
        max_query_length: Maximum number of tokens of the query, without special tokens.
    """

    max_length: Annotated[int, Meta(ge=8)] = 256
    max_query_length: Annotated[int, Meta(ge=1)] = 64


@dataclass(frozen=True, kw_only=True)
class RankerManifest:
    """Content of `ranker.json`.

    Args:
        shape: Shape of the elastic transformer.
        settings: How pairs are read.
        provenance: The full encoder that training started from, under `PROVENANCE_KEYS`, and anything else that the
            training recorded; `made_by` in the file.
        first_stage_weight: Weight of the first stage's scores, inner products of normalised vectors, that is added to
            the ranker's when it reranks a search; chosen on a dev set. The file may lack it.
        calibration: Subnet -> calibration of its scores to probabilities. The file may lack it, or some subnets.
    """

    shape: ElasticShape
    settings: PairSettings
    provenance: dict[str, Any]
    first_stage_weight: float = 0.0
    calibration: Mapping[str, Calibration] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        content: dict[str, Any] = {"shape": self.shape.to_json(), "settings": asdict(self.settings)}
        if self.first_stage_weight:
            content[_WEIGHT] = self.first_stage_weight
        if self.calibration:
            content[_CALIBRATION] = {subnet: asdict(calibration) for subnet, calibration in self.calibration.items()}
        return {"format": RANKER_FORMAT, **content, PROVENANCE: self.provenance}


def is_ranker(folder: Path) -> bool:
    """Return whether `folder` holds an elastic ranker, of whatever format."""
    return (folder / RANKER_MANIFEST).is_file()


def is_late_interaction(folder: Path) -> bool:
    """Return whether `folder` holds a late-interaction ranker, of whatever format."""
    return (folder / LATE_INTERACTION_MANIFEST).is_file()


def ranker_manifest(folder: Path) -> Path:
    """Return the manifest of a ranker of either kind; its weights have the same name and end in `.safetensors`."""
    return folder / (LATE_INTERACTION_MANIFEST if is_late_interaction(folder) else RANKER_MANIFEST)


def read_ranker_manifest(folder: Path) -> RankerManifest:
    """Read the manifest in `folder`.

    Raises:
        ModelError: The file is missing, damaged or of another format.
    """
    path = folder / RANKER_MANIFEST
    shape, values = read_shape(path, RANKER_FORMAT, "ranker")
    if shape.dim != 1 or shape.level0:
        raise ModelError(f"{path}: got dim = {shape.dim}, level0 = {shape.level0}, expected 1 and false: {FETCH_AGAIN}")
    settings = from_value(PairSettings, values.get("settings"), f"{path}: settings", ModelError)
    if settings.max_length > shape.n_positions:
        raise ModelError(
            f"{path}: got max_length = {settings.max_length} for {shape.n_positions} positions: {FETCH_AGAIN}"
        )
    weight = from_value(float, values.get(_WEIGHT, 0.0), f"{path}: {_WEIGHT}", ModelError)
    if not 0 <= weight < math.inf:
        raise ModelError(f"{path}: got {_WEIGHT} = {weight}, expected a number from 0: {FETCH_AGAIN}")
    calibration = from_value(
        dict[str, Calibration], values.get(_CALIBRATION, {}), f"{path}: {_CALIBRATION}", ModelError
    )
    return RankerManifest(
        shape=shape,
        settings=settings,
        provenance=values[PROVENANCE],
        first_stage_weight=weight,
        calibration=calibration,
    )
