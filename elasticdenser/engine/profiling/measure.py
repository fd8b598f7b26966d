"""Measuring a profile: how long an index and its encoder take on this machine, and what each level is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import cycle, islice
from random import Random
from statistics import median
from time import perf_counter
from typing import TypeVar

from elasticdenser.encoders.query_encoder import ElasticQueryEncoder
from elasticdenser.engine.batch_search import RetrieverSearch
from elasticdenser.engine.profiling.budget import LOST_WITH_RECALL, Cell, choose_recalls
from elasticdenser.engine.profiling.profile import Level, Profile
from elasticdenser.engine.request import Query
from elasticdenser.errors import QueryError
from elasticdenser.machine import describe_machine
from elasticdenser.progress import Progress
from elasticdenser.retrieval.retriever import Retriever

Case = TypeVar("Case")

_ENCODING, _FINDING, _MEASURING = "Measuring sizes", "Measuring search efforts", "Measuring levels"
_JUDGING = "Judging levels"
_SAMPLED = 500
_SPAN_WORDS = 8


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """What is measured.

    Args:
        levels: Sizes of the encoder; none named is all of them.
        batch_sizes: Rising, from 1.
        tokens: Lengths of queries, in tokens, at which one alone is timed as well.
        k: Hits wanted.
        rounds: How often each is timed; all of them take turns, so that a noisy moment hits all alike.
        seed: Of the queries that are drawn.

    Raises:
        QueryError: A figure is out of range.
    """

    levels: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    tokens: tuple[int, ...] = (4, 8, 16, 32, 64)
    k: int = 10
    rounds: int = 15
    seed: int = 0

    def __post_init__(self) -> None:
        if list(self.batch_sizes) != sorted(set(self.batch_sizes)) or self.batch_sizes[:1] != (1,):
            raise QueryError(f"got batch sizes {self.batch_sizes}; expected them to rise from 1, such as 1, 4, 16")
        if min(self.k, self.rounds, *self.tokens) < 1:
            raise QueryError(f"got k = {self.k}, {self.rounds} rounds and {self.tokens} tokens; expected 1 or more")


def measure(
    retriever: Retriever,
    queries: Sequence[str],
    settings: MeasureSettings | None = None,
    *,
    quality: Mapping[str, float] | None = None,
    recalls: Mapping[str, float | None] | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Profile:
    """Measure the levels of a retriever: encoding and search together, in the calling thread.

    Args:
        retriever: What is measured.
        queries: Texts that are like those it will get.
        settings: What is measured.
        quality: Retention by level, as measured with judgements; where a level has none, `agreement` stands in.
        recalls: Search effort of every level, whose quality is then taken as it is given; None chooses them.
        progress: Called with (what, done, of how many).

    Returns:
        The profile; `measured` also holds the scatter, the times by query length, and what was measured where.

    Raises:
        QueryError: There are no queries, or no such level.
    """
    settings = settings or MeasureSettings()
    if not queries:
        raise QueryError("got no queries to measure with; expected at least one")
    with _without_cache(retriever.encoder):
        return _measured(retriever, queries, settings, quality or {}, recalls, progress)


@contextmanager
def _without_cache(encoder: ElasticQueryEncoder) -> Iterator[None]:
    """Have every query encoded, also one that was asked before."""
    kept, encoder.cache = encoder.cache, None
    try:
        yield
    finally:
        encoder.cache = kept


def _measured(
    retriever: Retriever,
    queries: Sequence[str],
    settings: MeasureSettings,
    quality: Mapping[str, float],
    recalls: Mapping[str, float | None] | None,
    progress: Progress,
) -> Profile:
    names = settings.levels or tuple(map(str, retriever.encoder.subnets))
    judged = dict(quality)
    unjudged = [name for name in names if name not in judged]
    judged |= agreement(retriever, queries, unjudged, settings, progress=progress)
    if recalls is None:
        cells = choose_recalls(_cells(retriever, queries, {name: judged[name] for name in names}, settings, progress))
        judged, recalls = ({name: getattr(cells[name], what) for name in names} for what in ("quality", "recall"))
    search = RetrieverSearch(retriever, {name: recalls[name] for name in names})

    def batch(name: str, size: int, number: int) -> None:
        start = number * size % len(queries)
        some = islice(cycle(queries), start, start + size)
        search.search_batch([Query(text=text, k=settings.k) for text in some], name)

    def alone(name: str, query: Query, number: int) -> None:
        search.search_batch([query], name)

    cases: dict[tuple[str, int, int], Callable[[int], object]] = {}
    of_tokens = {tokens: Query(text=_of_tokens(queries, tokens), k=settings.k) for tokens in settings.tokens}
    for name in names:
        cases |= {(name, size, 0): partial(batch, name, size) for size in settings.batch_sizes}
        cases |= {(name, 1, tokens): partial(alone, name, query) for tokens, query in of_tokens.items()}
    times = _timed(cases, settings.rounds, progress, _MEASURING)
    levels = [
        Level(
            name=name,
            quality=judged[name],
            recall=recalls[name],
            measured_s={size: median(times[name, size, 0]) for size in settings.batch_sizes},
        )
        for name in names
    ]
    return Profile(levels=levels, measured=_record(retriever, queries, settings, times, unjudged))


def _cells(
    retriever: Retriever,
    queries: Sequence[str],
    quality: Mapping[str, float],
    settings: MeasureSettings,
    progress: Progress,
) -> dict[str, list[Cell]]:
    """Return every size at every search effort, the greatest last; the times of encoding and search are added up."""
    encoder, index = retriever.encoder, retriever.index
    recalls: list[float | None] = [effort.recall_at_10 for effort in index.manifest.structure.efforts]
    recalls[-1] = None
    some = list(islice(cycle(queries), settings.batch_sizes[-1]))
    vectors = encoder.encode(some)

    def encode(_: int, name: str) -> object:
        return encoder.encode(some, name)

    def find(_: int, recall: float | None) -> object:
        return index.search(vectors, settings.k, recall=recall)

    encoding = _timed({name: partial(encode, name=name) for name in quality}, settings.rounds, progress, _ENCODING)
    finding = _timed({recall: partial(find, recall=recall) for recall in recalls}, settings.rounds, progress, _FINDING)

    def cell(name: str, recall: float | None) -> Cell:
        lost = 0.0 if recall is None else LOST_WITH_RECALL * (1 - recall)
        cost_s = (median(encoding[name]) + median(finding[recall])) / len(some)
        return Cell(quality=quality[name] * (1 - lost), cost_s=cost_s, recall=recall)

    return {name: [cell(name, recall) for recall in recalls] for name in quality}


def agreement(
    retriever: Retriever,
    queries: Sequence[str],
    levels: Sequence[str],
    settings: MeasureSettings,
    *,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, float]:
    """Return for each level the share of the full size's k best hits that it finds too: quality without judgements.

    It falls faster than retention does, as a hit that another relevant one replaces counts as lost.
    """
    if not levels:
        return {}
    some = list(queries) if len(queries) <= _SAMPLED else Random(settings.seed).sample(list(queries), _SAMPLED)
    texts = {str(number): text for number, text in enumerate(some)}

    def found(level: str | None) -> set[tuple[str, str]]:
        return {(hit.query_id, hit.doc_id) for hit in retriever.search(texts, settings.k, subnet=level)}

    best, shares = found(None), {}
    for done, level in enumerate(levels):
        progress(_JUDGING, done, len(levels))
        shares[level] = max(len(best & found(level)) / len(best), 1e-6)
    progress(_JUDGING, len(levels), len(levels))
    return shares


def sample_queries(retriever: Retriever, n: int = 200, seed: int = 0) -> list[str]:
    """Return the first words of some passages of the index, for who has no queries.

    Raises:
        QueryError: The index holds no texts.
    """
    index = retriever.index
    if not index.has_texts:
        raise QueryError("the index holds no texts to make queries of: give a file of queries (--queries)")
    positions = Random(seed).sample(range(len(index)), min(n, len(index)))
    spans = (" ".join(index.passage_at(position).text.split()[:_SPAN_WORDS]) for position in sorted(positions))
    return [span for span in spans if span] or ["a query"]


def _of_tokens(queries: Sequence[str], tokens: int) -> str:
    """Return words of the queries, about as many as make that many tokens with the two special ones."""
    words = cycle(" ".join(queries).split())
    return " ".join(islice(words, max(1, tokens - 2)))


def _timed(
    cases: Mapping[Case, Callable[[int], object]], rounds: int, progress: Progress, what: str
) -> dict[Case, list[float]]:
    times: dict[Case, list[float]] = {case: [] for case in cases}
    for number in range(rounds + 1):
        progress(what, number, rounds + 1)
        for case, work in cases.items():
            started = perf_counter()
            work(number)
            if number:  # the first round loads and warms up
                times[case].append(perf_counter() - started)
    progress(what, rounds + 1, rounds + 1)
    return times


def _record(
    retriever: Retriever,
    queries: Sequence[str],
    settings: MeasureSettings,
    times: Mapping[tuple[str, int, int], Sequence[float]],
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
