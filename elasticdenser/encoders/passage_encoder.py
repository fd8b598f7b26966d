"""The encoder of passages: many texts at full width, on several cores or a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.cpus import cpu_count
from elasticdenser.encoders.backends.base import load_backend
from elasticdenser.encoders.base import SentenceEncoder
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.settings import EncoderSettings


class PassageEncoder(SentenceEncoder):
    """The full-width encoder for passages.

    Args:
        found: As for `SentenceEncoder`.
        settings: As for `SentenceEncoder`.
        dtype: Arithmetic of the matrix products: `float32`, `bfloat16`, `float16` (on a GPU), `int8` (our own kernel,
            on a CPU, without torch), or `auto`: half precision on a GPU, bfloat16 on a CPU that has it in hardware,
            else float32.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`.

    Raises:
        ModelError: The files cannot be used, or dtype or device do not exist here.
    """

    def __init__(
        self, found: ModelLocation, settings: EncoderSettings, *, dtype: str = "auto", device: str = "auto"
    ) -> None:
        super().__init__(found, settings, load_backend(found, settings, dtype, device, smaller=False))

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode passages in the calling thread.

        Args:
            texts: What is encoded: title, space, text (`Passage.content`).

        Returns:
            float32, (n_texts, dim), L2-normalised if the encoder's settings say so.
        """
        return self._encode(texts, self.settings.passage_prompt)

    def encode_windows(self, windows: Iterable[Sequence[str]], *, workers: int | None = None) -> Iterator[Vectors]:
        """Encode windows of passages on several cores, yielding their vectors in order.

        Within a window passages are sorted by length. The next window is read and tokenised while this one is
        encoded; at most three are held at a time.

        Args:
            windows: Passages in the order wanted, some thousands at a time.
            workers: Threads that encode, one core each; by default as many as there are usable CPUs.

        Yields:
            For each window: float32, (n_texts, dim), normalised like those of `encode`.
        """
        n_workers = (workers or cpu_count()) if self._backend.device_type == "cpu" else 1
        encoding = ThreadPoolExecutor(n_workers, thread_name_prefix="encode")
        tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        waiting: deque[Future[_Window]] = deque()
        with self._backend.one_core_a_call():
            try:
                for texts in windows:
                    waiting.append(tokenizing.submit(self._start_window, texts, encoding))
                    if len(waiting) > 2:
                        yield self._finish_window(waiting.popleft().result())
                while waiting:
                    yield self._finish_window(waiting.popleft().result())
            finally:
                tokenizing.shutdown(cancel_futures=True)
                encoding.shutdown(cancel_futures=True)

    def _start_window(self, texts: Sequence[str], pool: ThreadPoolExecutor) -> _Window:
        sequences = self._tokenize(texts, self.settings.passage_prompt)
        batches = list(self._batches(sequences))
        # Longest first: the last batch to finish is then a short one.
        return [
            (batch, pool.submit(self._encode_batch, [sequences[at] for at in batch])) for batch in reversed(batches)
        ]

    def _finish_window(self, window: _Window) -> Vectors:
        vectors = np.empty((sum(len(batch) for batch, _ in window), self.dim), np.float32)
        for batch, encoded in window:
            vectors[batch] = encoded.result()
        return vectors


_Window = list[tuple[list[int], Future[Vectors]]]
