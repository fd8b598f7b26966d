"""Proof that a beginning of a text has the same first tokens as the whole, where no word boundary shows it.

BPE and Unigram turn each word into tokens by itself, and any later character of a word may change its first tokens. Yet
the tokens up to the end of a token are those of the word up to there, whatever follows: BPE has merged nothing across
that place, so the merges on both sides do not depend on each other; and Unigram finds the best path to that place
without what follows. As no token is longer than the longest of the vocabulary, one ends in every stretch of that
length. So if a word has the same first tokens wherever in such a stretch it is cut, these are those of the whole word.
"""

from __future__ import annotations

from functools import cached_property
from itertools import chain
from unicodedata import combining

from tokenizers import Encoding, Token, Tokenizer
from tokenizers.models import BPE, Unigram

_MAX_STRETCH = 256
"""Longest tokens of vocabularies are mostly shorter; each character costs a run of the model over the first tokens."""

_CUT_CHARACTERS, _CUT_LENGTH = 16, 1024
"""The last characters of a beginning, which normalisation may change with what follows; and the most that they become:
NFKC makes at most 18 characters of one, of 3 bytes each."""


class FirstTokensProof:
    """Proves that the first tokens of a text do not depend on what follows, for BPE and Unigram.

    Args:
        tokenizer: The tokenizer; nothing is proved for other models.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._model = tokenizer, tokenizer.model

    @cached_property
    def _stretch(self) -> int:
        """Length of the longest token; 0 if nothing can be proved. Seldom needed, and large vocabularies take time."""
        if not _works_forwards(self._model):
            return 0
        longest = max(map(len, self._tokenizer.get_vocab(with_added_tokens=False)), default=0)
        return longest if longest <= _MAX_STRETCH else 0

    def holds(self, beginning: str, encoding: Encoding) -> bool:
        """Return whether every text with this beginning has the tokens that `encoding` keeps, and more.

        Args:
            beginning: A beginning of a text, with its prompt.
            encoding: Its tokens, with those beyond the maximum length in `overflowing`.
        """
        # Marks are put in order up to the next character that is none.
        if not self._stretch or all(map(combining, beginning[-_CUT_CHARACTERS:])):
            return False
        *words, last = self._words(beginning)
        ids = [*chain.from_iterable(map(self._ids, words))]
        n_before, ids = len(ids), [*ids, *self._ids(last)]
        kept = _content(encoding)
        if [*kept, *chain.from_iterable(map(_content, encoding.overflowing))] != ids:
            return False  # a special token is in the text, say
        n_kept = max(0, len(kept) - n_before)
        start = _end_of(self._model.tokenize(last), n_kept, last) + self._stretch
        end = start + self._stretch
        if end + _CUT_LENGTH > len(last):
            return False
        return all(self._begins(last[:cut], ids[n_before : n_before + n_kept]) for cut in range(start + 1, end + 1))

    def _words(self, text: str) -> list[str]:
        """Return what the model gets of a text, at least one word."""
        normalizer, pre_tokenizer = self._tokenizer.normalizer, self._tokenizer.pre_tokenizer
        normalized = text if normalizer is None else normalizer.normalize_str(text)
        words = [(normalized, None)] if pre_tokenizer is None else pre_tokenizer.pre_tokenize_str(normalized)
        return [word for word, _ in words] or [""]

    def _ids(self, word: str) -> list[int]:
        return [token.id for token in self._model.tokenize(word)]

    def _begins(self, word: str, first_ids: list[int]) -> bool:
        """Return whether the tokens of a word begin with these, and are more."""
        ids = self._ids(word)
        return len(ids) > len(first_ids) and ids[: len(first_ids)] == first_ids


def _works_forwards(model: object) -> bool:
    """Return whether the tokens of a word up to the end of one of them do not depend on what follows."""
    if isinstance(model, BPE):
        return not model.dropout and not model.end_of_word_suffix  # the suffix marks the last character of a word
    return isinstance(model, Unigram) and not model.alpha and not model.nbest_size


def _content(encoding: Encoding) -> list[int]:
    """Return the token ids of an encoding without special tokens."""
    mask = encoding.special_tokens_mask
    return [token_id for token_id, is_special in zip(encoding.ids, mask, strict=True) if not is_special]


def _end_of(tokens: list[Token], n: int, word: str) -> int:
    """Return where the first n tokens of a word end, in characters; a token that is a byte ends with its character."""
    return len(word.encode()[: tokens[n - 1].offsets[1]].decode(errors="replace")) if n else 0
