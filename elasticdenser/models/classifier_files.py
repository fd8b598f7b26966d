"""Elastic classifier on disk, a folder of its own.

classifier.json          manifest: format, shape, classes, and provenance
classifier.safetensors   all weights, as `pair_files` stores them
tokenizer.json, ...      the tokenizer of the encoder that it was made of
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from elasticdenser.models.classifier_manifest import (
    CLASSIFIER_MANIFEST,
    CLASSIFIER_WEIGHTS,
    ClassifierManifest,
    ClassifierSettings,
    is_classifier,
    read_classifier_manifest,
)
from elasticdenser.models.folders import check_replaceable
from elasticdenser.models.logits import ElasticLogits
from elasticdenser.models.manifest import check_provenance
from elasticdenser.models.pair_files import manifest_text, stored_weights, write_pair_model
from elasticdenser.models.stored_tensors import check_tensors, read_tensors


def save_classifier(
    folder: Path, *, base: Path, model: ElasticLogits, settings: ClassifierSettings, provenance: Mapping[str, Any]
) -> None:
    """Write an elastic classifier.

    Args:
        folder: The folder to write; an elastic classifier there is replaced, with everything in its folder.
        base: Folder of the encoder that the model was made of; its tokenizer is copied.
        model: The trained model, on any device.
        settings: Classes and inputs.
        provenance: The encoder, under `PROVENANCE_KEYS`, and any other values of JSON.

    Raises:
        ModelError: Weights are not finite, or too large for float16.
        BuildError: The folder holds something else, or the disk refuses; the former content is unchanged.
    """
    folder = folder.resolve()
    check_provenance(provenance, "provenance")
    check_classifier_replaceable(folder)
    manifest = ClassifierManifest(shape=model.shape, settings=settings, provenance=dict(provenance))
    write_pair_model(
        folder,
        base,
        {CLASSIFIER_WEIGHTS: stored_weights(model), CLASSIFIER_MANIFEST: manifest_text(manifest.to_json())},
        check_classifier_replaceable,
    )


def load_classifier(folder: Path) -> tuple[ElasticLogits, ClassifierManifest]:
    """Read an elastic classifier, its weights in float32.

    Raises:
        ModelError: Files are missing, damaged, of another format, or do not belong together.
    """
    manifest = read_classifier_manifest(folder)
    tensors = read_tensors(folder / CLASSIFIER_WEIGHTS)
    with torch.device("meta"):  # allocates nothing for weights that are read anyway
        model = ElasticLogits(manifest.shape, manifest.settings.layers)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    check_tensors(folder / CLASSIFIER_WEIGHTS, CLASSIFIER_MANIFEST, expected, tensors)
    model.load_state_dict(tensors, assign=True)
    return model.eval(), manifest


def check_classifier_replaceable(folder: Path) -> None:
    """Check that an elastic classifier may be written to `folder`: it is absent, empty, or holds one.

    Raises:
        BuildError: It holds something else.
    """
    check_replaceable(folder, is_classifier, "an elastic classifier")
