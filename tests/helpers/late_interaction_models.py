"""Tiny late-interaction rankers, with random projections."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from elasticdenser.encoders.token_encoder import load_token_encoder
from elasticdenser.models.locate import find_model
from elasticdenser.rankers.late_interaction_files import (
    LateInteraction,
    LateInteractionSettings,
    save_late_interaction,
)

DIM = 8


def write_late_interaction(folder: Path, encoder: Path, **provenance: str) -> Path:
    """Write a ranker over all subnets of an encoder."""
    random = np.random.default_rng(5)
    tokens = load_token_encoder(find_model(str(encoder)))
    shape = DIM, tokens.hidden
    weights = {
        subnet: (random.normal(size=shape).astype(np.float32), random.normal(size=DIM).astype(np.float32))
        for subnet in tokens.subnets
        if subnet != tokens.full_subnet
    }
    model = LateInteraction(
        settings=LateInteractionSettings(max_length=24, max_query_length=12),
        full=random.normal(size=shape).astype(np.float32),
        queries=weights,
        provenance={"name": str(encoder), "weights_sha256": tokens.location.sha256, **provenance},
    )
    save_late_interaction(folder, model)
    return folder
