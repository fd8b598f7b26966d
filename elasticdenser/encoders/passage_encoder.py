"""Encoder of passages: many texts by the full encoder, on several cores or a GPU."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, Self
from weakref import finalize

import numpy as np

from elasticdenser.arrays import Vectors
from elasticdenser.cpus import cpu_count
from elasticdenser.encoders.backends import load_backend
from elasticdenser.encoders.backends.base import EncoderBackend
from elasticdenser.encoders.base import BaseEncoder
from elasticdenser.encoders.recycling import RecyclingSettings
from elasticdenser.errors import ElasticDenserError
from elasticdenser.models.activation_cache import ActivationCache
from elasticdenser.models.locate import DEFAULT_MODEL, ModelLocation, find_model
from elasticdenser.models.manifest import misfit_of
from elasticdenser.models.settings import EncoderSettings, read_settings
from elasticdenser.models.space import check_no_student

logger = logging.getLogger(__name__)

# Windows in memory at a time: one whose vectors are being returned, one being encoded, one being read and tokenised.
_MAX_WINDOWS = 3


class PassageEncoder(BaseEncoder):
    """Full encoder, for passages; safe to use from several threads.

    Args:
        location: Location of its files, as `find_model` returns it.
        settings: How texts become vectors.
        dtype: Arithmetic of the matrix products: `float32`, `bfloat16`, `float16` (on a GPU), `int8` (on a CPU), or
            `auto`: half precision on a GPU, bfloat16 on a CPU that has it in hardware, else float32; without torch,
            int8. The kernel in C computes `int8`, and where torch is not installed `float32`. An encoder that is no
            BERT has no `int8`, and its `auto` on a CPU is float32.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`.
        recycling: First layers whose states are cached on disk, so that passages are encoded sooner when only later
            layers have changed; None caches nothing.

    Attributes:
        activations: The cache of these states. Those of many calls of `encode` share a file, which is written when it
            is large enough, when the encoder is deleted, at the end of the process, or by `activations.flush()`.

    Raises:
        ModelError: The files cannot be used, or there is no such dtype or device here.
        BadInputError: The cache holds states of another model.
    """

    def __init__(
        self,
        location: ModelLocation,
        settings: EncoderSettings,
        *,
        dtype: str = "auto",
        device: str = "auto",
        recycling: RecyclingSettings | None = None,
    ) -> None:
        check_no_student(location.path, location.name)
        self.activations: ActivationCache | None = None
        backend: EncoderBackend
        if recycling is None:
            backend = load_backend(location, settings, dtype=dtype, device=device, trained_subnets=False)
        else:
            from elasticdenser.encoders.backends.recycling import RecyclingBackend  # imports torch

            backend = RecyclingBackend.recycle(location, settings, recycling, dtype=dtype, device=device)
            self.activations = backend.cache
            finalize(self, _write_rest, self.activations)
        super().__init__(location, settings, backend)
        if misfit := misfit_of(location.path, settings.pooling):
            logger.warning(
                "the trained subnets of %s do not fit these passages (%s): their queries are encoded by the full "
                "encoder alone; use the pooling of the subnets, or train others with `elasticdenser train`",
                location.name,
                misfit,
            )

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_MODEL,
        *,
        dtype: str = "auto",
        device: str = "auto",
        download: bool = True,
        trust_remote_code: bool = False,
        recycling: RecyclingSettings | None = None,
        **overrides: Any,
    ) -> Self:
        """Load the encoder `name`: a folder, or a model id found in the hub's cache, a package or on the hub.

        Args:
            name: Folder or model id.
            dtype: See the class.
            device: See the class.
            download: Whether the model may be fetched from the hub.
            trust_remote_code: Whether code that the model brings may be executed.
            recycling: See the class.
            overrides: `max_length`, `dim`, `similarity`, `query_prompt`, `passage_prompt`, `pooling`, ... to use
                instead of the model's own; see `read_settings`.

        Raises:
            ModelError: The model is not found or not supported.
        """
        location = find_model(name, download=download, trust_remote_code=trust_remote_code)
        settings = read_settings(location.path, **overrides)
        return cls(location, settings, dtype=dtype, device=device, recycling=recycling)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode passages in the calling thread.

        A passage's vector is the same alone and in any batch: with `int8` to the bit, else within the bounds in
        `elasticdenser.encoders.backends`.

        Args:
            texts: Passages: title, space, text (`Passage.content`).

        Returns:
            float32, (n_texts, dim), L2-normalised if the encoder's settings say so.
        """
        return self._compute_vectors(texts, self.settings.passage_prompt, self._backend.full_subnet)

    def encode_windows(
        self,
        windows: Iterable[Sequence[str]],
        *,
        workers: int | None = None,
        report_truncated: Callable[[int], None] | None = None,
    ) -> Iterator[Vectors]:
        """Encode windows of passages on several cores, yielding their vectors in order.

        Within a window passages are sorted by length. The next window is read and tokenised while this one is
        encoded; at most three are in memory at a time.

        Args:
            windows: Windows of some thousand passages each.
            workers: Threads that encode, one core each; by default as many as there are usable CPUs.
            report_truncated: Called for each window, just before its vectors are yielded, with the number of its
                passages that are longer than the encoder's maximum length, and were cut there.

        Yields:
            For each window: float32, (n_texts, dim), normalised like those of `encode`.
        """
        n_workers = (workers or cpu_count()) if self._backend.device_type == "cpu" else 1
        encoding = ThreadPoolExecutor(n_workers, thread_name_prefix="encode")
        tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        started: deque[Future[_Window]] = deque()

        def finish_first() -> Vectors:
            window = started.popleft().result()
            vectors = self._finish_window(window)
            if report_truncated is not None:
                report_truncated(window.n_truncated)
            return vectors

        with self._backend.one_thread_per_call():
            try:
                for texts in windows:
                    started.append(tokenizing.submit(self._start_window, texts, encoding))
                    if len(started) == _MAX_WINDOWS:
                        yield finish_first()
                while started:
                    yield finish_first()
            finally:
                tokenizing.shutdown(cancel_futures=True)
                encoding.shutdown(cancel_futures=True)
                if self.activations is not None:
                    self.activations.flush()

    def _start_window(self, texts: Sequence[str], pool: ThreadPoolExecutor) -> _Window:
        tokenized = self._tokenizer.tokenize(texts, self.settings.passage_prompt)
        sequences = [text.ids for text in tokenized]
        batches = list(self._batches(sequences))
        forward, subnet = self._backend.forward, self._backend.full_subnet
        # Longest first, so that the last batch to finish is a short one and no thread waits long for it.
        started = [
            (batch, pool.submit(forward, [sequences[position] for position in batch], subnet))
            for batch in reversed(batches)
        ]
        return _Window(started, sum(text.is_truncated for text in tokenized))

    def _finish_window(self, window: _Window) -> Vectors:
        vectors = np.empty((sum(len(batch) for batch, _ in window.batches), self.dim), np.float32)
        for batch, encoded in window.batches:
            vectors[batch] = self.cut(encoded.result(), self.dim)
        return vectors


def _write_rest(cache: ActivationCache) -> None:
    """Write the states that are not on the disk yet, where nobody is left to be told of an error."""
    try:
        cache.flush()
    except ElasticDenserError as error:
        logger.warning("states of recycled layers were not written: %s", error)


class _Window(NamedTuple):
    """Window that is being encoded.

    Attributes:
        batches: For each batch, the positions of its passages in the window, and the future of their vectors.
        n_truncated: Passages that are longer than the encoder's maximum length.
    """

    batches: list[tuple[list[int], Future[Vectors]]]
    n_truncated: int
