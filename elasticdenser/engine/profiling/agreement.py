"""Quality of levels without relevance judgements."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import TYPE_CHECKING

from elasticdenser.engine.profiling.query_sample import texts_by_length
from elasticdenser.progress import Progress, silent

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever

_MAX_QUERIES = 500
"""Enough for a standard error of .02 at most."""
_TEXTS_OF_A_LENGTH = 100
"""Enough for a standard error of about .02; a subnet takes some seconds for the texts of all lengths."""
_MIN_QUALITY = 1e-6
"""A quality must be above 0."""


def agreement_by_length(
    retriever: Retriever,
    queries: Sequence[str],
    levels: Sequence[str],
    *,
    k: int,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, dict[int, float]]:
    """Return the agreement of each level for texts of each range of lengths, as `texts_by_length` makes them.

    The arguments are those of `agreement`.

    Returns:
        Level -> largest number of tokens of the range -> agreement.
    """
    if not levels:
        return {}
    progress("Collecting texts by length", 0, 1)
    texts = texts_by_length(retriever, queries, _TEXTS_OF_A_LENGTH, seed)
    progress("Collecting texts by length", 1, 1)
    full = str(retriever.encoder.full_subnet)
    shares = {level: dict.fromkeys(texts, 1.0) for level in levels}
    others = [level for level in levels if level != full]
    for max_tokens, texts_of_length in texts.items():
        report = partial(_report_length, progress, max_tokens)
        for level, share in agreement(retriever, texts_of_length, others, k=k, progress=report).items():
            shares[level][max_tokens] = share
    return shares


def _report_length(progress: Progress, max_tokens: int, what: str, done: int, total: int) -> None:
    """Report progress, and for which lengths it is."""
    progress(f"{what}, up to {max_tokens} tokens", done, total)


def agreement(
    retriever: Retriever,
    queries: Sequence[str],
    levels: Sequence[str],
    *,
    k: int,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, float]:
    """Return for each level the share of the full encoder's k best hits that the level finds, too.

    It is lower than retention, because a hit that is replaced by another relevant one counts as lost.

    Args:
        retriever: The retriever.
        queries: The queries; a random sample is used if there are many.
        levels: Names of the levels.
        k: Number of hits.
        seed: Seed of the sample.
        progress: Called with (what, done, total).
    """
    if not levels:
        return {}
    sample = list(queries) if len(queries) <= _MAX_QUERIES else Random(seed).sample(list(queries), _MAX_QUERIES)
    texts = {str(number): text for number, text in enumerate(sample)}

    def hits_at(level: str | None) -> set[tuple[str, str]]:
        return {(hit.query_id, hit.doc_id) for hit in retriever.search(texts, k, subnet=level)}

    full_hits, shares = hits_at(None), {}
    for done, level in enumerate(levels):
        progress("Judging levels", done, len(levels))
        shares[level] = max(len(full_hits & hits_at(level)) / len(full_hits), _MIN_QUALITY)
    progress("Judging levels", len(levels), len(levels))
    return shares
