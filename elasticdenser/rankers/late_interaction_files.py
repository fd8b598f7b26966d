"""Late-interaction ranker on disk: projections of the states that an encoder gives tokens. It does not import torch.

    late-interaction.json          manifest
    late-interaction.safetensors   full.weight, (dim, hidden), for passages, and for each subnet that may encode queries
                                   SUBNET.weight, (dim, n), SUBNET.bias, (dim,), and SUBNET.token_weight, (n,); n are
                                   the numbers of the states that it gives tokens; all float16

The encoder itself is not in the folder: the manifest names it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from elasticdenser.arrays import Floats
from elasticdenser.artifacts import write_json
from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.kernel.tensors import Tensors
from elasticdenser.models.calibration import Calibration
from elasticdenser.models.folders import check_replaceable, replacing_folder
from elasticdenser.models.manifest import FETCH_AGAIN, PROVENANCE, check_provenance, read_versioned
from elasticdenser.models.ranker_manifest import LATE_INTERACTION_MANIFEST, is_late_interaction
from elasticdenser.subnet import Subnet

WEIGHTS = "late-interaction.safetensors"
"""File beside the manifest that holds the projections."""

FORMAT = 3
"""Raised by every change of the layout that older versions of this package cannot read."""

_SHAPE, _SETTINGS, _CALIBRATION, _VECTOR_WEIGHTS = "shape", "settings", "calibration", "vector_weights"


@dataclass(frozen=True, kw_only=True)
class LateInteractionSettings:
    """Settings of a late-interaction ranker.

    Args:
        max_length: Maximum number of tokens of a passage, special tokens included.
        max_query_length: Maximum number of tokens of a query, special tokens included.
        vector_weight: Weight of the cosine of the texts' vectors in a score, beside that of their tokens, that a fit
            starts from; each `QueryProjection` has its own.
        first_stage_weight: Weight of the first stage's scores that is added when it reranks a search.
    """

    max_length: Annotated[int, Meta(ge=8)] = 192
    max_query_length: Annotated[int, Meta(ge=4)] = 64
    vector_weight: Annotated[float, Meta(ge=0)] = 0.5
    first_stage_weight: Annotated[float, Meta(ge=0)] = 0.0


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """Shapes of the projections in a manifest: numbers of a token's vector and of its state, and the subnets."""

    dim: Annotated[int, Meta(ge=1)]
    hidden: Annotated[int, Meta(ge=1)]
    subnets: Annotated[tuple[str, ...], Meta(min_length=1)]


@dataclass(frozen=True, kw_only=True, eq=False)
class QueryProjection:
    """How the states that a subnet gives a query's tokens become vectors and weights.

    Args:
        weight: Projection of the states, float32, (dim, n).
        bias: Added to it, float32, (dim,).
        token_weight: A token weighs softplus(token_weight · state + ln(e - 1)) as much as the others; with zeros all
            weigh 1. float32, (n,).
        vector_weight: Weight of the cosine of the texts' vectors in a score, beside that of their tokens.
    """

    weight: Floats
    bias: Floats
    token_weight: Floats
    vector_weight: float


@dataclass(frozen=True, kw_only=True, eq=False)
class LateInteraction:
    """Projections of a late-interaction ranker.

    Args:
        settings: How texts are read and scored.
        full: Projection of the states of passages, which the full encoder gives: float32, (dim, hidden).
        queries: Subnets that may encode queries -> projection of their states; the full encoder first, then from large
            to small.
        provenance: The encoder, under `PROVENANCE_KEYS`, and anything else that was recorded.
        calibration: Subnet -> calibration of its scores to probabilities; some may be missing.
    """

    settings: LateInteractionSettings
    full: Floats
    queries: Mapping[Subnet, QueryProjection]
    provenance: dict[str, Any]
    calibration: Mapping[str, Calibration] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Numbers of a token's vector."""
        return len(self.full)


def check_late_interaction_replaceable(folder: Path) -> None:
    """Check that a late-interaction ranker may be written to `folder`: it is absent, empty, or holds one.

    Raises:
        BuildError: It holds something else.
    """
    check_replaceable(folder, is_late_interaction, "a late-interaction ranker")


