"""Tokens of passages from those of their words, which are remembered.

To tokenise a hundred candidates takes longer than to score them by a small subnet, and most of their words are common.
BERT's tokenizer never joins what a space separates: the tokens of a text are those of its chunks between spaces, and in
ASCII those of its words and marks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import chain, groupby

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from elasticdenser.encoders.tokenizing import CHARACTERS_PER_TOKEN

_MAX_WORDS = 65_536
"""Words that are remembered, about 15 MB; when there are more, all are forgotten."""
_MAX_CHARACTERS = 64
"""Longest word that is remembered."""
_WORD_OR_MARK = re.compile(r"[0-9A-Za-z]+|[!-/:-@\[-`{-~]")


class WordTokenizer:
    """Tokenises texts word by word; safe to use from several threads.

    Args:
        tokenizer: A tokenizer for which `joins_no_words` is true.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        model = tokenizer.model
        self._lowercases = bool(tokenizer.normalizer.lowercase)
        self._words = _Memory(lambda word: [token.id for token in model.tokenize(word)])
        self._chunks = _Memory(lambda chunk: tokenizer.encode(chunk, add_special_tokens=False).ids)

    def tokens(self, text: str, n: int) -> list[int] | None:
        """Return the first n tokens of a text, without special tokens; None if that takes more than its beginning."""
        n_characters = n * CHARACTERS_PER_TOKEN
        is_cut = len(text) > n_characters
        if is_cut:
            text = text[: n_characters + 1].rpartition(" ")[0]  # what follows may go on
        text = text.replace("\n", " ").replace("\r", " ").replace("\t", " ")
        if _is_plain(text):
            tokens = self._of_words(text)
        else:
            tokens = []
            for is_plain, chunks in groupby(text.split(" "), key=_is_plain):
                if is_plain:
                    tokens += self._of_words(" ".join(chunks))
                else:
                    tokens += chain.from_iterable(map(self._chunks.__getitem__, chunks))
        return None if is_cut and len(tokens) < n else tokens[:n]

    def _of_words(self, text: str) -> list[int]:
        """Return the tokens of a text for which `_is_plain` is true."""
        words = _WORD_OR_MARK.findall(text.lower() if self._lowercases else text)
        return list(chain.from_iterable(map(self._words.__getitem__, words)))


class _Memory(dict[str, list[int]]):
    """Tokens of words, computed when they are first asked for.

    Args:
        compute: Returns the tokens of a word.
    """

    def __init__(self, compute: Callable[[str], list[int]]) -> None:
        super().__init__()
        self._compute = compute

    def __missing__(self, word: str) -> list[int]:
        ids = self._compute(word)
        if len(self) >= _MAX_WORDS:
            self.clear()
        if len(word) <= _MAX_CHARACTERS:
            self[word] = ids
        return ids


def joins_no_words(tokenizer: Tokenizer) -> bool:
    """Return whether a `WordTokenizer` gives the tokens of a tokenizer: of BERT's it does.

    Its added tokens, which are matched in the text itself, must have brackets, such as [MASK], and no spaces.
    """
    return (
        isinstance(tokenizer.model, WordPiece)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and isinstance(tokenizer.normalizer, BertNormalizer)
        and all(
            "[" in token.content and not any(map(str.isspace, token.content))
            for token in tokenizer.get_added_tokens_decoder().values()
        )
    )


def _is_plain(text: str) -> bool:
    """Return whether a text is ASCII without control characters and without the bracket of added tokens."""
    return text.isascii() and text.isprintable() and "[" not in text
