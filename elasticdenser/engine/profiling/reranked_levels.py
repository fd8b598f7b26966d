"""Levels that rerank: products of query subnets and rerankings, their quality and their run times.

Only the query subnets of the ladder without reranking are paired: what is reranked takes most of the time of such a
level, and a smaller query subnet saves little of it. Late interaction is different, where one subnet can encode a query
for both: a reranking that names no subnet is paired with some that the ranker has, from the best to the fastest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from elasticdenser.engine.batch_search import RetrieverSearch, elastic_reranker, spelling_of
from elasticdenser.engine.profiling.agreement import JudgeLevels
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.level_name import level_name
from elasticdenser.engine.profiling.level_timing import texts_to_time, time_levels, without_cache
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.search_effort import retained_share
from elasticdenser.engine.request import Query
from elasticdenser.progress import Progress, silent
from elasticdenser.rankers.stages import Stage
from elasticdenser.subnet import Subnet

if TYPE_CHECKING:
    from elasticdenser.retrieval.reranking import ElasticReranker
    from elasticdenser.retrieval.retriever import Retriever

_LONGEST_BATCH_S = 0.5
"""Batches that take longer are not timed: candidates of several queries gain little from being scored together."""
_USUAL_TOKENS = 32
"""Shorter queries take as long, as nearly all tokens of a pair are the passage's."""


@dataclass(frozen=True, kw_only=True)
class RerankMeasureSettings:
    """Settings of a measurement of levels that rerank.

    Args:
        rerankings: What is reranked, each such as `50`, `50:w0.5-d3`, or `100:w0.25-d1,30:w0.5-d3`; at least one.
        batch_sizes: Batch sizes, rising from 1.
        tokens: Lengths of queries in tokens for which a single query is timed as well.
        k: Number of hits.
        rounds: Number of times that each case is timed.
        max_subnets: Largest number of query subnets that a reranking is paired with.
    """

    rerankings: Sequence[str]
    batch_sizes: Sequence[int]
    tokens: Sequence[int]
    k: int
    rounds: int
    max_subnets: int


def add_reranked_levels(
    retriever: Retriever,
    queries: Sequence[str],
    profile: Profile,
    settings: RerankMeasureSettings,
    *,
    judge: JudgeLevels,
    progress: Progress = silent,
) -> Profile:
    """Return a profile with levels that rerank added to those without.

    Levels are judged against the full encoder with the reranking whose last stage has the largest subnet and the most
    candidates. All qualities of the result are shares of the best level's, which is this one unless judgements say
    otherwise.

    Args:
        retriever: The retriever, with a ranker.
        queries: Texts like those that it will be asked.
        profile: Levels that do not rerank, their qualities as shares of the full encoder's.
        settings: The settings.
        judge: Judges the levels, at the greatest search effort.
        progress: Called with (activity, done, total).

    Raises:
        QueryError: The ranker lacks a subnet, or the index has no texts.
        ModelError: There is no ranker.
    """
    rerankers = [elastic_reranker(retriever, spelling) for spelling in settings.rerankings]
    largest = max(rerankers, key=_size)
    pairs = {
        level_name(level.name, spelling_of(paired)): level
        for reranker in rerankers
        for level, paired in _paired(profile, reranker, settings.max_subnets)
    }
    full = str(retriever.encoder.full_subnet)
    best = level_name(full, spelling_of(largest))
    with without_cache(retriever.encoder):
        shares = judge([full, *pairs], best)
        qualities = {name: shares[name] * retained_share(level.recall) for name, level in pairs.items()}
        top = max(*qualities.values(), shares[full] * profile.levels[0].quality)
        added = [
            replace(_scaled(level, qualities[name] / top / level.quality), name=name) for name, level in pairs.items()
        ]
        timed = _timed(retriever, queries, added, settings, progress)
    measured = {
        **profile.measured,
        "ranker": largest.ranker.folder.name,
        "reranked_judged_against": best,
    }
    plain = [_scaled(level, shares[full] / top) for level in profile.levels]
    return Profile(levels=[*plain, *timed], measured=measured)


def _paired(profile: Profile, reranker: ElasticReranker, n: int) -> list[tuple[Level, ElasticReranker]]:
    """Return up to n levels that a reranking is paired with, and the reranking as each of them has it."""
    best = [profile.levels[index] for index in profile.hull][:n]
    if reranker.names_subnets:
        return [(level, reranker) for level in best]
    beside = {level.name: reranker.ranker.subnet_beside(Subnet.parse(level.parts.subnet)) for level in profile.levels}
    shared = [level for level in profile.levels if level.name == str(beside[level.name])]
    if len(shared) > 1:
        chosen = np.linspace(0, len(shared) - 1, min(n, len(shared))).round().astype(int).tolist()
        best = [shared[index] for index in chosen]
    return [(level, _with_subnet(reranker, beside[level.name])) for level in best]


def _with_subnet(reranker: ElasticReranker, subnet: Subnet) -> ElasticReranker:
    then = tuple(Stage(stage.n_candidates, subnet) for stage in reranker.then)
    return replace(reranker, subnet=subnet, then=then)


def _size(reranker: ElasticReranker) -> tuple[int, ...]:
    """Return a key by which the best reranker is the largest."""
    first, last = reranker.stages[0], reranker.stages[-1]
    rank = reranker.ranker.subnets.index(reranker.ranker.resolve_subnet(last.subnet))  # from large to small
    return -rank, last.n_candidates, first.n_candidates


def _scaled(level: Level, factor: float) -> Level:
    """Return a level whose qualities are multiplied; a level loses on long queries the same share as before."""
    by_tokens = {tokens: quality * factor for tokens, quality in level.quality_by_tokens.items()}
    return replace(level, quality=level.quality * factor, quality_by_tokens=by_tokens)


def _timed(
    retriever: Retriever,
    queries: Sequence[str],
    levels: Sequence[Level],
    settings: RerankMeasureSettings,
    progress: Progress,
) -> list[Level]:
    """Return the levels with their own run times."""
    search = RetrieverSearch(retriever, {level.name: level.recall for level in levels})
    sizes: dict[str, list[int]] = {}
    for level in levels:
        search.search_batch([Query(text=queries[0], k=settings.k)], level.name)  # loads what is needed
        started_s = perf_counter()
        search.search_batch([Query(text=queries[0], k=settings.k)], level.name)
        alone_s = perf_counter() - started_s
        sizes[level.name] = [size for size in settings.batch_sizes if size == 1 or size * alone_s <= _LONGEST_BATCH_S]
    lengths = [n for n in settings.tokens if n >= _USUAL_TOKENS]
    by_length = texts_to_time(retriever.encoder, queries, lengths)
    times = time_levels(search, queries, sizes, by_length, k=settings.k, rounds=settings.rounds, progress=progress)
    return [
        replace(
            level,
            measured_s=times[level.name].measured_s,
            alone_by_tokens_s=times[level.name].alone_by_tokens_s,
        )
        for level in levels
    ]
