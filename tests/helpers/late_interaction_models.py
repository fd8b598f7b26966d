"""Tiny late-interaction rankers, with random projections."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from elasticdenser.encoders.token_encoder import TokenEncoder
from elasticdenser.models.locate import find_model
from elasticdenser.rankers.late_interaction_files import (
    LateInteraction,
    LateInteractionSettings,
    save_late_interaction,
)

DIM = 8


def write_late_interaction(folder: Path, encoder: Path, **provenance: str) -> Path:
    """Write a ranker over all subnets of an encoder whose states have 32 numbers."""
    random = np.random.default_rng(5)
    tokens = TokenEncoder(find_model(str(encoder)))
    weights = {
        subnet: (random.normal(size=(DIM, 32)).astype(np.float32), random.normal(size=DIM).astype(np.float32))
        for subnet in tokens.subnets
    }
    model = LateInteraction(
        settings=LateInteractionSettings(max_length=24, max_query_length=12),
        passages=random.normal(size=(DIM, 32)).astype(np.float32),
        queries=weights,
        provenance={"name": str(encoder), "weights_sha256": tokens.location.sha256, **provenance},
    )
    save_late_interaction(folder, model)
    return folder
