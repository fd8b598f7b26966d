"""Queue of texts to encode, in which those of several requests become one batch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from elasticdenser.arrays import Vectors
from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.serving.settings import TEXTS_PER_BATCH

_JOINED_CHARACTERS = 1024
"""Characters up to which texts join a batch: 16 questions. For more, a batch takes as long as its texts alone."""


class EncodingMode(NamedTuple):
    """How texts are encoded; only texts of the same mode share a batch.

    Attributes:
        encoder: The encoder.
        subnet: Name of the subnet.
        are_passages: Whether the texts are passages rather than queries.
    """

    encoder: ElasticQueryEncoder
    subnet: str
    are_passages: bool


class EncodedTexts(NamedTuple):
    """Encoded texts.

    Attributes:
        vectors: float32, (n_texts, dim), L2-normalised.
        n_tokens: Number of tokens of each text.
    """

    vectors: Vectors
    n_tokens: list[int]


@dataclass(slots=True, eq=False)
class _Piece:
    """Texts of one request, few enough for a batch."""

    mode: EncodingMode
    texts: Sequence[str]
    result: asyncio.Future[EncodedTexts]


class EncodingQueue:
    """Encodes texts in a pool of threads, first come first served. Only the event loop uses it.

    To hand a text over to a thread and back costs as much as to encode a question, and a batch of questions takes half
    the time of its questions alone.

    Args:
        pool: Computes the batches.
        n_threads: Number of batches that are computed at once.
    """

    def __init__(self, pool: Executor, n_threads: int) -> None:
        self._pool, self._n_free = pool, n_threads
        self._waiting: deque[_Piece] = deque()

    async def encode(self, mode: EncodingMode, texts: Sequence[str]) -> EncodedTexts:
        """Return a few texts encoded, at most `TEXTS_PER_BATCH`."""
        piece = _Piece(mode, texts, asyncio.get_running_loop().create_future())
        self._waiting.append(piece)
        self._start_batches()
        return await piece.result

    def _start_batches(self) -> None:
        while self._n_free and (batch := self._take_batch()):
            texts = [text for piece in batch for text in piece.texts]
            job = asyncio.get_running_loop().run_in_executor(self._pool, _encode, batch[0].mode, texts)
            self._n_free -= 1
            job.add_done_callback(partial(self._finish, batch))

    def _take_batch(self) -> list[_Piece]:
        """Remove and return the pieces of the next batch; none if nothing waits."""
        batch: list[_Piece] = []
        n_texts = n_characters = 0
        while self._waiting:
            piece = self._waiting[0]
            if not piece.result.done():  # else its request has been cancelled
                n_texts += len(piece.texts)
                n_characters += sum(map(len, piece.texts))
                fits = n_texts <= TEXTS_PER_BATCH and n_characters <= _JOINED_CHARACTERS
                if batch and not (fits and piece.mode == batch[0].mode):
                    break
                batch.append(piece)
            self._waiting.popleft()
        return batch

    def _finish(self, batch: list[_Piece], job: asyncio.Future[EncodedTexts]) -> None:
        self._n_free += 1
        start = 0
        for piece in batch:
            own = slice(start, start := start + len(piece.texts))
            if piece.result.done():
                continue
            if job.cancelled():  # the server stops
                piece.result.cancel()
            elif (error := job.exception()) is not None:
                piece.result.set_exception(error)
            else:
                encoded = job.result()
                piece.result.set_result(EncodedTexts(encoded.vectors[own], encoded.n_tokens[own]))
        if not job.cancelled():
            self._start_batches()


def _encode(mode: EncodingMode, texts: list[str]) -> EncodedTexts:
    encode = mode.encoder.encode_passages if mode.are_passages else mode.encoder.encode
    return EncodedTexts(encode(texts, mode.subnet), mode.encoder.count_tokens(texts))
