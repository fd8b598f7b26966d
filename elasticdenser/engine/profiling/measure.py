"""Measurement of a profile: run times of an index and its encoder on this machine, and the quality of each level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, islice
from statistics import median

from elasticdenser.engine.batch_search import RetrieverSearch, elastic_reranker
from elasticdenser.engine.profiling.agreement import JudgeLevels, judge_by_agreement
from elasticdenser.engine.profiling.escalated_levels import add_escalated_levels
from elasticdenser.engine.profiling.filters import measure_filters
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.level_timing import LevelTimes, texts_to_time, time_levels, without_cache
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.quality_by_length import estimate_by_length
from elasticdenser.engine.profiling.reranked_levels import RerankMeasureSettings, add_reranked_levels
from elasticdenser.engine.profiling.search_effort import OperatingPoint, choose_operating_points, retained_share
from elasticdenser.engine.profiling.timing import time_in_turns
from elasticdenser.errors import QueryError
from elasticdenser.machine import describe_machine
from elasticdenser.progress import Progress, silent
from elasticdenser.retrieval.retriever import Retriever

QualityByTokens = Mapping[str, Mapping[int, float]]
"""Level -> `quality_by_tokens` of a `Level`."""
_MAX_RERANK_ROUNDS = 5
"""Levels that rerank take so much longer than others that fewer timings are as exact."""

_FILTER_QUERIES, _MAX_FILTER_ROUNDS = 64, 5
"""Queries with which filters are measured, and timings of each: the recall is exact to about .005."""


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """Settings of a measurement.

    Args:
        levels: Subnets of the encoder; none stands for all.
        batch_sizes: Batch sizes, rising from 1.
        tokens: Lengths of queries in tokens for which a single query is timed as well; the encoder's limit stands for
            those above it.
        k: Number of hits.
        rounds: Number of times that each case is timed.
        by_length: Estimate the quality by the length of the query too, where it is not given.
        filters: Measure searches with filters too, which stand in `Profile.measured["filters"]`.
        rerankings: What is reranked at further levels, such as `50` or `50:w0.5-d3`.
        rerank_queries: Largest number of queries from which the quality of these levels is estimated.
        rerank_subnets: Largest number of query subnets that each of them is paired with; see
            `elasticdenser.engine.profiling.reranked_levels`.
        escalated_shares: Shares of the queries that further levels encode again by the largest subnet; see
            `escalated_levels`.
        seed: Seed of the sample of queries.

    Raises:
        QueryError: A value is out of range.
    """

    levels: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    tokens: tuple[int, ...] = (4, 8, 16, 32, 64, 256, 512)
    k: int = 10
    rounds: int = 15
    by_length: bool = False
    filters: bool = False
    rerankings: tuple[str, ...] = ()
    rerank_queries: int = 100
    rerank_subnets: int = 4
    escalated_shares: tuple[float, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if list(self.batch_sizes) != sorted(set(self.batch_sizes)) or self.batch_sizes[:1] != (1,):
            raise QueryError(f"got batch sizes {self.batch_sizes}; expected them to rise from 1, such as 1, 4, 16")
        if min(self.k, self.rounds, *self.tokens) < 1:
            raise QueryError(f"got k = {self.k}, {self.rounds} rounds and {self.tokens} tokens; expected 1 or more")
        if min(self.rerank_queries, self.rerank_subnets) < 1:
            message = f"got {self.rerank_queries} queries and {self.rerank_subnets} subnets to rerank with"
            raise QueryError(f"{message}; expected 1 or more")
        for share in self.escalated_shares:
            if not 0 < share < 1:
                raise QueryError(
                    f"got {share} of the queries to escalate; expected a share between 0 and 1, such as 0.25"
                )


def measure_profile(
    retriever: Retriever,
    queries: Sequence[str],
    settings: MeasureSettings | None = None,
    *,
    quality: Mapping[str, float] | None = None,
    quality_by_tokens: QualityByTokens | None = None,
    recalls: Mapping[str, float | None] | None = None,
    judge: JudgeLevels | None = None,
    progress: Progress = silent,
) -> Profile:
    """Measure the levels of a retriever, encoding, search and reranking together, in the calling thread.

    Args:
        retriever: The retriever.
        queries: Texts like those that it will be asked.
        settings: The settings.
        quality: Retention by subnet, measured with relevance judgements; `agreement` estimates the missing ones.
        quality_by_tokens: Retention by level and length of the query, as in a `Level`; it may be missing.
        recalls: Search effort of every level, for which the qualities then hold; None chooses the efforts.
        judge: Judges the levels that have no `quality`, at the greatest search effort; None estimates by agreement.
        progress: Called with (activity, done, total).

    Returns:
        The profile; `measured` also holds the slowest times, the times by query length, and the conditions.

    Raises:
        QueryError: There are no queries, there is no such level, or levels shall escalate where words count.
        ModelError: There is no ranker for `rerankings`.
    """
    settings = settings or MeasureSettings()
    if not queries:
        raise QueryError("got no queries to measure with; expected at least one")
    for spelling in settings.rerankings:
        elastic_reranker(retriever, spelling)  # refuses an unknown one before any work
    if settings.escalated_shares and retriever.word_weight is not None:
        raise QueryError("got levels that escalate for a search by words too, which does not escalate: leave one out")
    judge_subnets = judge or judge_by_agreement(retriever, queries, k=settings.k, seed=settings.seed, progress=progress)
    profile = _measure_subnets(
        retriever, queries, settings, quality, quality_by_tokens, recalls, judge_subnets, progress
    )
    if judge is not None:
        profile = replace(profile, measured={**profile.measured, "quality_by_agreement": []})
    if settings.filters:
        vectors = retriever.encoder.encode(list(islice(cycle(queries), _FILTER_QUERIES)))
        rounds = min(settings.rounds, _MAX_FILTER_ROUNDS)
        figures = measure_filters(retriever.index, vectors, k=settings.k, rounds=rounds, progress=progress)
        profile = replace(profile, measured={**profile.measured, "filters": figures})
    if settings.rerankings:
        profile = _with_reranked_levels(retriever, queries, settings, profile, judge, progress)
    if settings.escalated_shares:
        profile = add_escalated_levels(retriever, queries, profile, settings.escalated_shares, judge=judge_subnets)
    return profile


def _with_reranked_levels(
    retriever: Retriever,
    queries: Sequence[str],
    settings: MeasureSettings,
    profile: Profile,
    judge: JudgeLevels | None,
    progress: Progress,
) -> Profile:
    """Return a profile with levels that rerank added; the arguments are those of `measure_profile`."""
    judge_reranked = judge or judge_by_agreement(
        retriever,
        queries,
        k=settings.k,
        seed=settings.seed,
        max_queries=settings.rerank_queries,
        progress=progress,
    )
    rerank_settings = RerankMeasureSettings(
        rerankings=settings.rerankings,
        batch_sizes=settings.batch_sizes,
        tokens=settings.tokens,
        k=settings.k,
        rounds=min(settings.rounds, _MAX_RERANK_ROUNDS),
        max_subnets=settings.rerank_subnets,
    )
    return add_reranked_levels(retriever, queries, profile, rerank_settings, judge=judge_reranked, progress=progress)


def _measure_subnets(
    retriever: Retriever,
    queries: Sequence[str],
    settings: MeasureSettings,
    quality: Mapping[str, float] | None,
    quality_by_tokens: QualityByTokens | None,
    recalls: Mapping[str, float | None] | None,
    judge: JudgeLevels,
    progress: Progress,
) -> Profile:
    """Measure the levels that do not rerank; the arguments are those of `measure_profile`."""
    names = settings.levels or tuple(map(str, retriever.encoder.subnets))
    with without_cache(retriever.encoder):
        qualities = dict(quality or {})
        unjudged = [name for name in names if name not in qualities]
        full = str(retriever.encoder.full_subnet)
        qualities |= judge(unjudged, full)
        qualities = {name: qualities[name] for name in names}
        by_tokens = {name: (quality_by_tokens or {}).get(name, {}) for name in names}
        # The full encoder's quality is 1 at every length.
        estimated = [name for name in names if settings.by_length and name != full and not by_tokens[name]]
        by_tokens |= estimate_by_length(
            retriever, queries, estimated, k=settings.k, seed=settings.seed, progress=progress
        )
        if recalls is None:
            points = choose_operating_points(_operating_points(retriever, queries, qualities, settings, progress))
            qualities = {name: points[name].quality for name in names}
            recalls = {name: points[name].recall for name in names}
            by_tokens = {
                name: {tokens: share * retained_share(recalls[name]) for tokens, share in by_tokens[name].items()}
                for name in names
            }
        search = RetrieverSearch(retriever, {name: recalls[name] for name in names})
        times = time_levels(
            search,
            queries,
            dict.fromkeys(names, settings.batch_sizes),
            texts_to_time(retriever.encoder, queries, settings.tokens),
            k=settings.k,
            rounds=settings.rounds,
            progress=progress,
        )
    levels = [
        Level(
            name=name,
            quality=qualities[name],
            recall=recalls[name],
            quality_by_tokens=by_tokens[name],
            alone_by_tokens_s=times[name].alone_by_tokens_s,
            measured_s=times[name].measured_s,
        )
        for name in names
    ]
    conditions = _conditions(retriever, queries, settings, times, unjudged)
    if estimated:
        conditions["quality_by_tokens_by_agreement"] = estimated
    return Profile(levels=levels, measured=conditions)


def _operating_points(
    retriever: Retriever,
    queries: Sequence[str],
    quality: Mapping[str, float],
    settings: MeasureSettings,
    progress: Progress,
) -> dict[str, list[OperatingPoint]]:
    """Return every subnet at every search effort, the greatest last; times of encoding and of search are added up."""
    encoder, index = retriever.encoder, retriever.index
    recalls: list[float | None] = [effort.recall_at_10 for effort in index.manifest.structure.efforts]
    recalls[-1] = None  # the name of the greatest effort, whatever recall it reaches
    batch = list(islice(cycle(queries), settings.batch_sizes[-1]))
    vectors = encoder.encode(batch)

    def encode(_: int, name: str) -> object:
        return encoder.encode(batch, name)

    def search(_: int, recall: float | None) -> object:
        return index.search(vectors, settings.k, recall=recall)

    encode_cases = {name: partial(encode, name=name) for name in quality}
    encode_s = time_in_turns(encode_cases, settings.rounds, progress, "Measuring subnets")
    search_cases = {recall: partial(search, recall=recall) for recall in recalls}
    search_s = time_in_turns(search_cases, settings.rounds, progress, "Measuring search efforts")

    def point(name: str, recall: float | None) -> OperatingPoint:
        cost_s = (median(encode_s[name]) + median(search_s[recall])) / len(batch)
        return OperatingPoint(quality=quality[name] * retained_share(recall), cost_s=cost_s, recall=recall)

    return {name: [point(name, recall) for recall in recalls] for name in quality}


def _conditions(
    retriever: Retriever,
    queries: Sequence[str],
    settings: MeasureSettings,
    times: Mapping[str, LevelTimes],
    unjudged: Sequence[str],
) -> dict[str, object]:
    def by_name(figures: Mapping[str, Mapping[int, float]]) -> dict[str, dict[str, float]]:
        return {name: {str(key): seconds for key, seconds in of_level.items()} for name, of_level in figures.items()}

    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "encoder": retriever.encoder.location.name,
        "dtype": retriever.encoder.fingerprint.dtype,
        "n_passages": len(retriever.index),
        "structure": retriever.index.manifest.structure.factory,
        "n_queries": len(queries),
        "k": settings.k,
        "rounds": settings.rounds,
        "quality_by_agreement": list(unjudged),
        "alone_by_tokens_s": by_name({name: of_level.alone_by_tokens_s for name, of_level in times.items()}),
        "slowest_s": by_name({name: of_level.slowest_s for name, of_level in times.items()}),
        "machine": describe_machine(),
    }
