"""Tokenizer of an encoder, by the `tokenizers` library alone, because transformers takes seconds to import."""

from __future__ import annotations

from pathlib import Path

from tokenizers import BertWordPieceTokenizer, Tokenizer
from tokenizers.normalizers import Lowercase, Sequence

from elasticdenser.errors import ModelError
from elasticdenser.models.model_files import read_object, value_of


def load_tokenizer(folder: Path, max_length: int) -> Tokenizer:
    """Read the tokenizer of the transformer in `folder`, cutting texts at `max_length` tokens and never padding.

    Raises:
        ModelError: There is neither a `tokenizer.json` nor a WordPiece `vocab.txt`, or it cannot be read.
    """
    tokenizer = _read(folder)
    if _lowercased(folder):
        inner = tokenizer.normalizer
        tokenizer.normalizer = Lowercase() if inner is None else Sequence([Lowercase(), inner])
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return tokenizer


def _read(folder: Path) -> Tokenizer:
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # `tokenizers` raises bare Exception
            raise ModelError(f"{path} cannot be read ({error}): fetch the model again") from error
    vocabulary = folder / "vocab.txt"
    if not vocabulary.is_file():
        raise ModelError(
            f"{folder} holds neither tokenizer.json nor vocab.txt: save its tokenizer in the fast format "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(DIR) of transformers)"
        )
    config_path = folder / "tokenizer_config.json"
    config = read_object(config_path, optional=True)
    options: dict[str, bool | None] = {
        "lowercase": value_of(config, "do_lower_case", bool, config_path, True),
        "strip_accents": value_of(config, "strip_accents", bool, config_path, None),
        "handle_chinese_chars": value_of(config, "tokenize_chinese_chars", bool, config_path, True),
    }
    try:
        wordpiece = BertWordPieceTokenizer(str(vocabulary), **options)
    except Exception as error:  # `tokenizers` raises bare Exception
        raise ModelError(f"{vocabulary} cannot be read ({error}): fetch the model again") from error
    tokenizer: Tokenizer = wordpiece._tokenizer
    return tokenizer


def _lowercased(folder: Path) -> bool:
    """Return whether sentence-transformers would lowercase texts before they reach the tokenizer."""
    path = folder / "sentence_bert_config.json"
    return value_of(read_object(path, optional=True), "do_lower_case", bool, path, False)
