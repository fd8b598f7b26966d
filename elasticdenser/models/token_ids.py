"""Token ids of a model's own tokenizer, turned back into the text that they stand for."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders

from elasticdenser.errors import QueryError

_MAX_WORD_TOKENS = 128
"""Tokens that are read beyond the limit of the encoder, so that no word within the limit is cut."""


class TokenIdReader:
    """Reads token ids as the text that the tokenizer would turn into exactly these ids.

    Ids of another tokenizer are not read as some other text, if `are_marked`: they lack the special tokens of this one,
    or its tokenizer would never produce them.

    Args:
        tokenizer: The tokenizer, as `load_tokenizer` returns it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        example = tokenizer.encode("a")
        is_special = example.special_tokens_mask
        n_before = is_special.index(0) if 0 in is_special else len(is_special)
        n_after = is_special[::-1].index(0) if 0 in is_special else 0
        self._before, self._after = example.ids[:n_before], example.ids[len(example.ids) - n_after :]
        decoder = tokenizer.decoder
        if isinstance(decoder, decoders.WordPiece):
            # The clean-up of WordPiece turns "do not" into "don't", which has other tokens.
            decoder = decoders.WordPiece(prefix=decoder.prefix, cleanup=False)
        self._decoder = decoder

    @property
    def are_marked(self) -> bool:
        """Whether the tokenizer puts special tokens both before and after a text.

        Without them, ids of another tokenizer may be those of some other text here.
        """
        return bool(self._before and self._after)

    def text_of(self, token_ids: Sequence[int]) -> str:
        """Return the text of token ids; ids beyond the limit of the encoder may be left out.

        Args:
            token_ids: Ids with the special tokens that the tokenizer adds.

        Raises:
            QueryError: The tokenizer does not produce these ids for any text.
        """
        ids, before, after = list(token_ids), self._before, self._after
        content = ids[len(before) : len(ids) - len(after)]
        if not content or before + content + after != ids:
            raise QueryError(
                f"got {_quoted(ids)}; expected ids of this model's tokenizer with its special tokens: "
                f"{_joined(before)}, the ids of the text, {_joined(after)}"
                if before or after
                else "got no token ids; expected at least one"
            )
        limit = self._tokenizer.truncation["max_length"] if self._tokenizer.truncation else len(ids)
        tokens = [self._token(token_id) for token_id in content[: limit + _MAX_WORD_TOKENS]]
        text: str = " ".join(tokens) if self._decoder is None else self._decoder.decode(tokens)
        produced = self._tokenizer.encode(text).ids
        expected = before + content[: limit - len(before) - len(after)] + after
        if produced != expected:
            raise QueryError(
                f"got {_quoted(ids)}; expected ids as this model's tokenizer produces them, which for the same text "
                f"({text[:40]!a}) are {_quoted(produced)}"
            )
        return text

    def _token(self, token_id: int) -> str:
        size = self._tokenizer.get_vocab_size()
        token: str | None = self._tokenizer.id_to_token(token_id) if 0 <= token_id < 1 << 32 else None
        if token is None:
            raise QueryError(f"got the token id {token_id}; expected ids of this model's tokenizer, 0 to {size - 1}")
        return token


def _quoted(ids: Sequence[int]) -> str:
    shown = ", ".join(map(str, ids[:8]))
    return f"the token ids [{shown}{', ...' if len(ids) > 8 else ''}]"


def _joined(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids)) or "nothing"
