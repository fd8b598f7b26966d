"""pQRNN as a query encoder on disk, a folder of its own.

pqrnn.json           manifest: format, features, shape, and the teacher, whose vector space it answers in
model.safetensors    all weights: matrices in 8 bits with a scale a row, biases in float16

There is no vocabulary: the tokens of a text are its bytes.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from elasticdenser.errors import ModelError
from elasticdenser.models.folders import check_replaceable, replacing_folder
from elasticdenser.models.manifest import SPACE, check_provenance
from elasticdenser.models.model_files import PQRNN_MANIFEST
from elasticdenser.models.pqrnn import PQRNNVectors
from elasticdenser.models.pqrnn_manifest import PQRNN_WEIGHTS, PQRNNManifest, is_pqrnn
from elasticdenser.models.stored_tensors import stored_form


def save_pqrnn(folder: Path, *, model: PQRNNVectors, manifest: PQRNNManifest) -> None:
    """Write a pQRNN for queries.

    Args:
        folder: The folder to write; a pQRNN there is replaced, with everything in its folder.
        model: The trained model, on any device.
        manifest: Its manifest.

    Raises:
        ModelError: Weights are not finite, or the manifest names no teacher.
        BuildError: The folder holds something else, or the disk refuses; the former content is unchanged.
    """
    folder = folder.resolve()
    check_provenance(manifest.provenance, "provenance")
    if SPACE not in manifest.provenance:
        raise ModelError(f"got a provenance without {SPACE!r}, expected the fingerprint of the teacher")
    check_pqrnn_replaceable(folder)
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        tensors |= stored_form(name, tensor, int8=name.endswith("weight"))
    with replacing_folder(folder, check_pqrnn_replaceable) as work:
        (work / PQRNN_WEIGHTS).write_bytes(save(tensors, metadata={"format": "pt"}))
        text = json.dumps(manifest.to_json(), indent=2, ensure_ascii=False)
        (work / PQRNN_MANIFEST).write_text(text + "\n", encoding="utf-8")


def check_pqrnn_replaceable(folder: Path) -> None:
    """Check that a pQRNN may be written to `folder`: it is absent, empty, or holds one.

    Raises:
        BuildError: It holds something else.
    """
    check_replaceable(folder, is_pqrnn, "a pQRNN")
