"""Estimate of the quality of levels by the length of the query, without relevance judgements."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from elasticdenser.engine.profiling.agreement import agreement, quality_from_agreement
from elasticdenser.engine.profiling.query_sample import texts_by_length
from elasticdenser.progress import Progress, silent

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever

_TEXTS_OF_A_LENGTH = 100
"""Enough for a standard error of about .02; a subnet takes a second or two for the texts of all lengths."""


def estimate_by_length(
    retriever: Retriever,
    queries: Sequence[str],
    levels: Sequence[str],
    *,
    k: int,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, dict[int, float]]:
    """Return the quality of levels by length of the query, estimated from agreement.

    Args:
        retriever: The retriever.
        queries: Usual queries.
        levels: Names of the levels.
        k: Number of hits.
        seed: Seed of the samples.
        progress: Called with (activity, done, total).

    Returns:
        Level -> `quality_by_tokens` of a `Level`.
    """
    if not levels:
        return {}
    progress("Collecting texts by length", 0, 1)
    texts = texts_by_length(retriever, queries, _TEXTS_OF_A_LENGTH, seed)
    progress("Collecting texts by length", 1, 1)
    by_length: dict[str, dict[int, float]] = {level: {} for level in levels}
    for max_tokens, texts_of_length in texts.items():
        report = partial(_report_length, progress, max_tokens)
        for level, share in agreement(retriever, texts_of_length, levels, k=k, progress=report).items():
            by_length[level][max_tokens] = quality_from_agreement(share)
    return by_length


def _report_length(progress: Progress, max_tokens: int, activity: str, done: int, total: int) -> None:
    """Report progress, and for which lengths it is."""
    progress(f"{activity}, up to {max_tokens} tokens", done, total)
