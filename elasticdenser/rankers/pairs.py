"""Tokens of a query and a passage, as one sequence, such as [CLS] query [SEP] passage [SEP], or apart.

In pairs, ids of the second token type are raised by the size of the vocabulary. Checkpoints of RoBERTa have only one
type; theirs stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from elasticdenser.encoders.tokenizing import TextTokenizer
from elasticdenser.errors import ModelError
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.models.lengths import max_positions
from elasticdenser.models.model_files import read_config, transformer_folder
from elasticdenser.models.ranker_manifest import PairSettings
from elasticdenser.models.settings import read_settings
from elasticdenser.models.tokenizer import load_tokenizer
from elasticdenser.rankers.word_tokens import WordTokenizer, joins_no_words


class PairTokenizer:
    """Tokenises queries and passages apart, and joins their tokens; safe to use from several threads.

    The tokens of a pair are those that the tokenizer itself gives for it. Apart, a query is tokenised once for all its
    candidates, and a passage once for all queries.

    Args:
        folder: Folder of the tokenizer.
        vocabulary: Number of tokens of the model.
        settings: Lengths of pairs.

    Raises:
        ModelError: The tokenizer cannot be used, or leaves no space for a passage.
    """

    def __init__(self, folder: Path, vocabulary: int, settings: PairSettings) -> None:
        self.settings = settings
        example = load_tokenizer(folder, settings.max_length).encode("a", "a")
        parts = example.sequence_ids
        if 0 not in parts or 1 not in parts:
            raise ModelError(f"{folder}: its tokenizer does not join two texts: choose another encoder")
        ids = [id_ + vocabulary * (type_id > 0) for id_, type_id in zip(example.ids, example.type_ids, strict=True)]
        first_end, second = _end(parts, 0), parts.index(1)
        self._before, self._between = ids[: parts.index(0)], ids[first_end:second]
        self._after = ids[_end(parts, 1) :]
        self._offset = vocabulary * (example.type_ids[second] > 0)
        n_special = len(self._before) + len(self._between) + len(self._after)
        self._n_free = settings.max_length - n_special
        if self._n_free - settings.max_query_length < 1:
            raise ModelError(
                f"got pairs of {settings.max_length} tokens, {n_special} of them special, with queries of up to "
                f"{settings.max_query_length}, expected space for a passage: raise max_length, or lower "
                "max_query_length"
            )
        self._queries = PlainTokenizer(folder, settings.max_query_length)
        self._passages = PlainTokenizer(folder, self._n_free)

    def query_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of queries, without special tokens, at most `max_query_length`."""
        return self._queries.tokens(texts)

    def passage_tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of passages, without special tokens, as many as fit beside the shortest query."""
        return self._passages.tokens(texts)

    @property
    def max_passage_tokens(self) -> int:
        """Largest number of tokens that `passage_tokens` returns."""
        return self._n_free

    def pair(self, query: Sequence[int], passage: Sequence[int]) -> list[int]:
        """Return the token ids of a pair; the passage is cut to the maximum length of pairs."""
        n_passage = self._n_free - len(query)
        second = [token + self._offset for token in passage[:n_passage]]
        return [*self._before, *query, *self._between, *second, *self._after]


class SeparateTokenizer:
    """Tokenises queries and passages as sequences of their own; safe to use from several threads.

    Attributes:
        passages_key: Hash of all that the tokens of a passage depend on beside its text.

    Args:
        folder: Folder of the encoder.
        max_length: Maximum number of tokens of a passage, special tokens included.
        max_query_length: Maximum number of tokens of a query, special tokens included.

    Raises:
        ModelError: The tokenizer cannot be used, or the encoder does not read so many tokens.
    """

    def __init__(self, folder: Path, max_length: int, max_query_length: int) -> None:
        settings, tokenizers = read_settings(folder), transformer_folder(folder)
        n_special = sum(map(len, _special_tokens(load_tokenizer(tokenizers, 16))))
        if max(max_length, max_query_length) > (n_positions := max_positions(read_config(folder))):
            raise ModelError(
                f"got max_length = {max_length} and max_query_length = {max_query_length}, expected at most "
                f"{n_positions}, the positions of {folder}: lower them"
            )
        self._query_prompt, self._passage_prompt = settings.query_prompt, settings.passage_prompt
        depends_on = [settings.passage_prompt, max_length, load_tokenizer(tokenizers, max_length).to_str()]
        self.passages_key = fingerprint_of(depends_on)
        self._queries = PlainTokenizer(tokenizers, max_query_length - n_special)
        self._passages = PlainTokenizer(tokenizers, max_length - n_special)

    def queries(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of queries, behind the encoder's prompt, with special tokens."""
        return self._queries.with_special([self._query_prompt + text for text in texts])

    def passages(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of passages, behind the encoder's prompt, with special tokens."""
        return self._passages.with_special([self._passage_prompt + text for text in texts])


class PlainTokenizer:
    """Tokenises texts without special tokens, up to a number of tokens; safe to use from several threads.

    Attributes:
        before: Special tokens before a text.
        after: Special tokens behind it.

    Args:
        folder: Folder of the tokenizer.
        max_tokens: Maximum number of tokens of a text.

    Raises:
        ModelError: The tokenizer cannot be used.
    """

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self.before, self.after = _special_tokens(load_tokenizer(folder, 16))
        self._max_tokens = max_tokens
        max_length = max_tokens + len(self.before) + len(self.after)
        tokenizer = load_tokenizer(folder, max_length)
        self._tokenizer = TextTokenizer(tokenizer, max_length)
        self._words = WordTokenizer(tokenizer) if joins_no_words(tokenizer) else None

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text."""
        by_words = [None if self._words is None else self._words.tokens(text, self._max_tokens) for text in texts]
        whole = [text for text, tokens in zip(texts, by_words, strict=True) if tokens is None]
        tokenized = iter(self._tokenizer.tokenize(whole))
        return [self._without_special(next(tokenized).ids) if tokens is None else tokens for tokens in by_words]

    def with_special(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the tokens of each text, with special tokens."""
        return [[*self.before, *tokens, *self.after] for tokens in self.tokens(texts)]

    def _without_special(self, ids: list[int]) -> list[int]:
        return ids[len(self.before) : len(ids) - len(self.after)]


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """Return the special tokens before and behind a text."""
    example = tokenizer.encode("a")
    is_special = example.special_tokens_mask
    n_after = is_special[::-1].index(0)
    return example.ids[: is_special.index(0)], example.ids[len(example.ids) - n_after :]


def _end(parts: Sequence[int | None], part: int) -> int:
    """Return the position behind the last token of a part."""
    return len(parts) - parts[::-1].index(part)
