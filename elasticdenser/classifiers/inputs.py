"""Texts and pairs of texts as sequences of token ids, such as [CLS] first [SEP] second [SEP]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from elasticdenser.errors import QueryError
from elasticdenser.models.tokenizer import load_tokenizer

TextOrPair = str | Sequence[str]
"""A text, or a pair of texts."""


class InputTokenizer:
    """Tokenises texts and pairs; safe to use from several threads.

    Of a pair that is too long, the longer text is cut. Ids of the second token type are raised by the size of the
    vocabulary, as `ElasticPairHead` takes them.

    Args:
        folder: Folder of the tokenizer.
        vocabulary: Number of tokens of the model.
        max_length: Maximum number of tokens, special tokens included.

    Raises:
        ModelError: The tokenizer cannot be used.
    """

    def __init__(self, folder: Path, vocabulary: int, max_length: int) -> None:
        self._tokenizer, self._vocabulary = load_tokenizer(folder, max_length), vocabulary

    def tokenize(self, inputs: Sequence[TextOrPair]) -> list[list[int]]:
        """Return the token ids of texts and pairs.

        Raises:
            QueryError: An input is neither a text nor a pair of texts.
        """
        encodings = self._tokenizer.encode_batch([_checked(given) for given in inputs])
        return [
            [id_ + self._vocabulary * (type_id > 0) for id_, type_id in zip(found.ids, found.type_ids, strict=True)]
            for found in encodings
        ]


def _checked(given: TextOrPair) -> str | tuple[str, str]:
    if isinstance(given, str):
        return given
    texts = tuple(given) if isinstance(given, Sequence) else ()
    if len(texts) == 1 and isinstance(texts[0], str):
        return texts[0]
    if len(texts) != 2 or not all(isinstance(text, str) for text in texts):
        raise QueryError(f"got {given!r:.60}, expected a text or a pair of two texts")
    return texts[0], texts[1]
