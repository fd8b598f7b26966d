"""Tokenizer of an encoder, by the `tokenizers` library alone, because transformers takes seconds to import.

Only where a folder has neither a `tokenizer.json` nor a vocabulary of BERT, transformers makes one of its files.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import BertWordPieceTokenizer, Tokenizer
from tokenizers.normalizers import Lowercase, Sequence
from tokenizers.processors import TemplateProcessing

from elasticdenser.errors import ModelError
from elasticdenser.lazy_imports import is_installed
from elasticdenser.models.byte_tokenizer import byte_tokenizer
from elasticdenser.models.model_files import PQRNN, STATIC, read_modules, read_object, value_of

_WORDPIECE = (None, "bert", "distilbert", "electra", "mobilebert", "squeezebert")
"""Types of models, and none, whose `vocab.txt` is read as that of BERT; MPNet's, say, has other special tokens."""
_OTHER_VOCABULARIES = (
    "sentencepiece.bpe.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
)


def load_encoder_tokenizer(folder: Path, max_length: int) -> Tokenizer:
    """Read the tokenizer of the encoder in `folder`, as `load_tokenizer` does; one of a table adds no special tokens.

    The tokens of a pQRNN are bytes.

    Raises:
        ModelError: As for `load_tokenizer`.
    """
    first = read_modules(folder)[0]
    if first.kind == PQRNN:
        return byte_tokenizer(max_length)
    tokenizer = load_tokenizer(first.folder, max_length)
    if first.kind == STATIC:
        tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B")
    return tokenizer


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
    kind = read_object(folder / "config.json", optional=True).get("model_type")
    if not vocabulary.is_file() or kind not in _WORDPIECE:
        return _made_by_transformers(folder)
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


def _made_by_transformers(folder: Path) -> Tokenizer:
    """Return a tokenizer that transformers makes of a vocabulary of SentencePiece, say."""
    message = (
        f"{folder} holds neither tokenizer.json nor vocab.txt of BERT: save its tokenizer in the fast format "
        "(AutoTokenizer.from_pretrained(...).save_pretrained(DIR) of transformers)"
    )
    if not any((folder / name).is_file() for name in _OTHER_VOCABULARIES) or not is_installed("transformers"):
        raise ModelError(message)
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        backend: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    except Exception as error:  # transformers has many kinds of errors, also for packages that it lacks
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ModelError(f"{message}; transformers cannot make one ({reason})") from error
    return backend


def _lowercased(folder: Path) -> bool:
    """Return whether sentence-transformers would lowercase texts before they reach the tokenizer."""
    path = folder / "sentence_bert_config.json"
    return value_of(read_object(path, optional=True), "do_lower_case", bool, path, False)
