"""Cutting of documents into chunks that the encoder reads to their end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple, Protocol

from elasticdenser.datasets import Passage
from elasticdenser.datasets.sentences import sentence_spans
from elasticdenser.errors import BadInputError
from elasticdenser.index.chunking import Chunking, chunk_id
from elasticdenser.index.windows import in_windows
from elasticdenser.models.settings import EncoderSettings

_MIN_TEXT_TOKENS = 8
"""Tokens of text that a chunk must have room for, beside the prompt and special tokens."""
_CHARACTERS_PER_TOKEN = 10
"""Longer pieces of a sentence are not tokenised at once."""
_DOCUMENTS, _SENTENCES = 256, 1024
"""Documents and sentences whose tokens are counted together."""


class TokenCounter(Protocol):
    """The part of an encoder that chunking needs; see `BaseEncoder`."""

    settings: EncoderSettings

    def count_tokens(self, texts: list[str], /) -> list[int]:
        """Return the number of tokens of each text after truncation, special tokens included."""

    def token_ends(self, text: str, /) -> list[int]:
        """Return where the tokens of a text end, in characters, without special tokens."""


class _Sentence(NamedTuple):
    start: int
    end: int
    n_tokens: int


class Chunker:
    """Cuts documents into chunks for one encoder.

    Args:
        chunking: Length of the chunks.
        encoder: Counts tokens.

    Raises:
        BadInputError: The chunks are longer than the encoder's maximum length, or too short.
    """

    def __init__(self, chunking: Chunking, encoder: TokenCounter) -> None:
        self._chunking, self._encoder = chunking, encoder
        self._n_special, n_prompt = encoder.count_tokens(["", encoder.settings.passage_prompt])
        self._max_length = encoder.settings.max_length
        minimum = n_prompt + _MIN_TEXT_TOKENS
        if not minimum <= chunking.tokens <= self._max_length:
            raise BadInputError(
                f"got chunks of {chunking.tokens} tokens, expected {minimum} (prompt and special tokens, and "
                f"{_MIN_TEXT_TOKENS} of text) to {self._max_length} (the most that this encoder reads): "
                f"use --chunk {max(minimum, min(chunking.tokens, self._max_length))}"
            )
        if chunking.overlap >= chunking.tokens:
            raise BadInputError(f"got chunks of {chunking.tokens} tokens that repeat {chunking.overlap}: repeat fewer")
        self._room = chunking.tokens - n_prompt

    def chunks(self, documents: Iterator[Passage]) -> Iterator[Passage]:
        """Yield the chunks of each document in turn; each has the title and the metadata of its document.

        A document that fits into one chunk is one. A title that would take more than half of a chunk becomes the
        beginning of the text instead of being repeated.
        """
        for window in in_windows(documents, _DOCUMENTS):
            contents = [document.content for document in window]
            for document, n_tokens in zip(window, self._encoder.count_tokens(contents), strict=True):
                if n_tokens < self._max_length and n_tokens - self._n_special <= self._room:
                    yield replace(document, doc_id=chunk_id(document.doc_id, 0))
                else:
                    yield from self._cut(document)

    def _cut(self, document: Passage) -> Iterator[Passage]:
        title, text = document.title, document.text
        room = self._room - self._n_text_tokens([title])[0]
        if 2 * room < self._room:
            title, text, room = "", f"{title}\n\n{text}".strip(), self._room
        for number, (start, end) in enumerate(self._spans(text, room)):
            chunk = text[start:end].strip()
            yield replace(document, doc_id=chunk_id(document.doc_id, number), text=chunk, title=title)

    def _spans(self, text: str, room: int) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of each chunk of a text, in characters.

        Args:
            text: The text.
            room: Tokens that fit into a chunk.
        """
        sentences: list[_Sentence] = []
        n_tokens = 0
        for sentence in self._sentences(text, room):
            if sentences and n_tokens + sentence.n_tokens > room:
                yield sentences[0].start, sentences[-1].end
                most = min(self._chunking.overlap, room - sentence.n_tokens)
                while sentences and n_tokens > most:
                    n_tokens -= sentences.pop(0).n_tokens
            sentences.append(sentence)
            n_tokens += sentence.n_tokens
        if sentences:
            yield sentences[0].start, sentences[-1].end

    def _sentences(self, text: str, room: int) -> Iterator[_Sentence]:
        """Yield the sentences of a text, the long ones in pieces of at most `room` tokens; none without a token."""
        max_characters = _CHARACTERS_PER_TOKEN * room
        spans = sentence_spans(text)
        while group := list(islice(spans, _SENTENCES)):
            short = [(start, end) for start, end in group if end - start <= max_characters]
            counts = dict(zip(short, self._n_text_tokens([text[start:end] for start, end in short]), strict=True))
            for start, end in group:
                n_tokens = counts.get((start, end), room + 1)
                # A sentence that fills the encoder's maximum length may have more tokens.
                if n_tokens <= room and n_tokens < self._max_length - self._n_special:
                    pieces = iter([_Sentence(start, end, n_tokens)])
                else:
                    pieces = self._pieces(text, start, end, room)
                yield from (piece for piece in pieces if piece.n_tokens)

    def _pieces(self, text: str, start: int, end: int, room: int) -> Iterator[_Sentence]:
        """Yield a sentence in pieces of at most `room` tokens, cut at white space where there is some."""
        while start < end:
            piece = text[start : min(end, start + _CHARACTERS_PER_TOKEN * room)]
            ends = self._encoder.token_ends(piece)
            # Tokens beyond the encoder's maximum length have no ends.
            if len(ends) > room or (len(ends) == room and ends[-1] < len(piece.rstrip())):
                piece = _until_white_space(piece[: max(1, ends[room - 1])])
            elif start + len(piece) < end:
                piece = _until_white_space(piece)
            n_tokens = sum(token_end <= len(piece) for token_end in ends)
            yield _Sentence(start, start + len(piece), min(n_tokens, room))
            start += len(piece)

    def _n_text_tokens(self, texts: list[str]) -> list[int]:
        return [n_tokens - self._n_special for n_tokens in self._encoder.count_tokens(texts)]


def _until_white_space(piece: str) -> str:
    """Cut a piece after the last white space in its second half, if there is any."""
    for position in range(len(piece), len(piece) // 2, -1):
        if piece[position - 1].isspace():
            return piece[:position]
    return piece
