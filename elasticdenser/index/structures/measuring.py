"""Measuring, after a structure was built, which efforts it can be searched with and what recall each of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import faiss
import numpy as np

from elasticdenser.arrays import Scores, Vectors
from elasticdenser.index.efforts import Effort
from elasticdenser.index.structures.base import CandidateSource, SearchStructure

_N_QUERIES = 256
"""With ten hits each, recall is known to about 0.001 where it is near 1."""

_TARGET_RECALL = 0.999
"""From here on, only one more effort is measured."""

_MIN_RECALL = 0.8
"""Efforts that find less are of no use to any level."""

_MIN_RESCORED_OF_LATER_PARTS = 128
"""Parts after the first serve high recall; see `_possible_efforts`."""

_TOLERANCE = 1e-5
"""Two ways to compute an inner product of vectors of length 1 differ by less."""


def measure_efforts(parts: Sequence[SearchStructure], vectors: Vectors) -> tuple[tuple[Effort, ...], int]:
    """Return efforts of rising recall@10 against exact search, and over how many queries it was measured.

    Args:
        parts: The parts of a structure over `vectors`.
        vectors: float32, (n_passages, dim).
    """
    n_passages = len(vectors)
    k = min(10, n_passages)
    queries = _queries_between_passages(vectors, min(_N_QUERIES, n_passages))
    kth_scores = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)[0][:, -1]
    measured: list[Effort] = []
    for effort in _possible_efforts(parts):
        is_sufficient = measured and measured[-1].recall_at_10 >= _TARGET_RECALL
        recall = round(_recall(parts[effort.part].at(effort), queries, kth_scores, vectors, k), 4)
        if measured and recall < measured[-1].recall_at_10:
            continue
        # Of equally good efforts the last is the safest.
        measured = [cheaper for cheaper in measured if _MIN_RECALL <= cheaper.recall_at_10 < recall]
        measured.append(replace(effort, recall_at_10=recall))
        if is_sufficient:
            break  # one step more than these queries need
    return tuple(measured), len(queries)


def _possible_efforts(parts: Sequence[SearchStructure]) -> list[Effort]:
    """Return the efforts to measure, in rising order.

    The first part is for low effort. If there are others, at most a quarter of the lists of the first is searched, as
    half of them take longer than a scan of all codes of the second.
    """
    first, *others = parts
    efforts = first.efforts()
    if others and efforts[-1].nprobe:
        n_lists = efforts[-1].nprobe
        efforts = [effort for effort in efforts if 4 * (effort.nprobe or 0) <= n_lists]
    for number, part in enumerate(others, 1):
        efforts += [
            replace(effort, part=number) for effort in part.efforts() if effort.rescored >= _MIN_RESCORED_OF_LATER_PARTS
        ]
    return efforts


def _recall(source: CandidateSource, queries: Vectors, kth_scores: Scores, vectors: Vectors, k: int) -> float:
    """Return the share of the k best hits that the candidates hold; of equally good passages any counts.

    Args:
        source: Proposes the candidates.
        queries: float32, (n_queries, dim).
        kth_scores: float32, (n_queries,), the scores of the true k-th hits.
        vectors: float32, (n_passages, dim).
        k: How many hits count.
    """
    proposed = source.candidates(queries, min(source.n_candidates(k), source.max_candidates))
    n_found = 0
    for query, kth_score, candidates in zip(queries, kth_scores, proposed, strict=True):
        scores = vectors[candidates[candidates >= 0]] @ query
        n_found += min(int((scores >= kth_score - _TOLERANCE).sum()), k)
    return n_found / (k * len(queries))


def _queries_between_passages(vectors: Vectors, n_queries: int) -> Vectors:
    """Return stand-ins for queries: the normalised sums of three random passages each, float32, (n_queries, dim).

    Real queries lie about as far from their hits (measured on NQ and TriviaQA); passages themselves lie much nearer.
    """
    chosen = np.random.default_rng(0).integers(len(vectors), size=(n_queries, 3))
    sums = np.stack([vectors[three].sum(axis=0) for three in chosen])
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.ascontiguousarray(sums / np.maximum(lengths, 1e-12), np.float32)
