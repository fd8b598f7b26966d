"""Folders of models that read pairs of texts, rankers and classifiers: their weights, and the encoder's tokenizer.

Token vectors and the matrices of the layers are stored in 8 bits with a scale a row, all other weights in float16. A
folder is written under a temporary name and then renamed: it is complete or absent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from elasticdenser.models.folders import replacing_folder
from elasticdenser.models.heads import ElasticPairHead
from elasticdenser.models.model_files import transformer_folder
from elasticdenser.models.stored_tensors import is_layer_matrix, stored_form

_TOKENIZER_FILES = (
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
)


def write_pair_model(
    folder: Path, base: Path | None, files: Mapping[str, bytes], check: Callable[[Path], None]
) -> None:
    """Write the folder of a model, with the tokenizer of the encoder that it was made of.

    Args:
        folder: The folder to write; what is there is replaced.
        base: Folder of the encoder; None copies no tokenizer.
        files: Name -> content.
        check: Raises a BuildError unless the folder may be replaced.

    Raises:
        BuildError: The folder holds something else, or the disk refuses; the former content is unchanged.
    """
    with replacing_folder(folder, check) as work:
        if base is not None:
            _copy_tokenizer(base, work)
        for name, content in files.items():
            (work / name).write_bytes(content)


def _copy_tokenizer(base: Path, folder: Path) -> None:
    for name in _TOKENIZER_FILES:
        # Older encoders have the transformer, with its tokenizer, in a folder inside.
        for source in (transformer_folder(base) / name, base / name):
            if source.is_file() and not (folder / name).exists():
                shutil.copyfile(source, folder / name)


def stored_weights(model: ElasticPairHead) -> bytes:
    """Return the content of the weights file of a model, on any device.

    Raises:
        ModelError: Weights are not finite, or too large for float16.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        tensors |= stored_form(name, tensor, int8=name == "tokens" or is_layer_matrix(name))
    return save(tensors, metadata={"format": "pt"})


def manifest_text(content: Mapping[str, Any]) -> bytes:
    """Return the content of a manifest as indented JSON."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
