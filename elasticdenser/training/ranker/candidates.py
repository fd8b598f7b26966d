"""Pools of candidates: the passages that each query is trained with, cached on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.fingerprint import fingerprint_of
from elasticdenser.index import PassageIndex
from elasticdenser.progress import Progress, silent
from elasticdenser.retrieval.bm25 import Bm25Index
from elasticdenser.training.ranker.queries import RankerQueries
from elasticdenser.training.ranker.settings import ListSettings
from elasticdenser.training.row_cache import cached_rows
from elasticdenser.training.targets import encoder_identity

CandidatePools = NDArray[np.int32]
"""int32, (n_queries, n): positions of passages in the index, none twice in a row, and -1 for no candidate."""

_CHUNK_QUERIES = 1024
"""Queries whose candidates are searched and saved together."""

_RANDOM = 20
"""Purpose of the random numbers; others are in `data.py` of the encoder's training."""


def make_pools(
    queries: RankerQueries,
    index: PassageIndex,
    encoder: ElasticQueryEncoder,
    bm25: Bm25Index | None,
    settings: ListSettings,
    *,
    seed: int,
    folder: Path,
    progress: Progress = silent,
) -> CandidatePools:
    """Find the candidates of every query, or read what an earlier call cached for the same input.

    Args:
        queries: The queries.
        index: The passages.
        encoder: The encoder of the index.
        bm25: The same passages, for `n_bm25`.
        settings: Numbers of candidates by their source.
        seed: Seed of those that are drawn.
        folder: Folder of the cache.
        progress: Called with (activity, done, total).

    Raises:
        BuildError: Another process makes them, or a file is damaged or cannot be written.
    """
    counts = (settings.n_judged, settings.n_run, settings.n_hard, settings.n_bm25, settings.n_random)
    # Columns that no query fills are left out, so that files stay small.
    n_judged = min(settings.n_judged, max(map(len, queries.judgements.values()), default=0))
    n_run = min(settings.n_run, max(map(len, queries.hits.values()), default=0))
    sizes = (n_judged, n_run, *counts[2:])
    identity = {
        "queries_sha256": queries.sha256(),
        "vectors_sha256": index.manifest.vectors_sha256,
        "encoder": encoder_identity(encoder),
        "lists": asdict(settings),
        "bm25": bm25 is not None,
        "seed": seed,
    }

    def compute(rows: slice) -> CandidatePools:
        numbers = range(*rows.indices(len(queries)))
        texts = [queries.texts[number] for number in numbers]
        near: Sequence[Sequence[int]] = [[]] * len(texts)
        if settings.n_hard:
            near = index.search(encoder.encode(texts), min(settings.hard_depth, len(index)))[1].tolist()
        lexical = (
            _bm25_positions(bm25, index, texts, settings.bm25_depth) if bm25 and settings.n_bm25 else [[]] * len(texts)
        )
        pools = np.full((len(texts), sum(sizes)), -1, np.int32)
        for row, number in enumerate(numbers):
            rng = np.random.default_rng((seed, _RANDOM, number))
            judged = queries.judgements.get(number, {})
            sources = (
                sorted(judged, key=lambda position: (-judged[position], position)),
                list(queries.hits.get(number, {})),
                _partly_drawn(near[row], settings.n_hard, rng),
                _partly_drawn(lexical[row], settings.n_bm25, rng),
                rng.integers(len(index), size=2 * settings.n_random).tolist(),
            )
            pools[row] = _joined(sources, sizes)
        return pools

    return cached_rows(
        folder / fingerprint_of(identity)[:12] / "candidates.i32",
        (len(queries), sum(sizes)),
        "<i4",
        compute,
        partial(progress, "Finding candidates"),
        chunk_rows=_CHUNK_QUERIES,
    )


def _joined(sources: Iterable[Iterable[int]], sizes: Sequence[int]) -> list[int]:
    """Return the first positions of each source that no earlier one has, each part filled up with -1."""
    seen: set[int] = set()
    row: list[int] = []
    for source, size in zip(sources, sizes, strict=True):
        part: list[int] = []
        for position in source:
            if len(part) < size and position >= 0 and position not in seen:
                seen.add(position)
                part.append(position)
        row += [*part, *[-1] * (size - len(part))]
    return row


def _partly_drawn(found: Sequence[int], n: int, rng: np.random.Generator) -> list[int]:
    """Return the best half of `n` hits, some drawn at random from the others, then all the rest to fill gaps."""
    best, others = list(found[: n // 2]), list(found[n // 2 :])
    return best + [others[number] for number in rng.permutation(len(others))]


def _bm25_positions(bm25: Bm25Index, index: PassageIndex, texts: Sequence[str], depth: int) -> list[list[int]]:
    found: list[list[int]] = [[] for _ in texts]
    for hit in bm25.search(dict(zip(map(str, range(len(texts))), texts, strict=True)), depth):
        found[int(hit.query_id)].append(int(index.doc_ids.find(hit.doc_id)))
    return found
