"""Tokenising of texts of any length: of a long text, only the beginning that is encoded reaches the tokenizer.

The token ids are those of the whole text. A beginning is accepted only if many words of it follow the last token that
is kept: what comes after them cannot change the tokens before. Else a longer beginning is taken. Where a text has no
words, a long beginning is also accepted if its first tokens are proved to be those of the whole (`first_tokens`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tokenizers import Encoding, Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from elasticdenser.encoders.first_tokens import FirstTokensProof
from elasticdenser.query_input import check_list, check_query

CHARACTERS_PER_TOKEN = 10
"""More than nearly all texts have: English has about five, with spaces."""
_MIN_CHARACTERS = 512
_GROWTH = 8
"""Factor by which a beginning grows that was too short."""
_MARGIN_WORDS = 16
"""Words that must follow the last kept token. Where a text is cut, a word, a contraction or a special token may be cut,
which are at most a few of the tokenizer's words; all words before are those of the whole text."""

_LETTER = "[A-Za-z0-9À-ɏΑ-ΡΣ-ωЀ-ҁҊ-ԯぁ-ゖァ-ヺ가-힣]"
"""Characters that BERT's tokenizer neither removes nor splits at, in any version of Unicode; there are more."""

# Up to this number, texts are tokenised one by one in the calling thread. For a batch, even of one text, `tokenizers`
# starts threads, which pay off only for larger batches.
_MAX_SINGLE_TEXTS = 64


class TokenizedText(NamedTuple):
    """Tokens of a text.

    Attributes:
        ids: Token ids, at most the maximum length, special tokens included.
        is_truncated: Whether the text has more.
    """

    ids: list[int]
    is_truncated: bool


class TextTokenizer:
    """Tokenises texts up to a maximum length; safe to use from several threads.

    Args:
        tokenizer: The tokenizer, which cuts texts at `max_length` tokens.
        max_length: Maximum number of tokens, special tokens included.
    """

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length
        self._max_characters = max(CHARACTERS_PER_TOKEN * max_length, _MIN_CHARACTERS)
        self._shorten = _shortener(tokenizer)
        self._proof = FirstTokensProof(tokenizer)

    def tokenize(self, texts: Sequence[str], prompt: str = "") -> list[TokenizedText]:
        """Return the tokens of each text, behind a prompt.

        Raises:
            QueryError: `texts` is one string, or holds something else than texts of Unicode.
        """
        check_list(texts)
        try:
            return self._tokenize(texts, prompt)
        except TypeError:
            check_texts(texts)
            raise

    def _tokenize(self, texts: Sequence[str], prompt: str) -> list[TokenizedText]:
        limit = self._max_characters + len(prompt)
        prompted = [prompt + text[: self._max_characters + 1] for text in texts]
        whole = [number for number, text in enumerate(prompted) if len(text) <= limit]
        tokenized: list[TokenizedText] = [TokenizedText([], False)] * len(texts)
        for number, encoding in zip(whole, self._encode([prompted[number] for number in whole]), strict=True):
            # Only a text that fills the maximum length can have more.
            ids = encoding.ids
            tokenized[number] = TokenizedText(ids, len(ids) >= self._max_length and bool(encoding.overflowing))
        cut = [number for number, text in enumerate(prompted) if len(text) > limit]
        # The fast method does not tell words apart.
        encodings = self._encode([prompted[number] for number in cut], with_words=True)
        for number, encoding in zip(cut, encodings, strict=True):
            exact = encoding if _is_exact(encoding) else self._beginning(texts[number], prompt)[1]
            tokenized[number] = TokenizedText(exact.ids, bool(exact.overflowing))
        return tokenized

    def shorten(self, text: str, prompt: str = "") -> str:
        """Return a text that has the same tokens behind a prompt, and is much shorter if the text is long."""
        return text if len(text) <= self._max_characters else self._beginning(text, prompt)[0]

    def token_ends(self, text: str) -> list[int]:
        """Return where the tokens of a text end, in characters, without special tokens, up to the maximum length."""
        encoding = self._tokenizer.encode(text)
        mask = encoding.special_tokens_mask
        return [end for (_, end), is_special in zip(encoding.offsets, mask, strict=True) if not is_special]

    def _encode(self, texts: list[str], *, with_words: bool = False) -> list[Encoding]:
        if len(texts) <= _MAX_SINGLE_TEXTS:
            return [self._tokenizer.encode(text) for text in texts]
        encode_batch = self._tokenizer.encode_batch if with_words else self._tokenizer.encode_batch_fast
        encodings: list[Encoding] = encode_batch(texts)
        return encodings

    def _beginning(self, text: str, prompt: str) -> tuple[str, Encoding]:
        """Return a beginning of a text that has the same tokens, and these tokens."""
        for number, beginning in enumerate(self._beginnings(text)):
            encoding = self._tokenizer.encode(prompt + beginning)
            if _is_exact(encoding):
                break
            # Of a short text, all tokens take less time than the proof.
            if number and len(beginning) < len(text) and self._proof.holds(prompt + beginning, encoding):
                break
        return beginning, encoding

    def _beginnings(self, text: str) -> Iterator[str]:
        """Yield longer and longer beginnings of a text, and at last the text."""
        n_characters = self._max_characters
        yield text[:n_characters]
        text = self._shorten(text)
        while (n_characters := n_characters * _GROWTH) < len(text):
            yield text[:n_characters]
        yield text


def check_texts(texts: Sequence[str]) -> None:
    """Check that texts are texts of Unicode.

    Raises:
        QueryError: They are not.
    """
    for number, text in enumerate(texts, 1):
        if not isinstance(text, str) or text.strip():  # an empty passage can be encoded
            check_query(text, f"text number {number}")


def _is_exact(encoding: Encoding) -> bool:
    """Return whether the kept tokens of a beginning are those of the whole text."""
    overflowing = encoding.overflowing
    if not overflowing:
        return False
    return _last_word(overflowing[-1]) - _last_word(encoding) >= _MARGIN_WORDS


def _last_word(encoding: Encoding) -> int:
    return max((word for word in encoding.word_ids if word is not None), default=-1)


def _shortener(tokenizer: Tokenizer) -> Callable[[str], str]:
    """Return a function that shortens texts without changing their tokens, where the kind of tokenizer allows it.

    BERT's tokenizer ignores how much white space separates two words, and replaces a word that is too long by one
    token for unknown words. Without this, a file of zeros or of one endless word would have to be tokenised whole.
    """
    model, pre_tokenizer = tokenizer.model, tokenizer.pre_tokenizer
    is_bert = isinstance(model, WordPiece) and isinstance(pre_tokenizer, BertPreTokenizer)
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    if not is_bert or not isinstance(tokenizer.normalizer, BertNormalizer) or any(map(str.isalnum, added)):
        return lambda text: text
    longest = int(model.max_input_chars_per_word)
    long_word = re.compile(f"({_LETTER}{{{longest}}}){_LETTER}+({_LETTER}{{{longest}}})")
    zeros = "\0" if tokenizer.normalizer.clean_text else ""

    def shorten(text: str) -> str:
        if zeros:
            text = text.replace(zeros, "")
        return long_word.sub(r"\1\2", re.sub(r"[ \t\n\r]{2,}", " ", text))

    return shorten
