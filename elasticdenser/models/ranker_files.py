"""Elastic ranker on disk, a folder of its own.

    ranker.json          manifest: format, shape, lengths of pairs, and provenance
    ranker.safetensors   all weights
    tokenizer.json, ...  the tokenizer of the encoder that it was made of

Token vectors and the matrices of the layers are stored in 8 bits with a scale a row, all other weights in float16. A
folder is written under a temporary name and then renamed: it is complete or absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from elasticdenser.models.calibration import Calibration
from elasticdenser.models.folders import check_replaceable
from elasticdenser.models.manifest import check_provenance
from elasticdenser.models.pair_files import manifest_text, stored_weights, write_pair_model
from elasticdenser.models.ranker_manifest import (
    RANKER_MANIFEST,
    RANKER_WEIGHTS,
    PairSettings,
    RankerManifest,
    is_ranker,
    read_ranker_manifest,
)
from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.models.stored_tensors import check_tensors, read_tensors


def save_ranker(
    folder: Path,
    *,
    base: Path,
    model: ElasticScorer,
    settings: PairSettings,
    provenance: Mapping[str, Any],
    first_stage_weight: float = 0.0,
    calibration: Mapping[str, Calibration] | None = None,
) -> None:
    """Write an elastic ranker.

    Args:
        folder: The folder to write; an elastic ranker there is replaced, with everything in its folder.
        base: Folder of the encoder that the model was made of; its tokenizer is copied.
        model: The trained model, on any device.
        settings: How pairs are read.
        provenance: The encoder, under `PROVENANCE_KEYS`, and any other values of JSON.
        first_stage_weight: As in `RankerManifest`.
        calibration: Subnet -> calibration of its scores to probabilities.

    Raises:
        ModelError: Weights are not finite, or too large for float16.
        BuildError: The folder holds something else, or the disk refuses; the former content is unchanged.
    """
    folder = folder.resolve()
    check_provenance(provenance, "provenance")
    check_ranker_replaceable(folder)
    manifest = RankerManifest(
        shape=model.shape,
        settings=settings,
        provenance=dict(provenance),
        first_stage_weight=first_stage_weight,
        calibration=calibration or {},
    )
    write_pair_model(
        folder,
        base,
        {RANKER_WEIGHTS: stored_weights(model), RANKER_MANIFEST: manifest_text(manifest.to_json())},
        check_ranker_replaceable,
    )


def load_ranker(folder: Path) -> tuple[ElasticScorer, RankerManifest]:
    """Read an elastic ranker, its weights in float32.

    Raises:
        ModelError: Files are missing, damaged, of another format, or do not belong together.
    """
    manifest = read_ranker_manifest(folder)
    tensors = read_tensors(folder / RANKER_WEIGHTS)
    with torch.device("meta"):  # allocates nothing for weights that are read anyway
        model = ElasticScorer(manifest.shape)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    check_tensors(folder / RANKER_WEIGHTS, RANKER_MANIFEST, expected, tensors)
    model.load_state_dict(tensors, assign=True)
    return model.eval(), manifest


def check_ranker_replaceable(folder: Path) -> None:
    """Check that an elastic ranker may be written to `folder`: it is absent, empty, or holds an elastic ranker.

    Raises:
        BuildError: It holds something else.
    """
    check_replaceable(folder, is_ranker, "an elastic ranker")
