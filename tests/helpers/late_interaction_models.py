"""Tiny late-interaction rankers, with random projections."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from elasticdenser.encoders.token_encoder import load_token_encoder
from elasticdenser.models.locate import find_model
from elasticdenser.rankers.late_interaction_files import (
    LateInteraction,
    LateInteractionSettings,
    QueryProjection,
    save_late_interaction,
)

DIM = 8


def write_late_interaction(folder: Path, encoder: Path, **provenance: str) -> Path:
    """Write a ranker over all subnets of an encoder."""
    random = np.random.default_rng(5)
    tokens = load_token_encoder(find_model(str(encoder)))

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    weights = {
        subnet: QueryProjection(
            weight=normal(DIM, n := tokens.state_dim(subnet)),
            bias=normal(DIM),
            token_weight=normal(n) / 4,
            vector_weight=0.5,
        )
        for subnet in tokens.subnets
    }
    full = weights[tokens.full_subnet] = replace(weights[tokens.full_subnet], bias=np.zeros(DIM, np.float32))
    model = LateInteraction(
        settings=LateInteractionSettings(max_length=24, max_query_length=12),
        full=full.weight,
        queries=weights,
        provenance={"name": str(encoder), "weights_sha256": tokens.location.sha256, **provenance},
    )
    save_late_interaction(folder, model)
    return folder
