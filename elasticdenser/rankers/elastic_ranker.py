"""Elastic ranker: scores of passages for a query, from both texts read together, at any subnet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from elasticdenser.arrays import Scores
from elasticdenser.encoders.base import max_batch_tokens
from elasticdenser.encoders.devices import device_type
from elasticdenser.errors import ModelError
from elasticdenser.kernel.paths import has_fast_path
from elasticdenser.models.calibration import Calibration
from elasticdenser.models.settings import INT8
from elasticdenser.rankers.backends import load_ranker_backend
from elasticdenser.rankers.backends.base import RankerBackend
from elasticdenser.rankers.base import Ranker
from elasticdenser.rankers.pairs import PairTokenizer
from elasticdenser.subnet import Subnet


class ElasticRanker(Ranker[list[int]]):
    """Cross-encoder whose subnet is chosen per call; safe to use from several threads.

    Use `from_pretrained`.

    Args:
        folder: Folder of the ranker.
        backend: Computes the scores.
        opener: Opens the same ranker again, also in another process; None if there is no such way.

    Raises:
        ModelError: The tokenizer cannot be used.
    """

    def __init__(self, folder: Path, backend: RankerBackend, opener: Callable[[], ElasticRanker] | None = None) -> None:
        self.folder, self._backend, self._opener = folder, backend, opener
        manifest = backend.manifest
        self._pairs = PairTokenizer(folder, manifest.shape.vocabulary, manifest.settings)
        self._max_batch_tokens = max_batch_tokens(backend.device_type)

    @classmethod
    def from_pretrained(cls, path: str | Path, *, dtype: str = "auto", device: str = "auto") -> Self:
        """Load a ranker that `elasticdenser train` made.

        Args:
            path: Its folder.
            dtype: Arithmetic of the matrix products: `int8` (the kernel in C, on a CPU), `float32`, `bfloat16`,
                `float16` (on a GPU), or `auto`: int8 on a CPU where the kernel was built, else what torch computes
                best.
            device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`, which with `int8` is the CPU.

        Raises:
            ModelError: The files cannot be used, or there is no such dtype or device here.
        """
        folder = Path(path).expanduser().absolute()
        if not folder.is_dir():
            raise ModelError(f"there is no folder {folder}: give one that `elasticdenser train` made from a recipe")
        if dtype == "auto" and device_type(device) != "cuda":
            dtype = INT8 if has_fast_path() else "float32"
        opener = partial(cls.from_pretrained, folder, dtype=dtype, device=device)
        return cls(folder, load_ranker_backend(folder, dtype=dtype, device=device), opener)

    def __reduce__(self) -> tuple[Callable[[], ElasticRanker], tuple[()]]:
        # Pickled by path: the files are read again.
        if self._opener is None:
            raise TypeError(
                "this ElasticRanker cannot be pickled, because it was made of objects that only this process has: load "
                "it with ElasticRanker.from_pretrained(folder)"
            )
        return self._opener, ()

    @property
    def dtype(self) -> str:
        """Arithmetic of the matrix products, such as `float32`."""
        return self._backend.dtype

    @property
    def subnets(self) -> list[Subnet]:
        """All subnets, from large to small."""
        return self._backend.manifest.shape.grid

    @property
    def first_stage_weight(self) -> float:
        """Weight of the first stage's scores, beside those of the ranker, that its manifest recommends."""
        return self._backend.manifest.first_stage_weight

    @property
    def max_length(self) -> int:
        """Maximum number of tokens of a pair, special tokens included; passages are cut."""
        return self._backend.manifest.settings.max_length

    def calibration(self, subnet: str | Subnet | None = None) -> Calibration:
        """Return the calibration of a subnet's scores to probabilities; the identity if the ranker brings none.

        Raises:
            QueryError: The ranker has no such subnet.
        """
        return self._backend.manifest.calibration.get(str(self.resolve_subnet(subnet)), Calibration())

    def tokenized(self, query: str, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of the pairs of a query and passages, which are checked."""
        (query_tokens,) = self._pairs.query_tokens([query])
        return [self._pairs.pair(query_tokens, passage) for passage in self._pairs.passage_tokens(texts)]

    def score_pairs(self, pairs: Sequence[Sequence[int]], subnet: Subnet) -> Scores:
        """Return the scores of pairs, float32, (n_pairs,), finite; see `score`.

        Args:
            pairs: Token ids, as `pairs` returns them.
            subnet: A subnet of the ranker.

        Raises:
            ModelError: Scores are not finite.
        """
        scores = np.empty(len(pairs), np.float32)
        for batch in length_batches([len(pair) for pair in pairs], self._max_batch_tokens):
            scores[batch] = self._backend.forward([pairs[number] for number in batch], subnet)
        if not np.isfinite(scores).all():
            raise ModelError(f"the ranker {self.folder} gives scores that are not finite: train it again")
        return scores


def length_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Return the numbers of sequences in batches of a bounded number of tokens, shortest sequences first."""
    batches: list[list[int]] = []
    n_tokens = max_tokens
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        if n_tokens + lengths[number] > max_tokens:
            batches.append([])
            n_tokens = 0
        batches[-1].append(number)
        n_tokens += lengths[number]
    return batches
