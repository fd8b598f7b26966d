"""Estimate of the quality of levels by the length of the query, without relevance judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from elasticdenser.engine.profiling.agreement import MIN_QUALITY, agreement
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
    judged: Mapping[str, float],
    *,
    k: int,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, dict[int, float]]:
    """Return the quality of levels by length of the query: agreement, or an estimate from it for judged levels.

    Args:
        retriever: The retriever.
        queries: Usual queries.
        levels: Names of the levels.
        judged: Retention of those levels for which it was measured with relevance judgements.
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
    judged = {level: judged[level] for level in levels if level in judged}
    usual = agreement(retriever, queries, list(judged), k=k, seed=seed, progress=progress)
    by_length: dict[str, dict[int, float]] = {level: {} for level in levels}
    for max_tokens, texts_of_length in texts.items():
        report = partial(_report_length, progress, max_tokens)
        for level, share in agreement(retriever, texts_of_length, levels, k=k, progress=report).items():
            is_judged = level in judged
            by_length[level][max_tokens] = (
                quality_from_agreement(judged[level], usual[level], share) if is_judged else share
            )
    return by_length


def quality_from_agreement(quality: float, usual_agreement: float, agreement_of_texts: float) -> float:
    """Estimate a level's quality for other texts than those for which it was judged, from its agreement for both.

    The loss of quality is taken to grow with the square of the loss of agreement. On the claims of SciFact, subnets
    that lose .22, .28, .37 and .45 of agreement lose .026, .034, .092 and .150 of nDCG@10; on questions of Natural
    Questions, .15, .24 and .30 of agreement go with .008, .016 and .025.

    Args:
        quality: Retention, judged on usual queries.
        usual_agreement: Agreement for usual queries.
        agreement_of_texts: Agreement for the other texts.
    """
    if usual_agreement >= 1:  # there is no loss to compare with, as with an index of a few passages
        return min(quality, agreement_of_texts)
    lost = max(0.0, 1 - quality) * ((1 - agreement_of_texts) / (1 - usual_agreement)) ** 2
    return max(1 - lost, MIN_QUALITY)


def _report_length(progress: Progress, max_tokens: int, activity: str, done: int, total: int) -> None:
    """Report progress, and for which lengths it is."""
    progress(f"{activity}, up to {max_tokens} tokens", done, total)