def save_late_interaction(folder: Path, model: LateInteraction) -> None:
    """Write a late-interaction ranker; one that is there is replaced.

    Raises:
        ModelError: A weight is not finite in float16, or a weight of the texts' vectors is no number from 0.
        BuildError: The folder holds something else, or the disk refuses; the former content is unchanged.
    """
    check_provenance(model.provenance, "provenance")
    tensors = {"full.weight": model.full}
    for subnet, own in model.queries.items():
        tensors |= {
            f"{subnet}.weight": own.weight,
            f"{subnet}.bias": own.bias,
            f"{subnet}.token_weight": own.token_weight,
        }
    with np.errstate(over="ignore"):
        # In C order, because safetensors would write the memory of a transposed array as it lies.
        halves = {name: tensor.astype(np.float16, order="C") for name, tensor in tensors.items()}
    if wrong := [name for name, tensor in halves.items() if not np.isfinite(tensor).all()]:
        raise ModelError(f"{wrong[0]} is not finite in float16: fit it again, with a larger ridge or token_penalty")
    for subnet, own in model.queries.items():
        if not 0 <= own.vector_weight < math.inf:
            raise ModelError(f"got vector_weight = {own.vector_weight} of {subnet}, expected a number from 0")
    manifest = {
        "format": FORMAT,
        _SHAPE: asdict(_Shape(dim=model.dim, hidden=model.full.shape[1], subnets=tuple(map(str, model.queries)))),
        _SETTINGS: asdict(model.settings),
        _VECTOR_WEIGHTS: {str(subnet): own.vector_weight for subnet, own in model.queries.items()},
        _CALIBRATION: {subnet: asdict(calibration) for subnet, calibration in model.calibration.items()},
        PROVENANCE: model.provenance,
    }
    from safetensors.numpy import save  # beside torch, in the extra for trainings

    with replacing_folder(folder.resolve(), check_late_interaction_replaceable) as work:
        (work / WEIGHTS).write_bytes(save(halves))
        write_json(work / LATE_INTERACTION_MANIFEST, manifest)


def read_late_interaction(folder: Path) -> LateInteraction:
    """Read the late-interaction ranker in `folder`.

    Raises:
        ModelError: Files are missing, damaged, of another format, or do not belong together.
    """
    path = folder / LATE_INTERACTION_MANIFEST
    values = read_versioned(path, FORMAT, "a late-interaction ranker")
    settings = from_value(LateInteractionSettings, values.get(_SETTINGS), f"{path}: {_SETTINGS}", ModelError)
    shape = from_value(_Shape, values.get(_SHAPE), f"{path}: {_SHAPE}", ModelError)
    try:
        subnets = list(map(Subnet.parse, shape.subnets))
    except QueryError as error:
        raise ModelError(f"{path}: {error}: {FETCH_AGAIN}") from None
    weights = from_value(
        dict[str, Annotated[float, Meta(ge=0)]], values.get(_VECTOR_WEIGHTS), f"{path}: {_VECTOR_WEIGHTS}", ModelError
    )
    if missing := [subnet for subnet in subnets if str(subnet) not in weights]:
        raise ModelError(f"{path}: {_VECTOR_WEIGHTS} lacks {missing[0]}: {FETCH_AGAIN}")
    tensors = Tensors(folder / WEIGHTS)
    tensors.check("full.weight", (shape.dim, shape.hidden))
    return LateInteraction(
        settings=settings,
        full=tensors.floats("full.weight"),
        queries={subnet: _read_query(tensors, subnet, shape.dim, weights[str(subnet)]) for subnet in subnets},
        provenance=values[PROVENANCE],
        calibration=from_value(
            dict[str, Calibration], values.get(_CALIBRATION, {}), f"{path}: {_CALIBRATION}", ModelError
        ),
    )


def _read_query(tensors: Tensors, subnet: Subnet, dim: int, vector_weight: float) -> QueryProjection:
    """Return the projection of a subnet's states."""
    token_weight = tensors.floats(f"{subnet}.token_weight").ravel()
    tensors.check(f"{subnet}.token_weight", token_weight.shape)
    tensors.check(f"{subnet}.weight", (dim, len(token_weight)))
    tensors.check(f"{subnet}.bias", (dim,))
    weight, bias = tensors.floats(f"{subnet}.weight"), tensors.floats(f"{subnet}.bias")
    return QueryProjection(weight=weight, bias=bias, token_weight=token_weight, vector_weight=vector_weight)
