"""Encoders: texts to vectors. Passages in bulk at full width, queries at any size of the elastic encoder."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from elasticdenser.cpus import cpu_count
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models.bert import Bert
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.levels import Levels
from elasticdenser.models.locate import DEFAULT_ELASTIC, DEFAULT_MODEL, FoundModel, find_model, is_elastic
from elasticdenser.models.settings import EncoderFingerprint, EncoderSettings, read_settings, transformer_folder
from elasticdenser.models.tokenizer import load_tokenizer
from elasticdenser.queries import check_query
from elasticdenser.subnet import Subnet

Vectors = NDArray[np.float32]

# A batch whose activations fit the second-level cache of a core is the fastest there; a GPU wants it large.
_TOKENS_A_BATCH = {"cpu": 1024, "cuda": 65536}


class SentenceEncoder:
    """A BERT-type sentence encoder in the layout of sentence-transformers; safe to use from several threads.

    Args:
        found: Where its files are, as `find_model` says.
        settings: How texts become vectors.
        dtype: Arithmetic of the matrix products: `float32`, `bfloat16`, `float16`, or `auto`: half precision on
            a GPU, bfloat16 on a CPU that has it in hardware, else float32.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`.

    Raises:
        ModelError: The files cannot be used, or dtype or device do not exist here.
    """

    def __init__(
        self, found: FoundModel, settings: EncoderSettings, *, dtype: str = "auto", device: str = "auto"
    ) -> None:
        self.found, self.settings = found, settings
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self._tokenizer = load_tokenizer(transformer_folder(found.path), settings.max_length)
        self._bert = Bert.load(found.path, self.dtype, self.device)

    @classmethod
    def from_pretrained(
        cls,
        name: str = DEFAULT_MODEL,
        *,
        dtype: str = "auto",
        device: str = "auto",
        download: bool = True,
        **overrides: Any,
    ) -> Self:
        """Load the encoder `name`: a folder, or an id found in the hub's cache, a package or on the hub.

        Args:
            name: Folder or model id.
            dtype: See the class.
            device: See the class.
            download: Whether the hub may be asked.
            overrides: `max_length`, `query_prompt`, `passage_prompt`, ... to use instead of the model's own.

        Raises:
            ModelError: It is not found, or of a kind that is not supported.
        """
        found = find_model(name, download=download)
        return cls(found, read_settings(found.path, **overrides), dtype=dtype, device=device)

    @property
    def fingerprint(self) -> EncoderFingerprint:
        """What an index must have been made with to be searched with this encoder."""
        return EncoderFingerprint(
            name=self.found.name,
            weights_sha256=self.found.sha256,
            settings=self.settings,
            dtype=str(self.dtype).removeprefix("torch."),
        )

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return self.settings.dim

    def _tokenize(self, texts: Sequence[str], prompt: str) -> list[list[int]]:
        if isinstance(texts, str):
            raise QueryError("got one string; expected a list of texts, such as [text]")
        prompted = [prompt + text for text in texts] if prompt else list(texts)
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(prompted)]

    def _encode_batch(self, sequences: Sequence[Sequence[int]], subnet: Subnet | None = None) -> Vectors:
        """Encode sequences of token ids; `subnet` is one of the elastic encoder's, None the full size."""
        vectors = self._compute(sequences, subnet)
        if self.settings.normalize:
            vectors = F.normalize(vectors, dim=-1)
        return vectors.numpy()

    def _compute(self, sequences: Sequence[Sequence[int]], subnet: Subnet | None) -> Tensor:
        return self._bert.encode(sequences, self.settings.pooling)

    def _batches(self, sequences: Sequence[Sequence[int]]) -> Iterator[list[int]]:
        """Yield positions, shortest sequences first, in batches of a bounded number of tokens."""
        budget = _TOKENS_A_BATCH.get(self.device.type, _TOKENS_A_BATCH["cuda"])
        batch: list[int] = []
        tokens = 0
        for position in sorted(range(len(sequences)), key=lambda at: len(sequences[at])):
            length = len(sequences[position])
            if batch and tokens + length > budget:
                yield batch
                batch, tokens = [], 0
            batch.append(position)
            tokens += length
        if batch:
            yield batch

    def _encode(self, texts: Sequence[str], prompt: str, subnet: Subnet | None = None) -> Vectors:
        sequences = self._tokenize(texts, prompt)
        vectors = np.empty((len(texts), self.dim), np.float32)
        for batch in self._batches(sequences):
            vectors[batch] = self._encode_batch([sequences[at] for at in batch], subnet)
        return vectors


class PassageEncoder(SentenceEncoder):
    """The full-width encoder for passages."""

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
        n_workers = (workers or cpu_count()) if self.device.type == "cpu" else 1
        encoding = ThreadPoolExecutor(n_workers, thread_name_prefix="encode")
        tokenizing = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
        waiting: deque[Future[_Window]] = deque()
        with _one_torch_thread():
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


class ElasticQueryEncoder(SentenceEncoder):
    """The query side: one model whose size is chosen per call. Every size answers in the full encoder's space.

    It computes on as many threads as torch is set to in the calling process. On a busy machine one a query is
    fastest by far (`torch.set_num_threads(1)`, as the command line does): more of them only wait for each other.

    Args:
        found: As for `SentenceEncoder`; a folder without trained sizes gives an encoder of the full size alone.
        settings: As for `SentenceEncoder`.
        dtype: As for `SentenceEncoder`.
        device: As for `SentenceEncoder`.

    Raises:
        ModelError: As for `SentenceEncoder`.
    """

    def __init__(
        self, found: FoundModel, settings: EncoderSettings, *, dtype: str = "float32", device: str = "auto"
    ) -> None:
        super().__init__(found, settings, dtype=dtype, device=device)
        if is_elastic(found.path):
            trained = load_elastic(found.path)
            self._levels = Levels(self._bert, trained.model)
        else:
            self._levels = Levels(self._bert)

    @classmethod
    def from_pretrained(
        cls,
        name: str = DEFAULT_ELASTIC,
        *,
        dtype: str = "float32",
        device: str = "auto",
        download: bool = True,
        **overrides: Any,
    ) -> Self:
        """Load the encoder `name`; see `SentenceEncoder.from_pretrained`. Queries are encoded in float32."""
        return super().from_pretrained(name, dtype=dtype, device=device, download=download, **overrides)

    @property
    def full_size(self) -> Subnet:
        """The size whose vectors are those of the full encoder."""
        return self._levels.full_size

    @property
    def sizes(self) -> list[Subnet]:
        """All sizes, from the full one down to `level0`, if there is one."""
        return list(self._levels.sizes)

    def choose(self, subnet: str | Subnet | None) -> Subnet:
        """Return the size that `subnet` names; None is the full size.

        Raises:
            QueryError: The encoder has no such size.
        """
        wanted = self.full_size if subnet is None else Subnet.parse(subnet)
        if wanted not in self.sizes:
            raise QueryError(f"got subnet {wanted}; this encoder has the sizes: {', '.join(map(str, self.sizes))}")
        return wanted

    def _compute(self, sequences: Sequence[Sequence[int]], subnet: Subnet | None) -> Tensor:
        return self._levels.encode(sequences, self.settings.pooling, subnet or self.full_size)

    def encode(self, queries: Sequence[str], subnet: str | Subnet | None = None) -> Vectors:
        """Encode queries in the calling thread.

        A query's vector is the same, to the bit, alone and among others.

        Args:
            queries: The queries; each must hold more than white space.
            subnet: The size of the encoder, such as `w0.5-d3` or `level0`; None is the full size.

        Returns:
            float32, (n_queries, dim), L2-normalised if the encoder's settings say so.

        Raises:
            QueryError: A query is empty, or the encoder has no such size.
        """
        size = self.choose(subnet)
        if not isinstance(queries, str):
            for number, query in enumerate(queries, 1):
                check_query(query, f"query number {number}")
        return self._encode(queries, self.settings.query_prompt, size)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Let every worker compute on its own core alone, and put the caller's setting back afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resolve_device(device: str) -> torch.device:
    """Return the device that a name means: `cpu`, `cuda`, `cuda:N`, or `auto`, a GPU where there is one.

    Raises:
        ModelError: There is no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ModelError(f"got device {device!r}; expected auto, cpu, cuda or cuda:N") from None
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"got device {device!r}, but torch sees no GPU here: use --device cpu")
    return resolved


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return the arithmetic that a name means on a device; see `SentenceEncoder`.

    Raises:
        ModelError: The device does not have it.
    """
    if dtype == "auto":
        if device.type != "cpu":
            return torch.float16
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
        return torch.bfloat16 if native else torch.float32
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if dtype not in known or (dtype == "float16" and device.type == "cpu"):
        raise ModelError(f"got dtype {dtype!r} on {device.type}; expected auto, float32, bfloat16, or float16 on a GPU")
    return known[dtype]
