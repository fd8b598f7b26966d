"""Measurement of a profile: run times of an index and its encoder on this machine, and the quality of each level."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, islice
from statistics import median

from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.profiling.agreement import agreement, quality_from_agreement
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.quality_by_length import estimate_by_length
from elasticdenser.engine.profiling.query_sample import text_of_length
from elasticdenser.engine.profiling.search_effort import OperatingPoint, choose_operating_points, retained_share
from elasticdenser.engine.profiling.timing import time_in_turns
from elasticdenser.engine.request import Query
from elasticdenser.errors import QueryError
from elasticdenser.machine import describe_machine
from elasticdenser.progress import Progress, silent
from elasticdenser.retrieval.retriever import Retriever

QualityByTokens = Mapping[str, Mapping[int, float]]
"""Level -> `quality_by_tokens` of a `Level`."""
_Case = tuple[str, int, int]
"""Level, batch size, and tokens of a query that is timed alone; 0 tokens for a batch of the given queries."""


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
    seed: int = 0

    def __post_init__(self) -> None:
        if list(self.batch_sizes) != sorted(set(self.batch_sizes)) or self.batch_sizes[:1] != (1,):
            raise QueryError(f"got batch sizes {self.batch_sizes}; expected them to rise from 1, such as 1, 4, 16")
        if min(self.k, self.rounds, *self.tokens) < 1:
            raise QueryError(f"got k = {self.k}, {self.rounds} rounds and {self.tokens} tokens; expected 1 or more")


def measure_profile(
    retriever: Retriever,
    queries: Sequence[str],
    settings: MeasureSettings | None = None,
    *,
    quality: Mapping[str, float] | None = None,
    quality_by_tokens: QualityByTokens | None = None,
    recalls: Mapping[str, float | None] | None = None,
    progress: Progress = silent,
) -> Profile:
    """Measure the levels of a retriever, encoding and search together, in the calling thread.

    Args:
        retriever: The retriever.
        queries: Texts like those that it will be asked.
        settings: The settings.
        quality: Retention by level, measured with relevance judgements; `agreement` estimates the missing ones.
        quality_by_tokens: Retention by level and length of the query, as in a `Level`; it may be missing.
        recalls: Search effort of every level, for which the qualities then hold; None chooses the efforts.
        progress: Called with (activity, done, total).

    Returns:
        The profile; `measured` also holds the slowest times, the times by query length, and the conditions.

    Raises:
        QueryError: There are no queries, or there is no such level.
    """
    settings = settings or MeasureSettings()
    if not queries:
        raise QueryError("got no queries to measure with; expected at least one")
    names = settings.levels or tuple(map(str, retriever.encoder.subnets))
    with _without_cache(retriever.encoder):
        qualities = dict(quality or {})
        unjudged = [name for name in names if name not in qualities]
        agreements = agreement(retriever, queries, unjudged, k=settings.k, seed=settings.seed, progress=progress)
        qualities |= {name: quality_from_agreement(share) for name, share in agreements.items()}
        qualities = {name: qualities[name] for name in names}
        by_tokens = {name: (quality_by_tokens or {}).get(name, {}) for name in names}
        full = str(retriever.encoder.full_subnet)  # its quality is 1 at every length
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
        lengths = _queries_by_length(retriever.encoder, queries, settings)
        times = _time_levels(search, queries, lengths, names, settings, progress)
    levels = [
        Level(
            name=name,
            quality=qualities[name],
            recall=recalls[name],
            quality_by_tokens=by_tokens[name],
            alone_by_tokens_s={tokens: median(times[name, 1, tokens]) for tokens in lengths},
            measured_s={size: median(times[name, size, 0]) for size in settings.batch_sizes},
        )
        for name in names
    ]
    conditions = _conditions(retriever, queries, settings, times, unjudged)
    if estimated:
        conditions["quality_by_tokens_by_agreement"] = estimated
    return Profile(levels=levels, measured=conditions)


@contextmanager
def _without_cache(encoder: ElasticQueryEncoder) -> Iterator[None]:
    """Encode every query, also one that was encoded before."""
    cache, encoder.cache = encoder.cache, None
    try:
        yield
    finally:
        encoder.cache = cache


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


def _queries_by_length(
    encoder: ElasticQueryEncoder, queries: Sequence[str], settings: MeasureSettings
) -> dict[int, Query]:
    """Return a query of each length in tokens that is timed."""
    lengths = sorted({min(tokens, encoder.settings.max_length) for tokens in settings.tokens})
    return {tokens: Query(text=text_of_length(encoder, queries, tokens), k=settings.k) for tokens in lengths}


def _time_levels(
    search: RetrieverSearch,
    queries: Sequence[str],
    lengths: Mapping[int, Query],
    names: Sequence[str],
    settings: MeasureSettings,
    progress: Progress,
) -> dict[_Case, list[float]]:
    """Return the run times of every level, in batches and alone."""

    def run_batch(number: int, name: str, size: int) -> None:
        start = number * size % len(queries)
        texts = islice(cycle(queries), start, start + size)
        search.search_batch([Query(text=text, k=settings.k) for text in texts], name)

    def run_alone(_: int, name: str, query: Query) -> None:
        search.search_batch([query], name)

    cases: dict[_Case, Callable[[int], object]] = {}
    for name in names:
        cases |= {(name, size, 0): partial(run_batch, name=name, size=size) for size in settings.batch_sizes}
        cases |= {(name, 1, tokens): partial(run_alone, name=name, query=query) for tokens, query in lengths.items()}
    return time_in_turns(cases, settings.rounds, progress, "Measuring levels")


def _conditions(
    retriever: Retriever,
    queries: Sequence[str],
    settings: MeasureSettings,
    times: Mapping[_Case, Sequence[float]],
    unjudged: Sequence[str],
) -> dict[str, object]:
    by_tokens: dict[str, dict[str, float]] = {}
    slowest: dict[str, dict[str, float]] = {}
    for (name, size, tokens), seconds in times.items():
        if tokens:
            by_tokens.setdefault(name, {})[str(tokens)] = median(seconds)
        else:
            slowest.setdefault(name, {})[str(size)] = max(seconds)
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
        "alone_by_tokens_s": by_tokens,
        "slowest_s": slowest,
        "machine": describe_machine(),
    }
