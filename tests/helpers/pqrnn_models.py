"""pQRNNs of random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from elasticdenser.models.manifest import SPACE
from elasticdenser.models.pqrnn import PQRNNSettings, PQRNNVectors
from elasticdenser.models.pqrnn_files import save_pqrnn
from elasticdenser.models.pqrnn_manifest import PQRNNManifest
from elasticdenser.models.projection import ProjectionSettings
from elasticdenser.models.settings import EncoderFingerprint


def write_pqrnn(
    folder: Path, teacher: EncoderFingerprint, *, pooling: str = "attention", n_layers: int = 2, kernel: int = 2
) -> PQRNNManifest:
    """Write a pQRNN of random weights in the vector space of a teacher; return its manifest."""
    shape = replace(
        PQRNNSettings(n_features=64, bottleneck=16, hidden=8, kernel=kernel, n_layers=n_layers), pooling=pooling
    )
    torch.manual_seed(5)
    model = PQRNNVectors(shape, teacher.settings.dim)
    for parameter in model.parameters():  # biases are zeros at first
        parameter.data += 0.3 * torch.randn_like(parameter)
    manifest = PQRNNManifest(
        projection=ProjectionSettings(n_features=64),
        shape=shape,
        dim=teacher.settings.dim,
        max_length=100,
        provenance={"name": teacher.name, "weights_sha256": teacher.weights_sha256, SPACE: teacher.to_json()},
    )
    save_pqrnn(folder, model=model, manifest=manifest)
    return manifest
