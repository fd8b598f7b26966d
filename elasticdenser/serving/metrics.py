"""Metrics for Prometheus: counts of the server, and figures that the engine reports at each scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from elasticdenser.engine.answers import Snapshot
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.serving.shard_metrics import ShardCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Bounds of the histograms' buckets. The latencies are finest around the default deadline of 25 ms.
_LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_SIZE_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128)

CHANGES = ("added", "replaced", "deleted")
"""Ways in which clients change documents."""

_REQUEST_LABELS = ("path", "method", "status")

_GAUGES: tuple[tuple[str, str, Callable[[Snapshot], float]], ...] = (
    ("queue_length", "Queries in the queue.", lambda snapshot: snapshot.n_waiting),
    ("running_batches", "Batches that are running.", lambda snapshot: snapshot.n_running),
    (
        "arrival_rate_per_second",
        "Queries per second with a deadline, over 0.1 s.",
        lambda snapshot: snapshot.rate_per_s,
    ),
    ("correction_ratio", "Ratio of the run times to those of the profile.", lambda snapshot: snapshot.correction_ratio),
    ("processes", "Worker processes that are ready or searching.", lambda snapshot: snapshot.processes),
)
_COUNTERS: tuple[tuple[str, str, Callable[[Snapshot], float]], ...] = (
    ("replaced_workers", "Worker threads that hung and were replaced.", lambda snapshot: snapshot.replaced_workers),
    (
        "replaced_processes",
        "Worker processes that died or hung and were replaced.",
        lambda snapshot: snapshot.replaced_processes,
    ),
)


class Metrics:
    """Metrics of one server, in a registry of its own; nearly all are labelled by index.

    Args:
        engines: Engines by index, which report their figures at each scrape.
    """

    def __init__(self, engines: Mapping[str, RetrievalEngine]) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_EngineCollector(engines))
        self._registry.register(ShardCollector(engines))
        self._requests = self._counter("http_requests", "Requests by path, method and status.", _REQUEST_LABELS)
        self._request_counts: dict[tuple[str, str, str, int], tuple[Counter, Histogram]] = {}
        self._request_s = self._histogram(
            "http_request_seconds", "Time from the head of a request to the end of its response.", ("path",)
        )
        self._query_s = self._histogram(
            "query_seconds", "Time from the arrival of a query to its answer, in the queue and in its batch."
        )
        self._embedded_tokens = self._counter("embedded_tokens", "Tokens embedded.")
        self._reranked_tokens = self._counter(
            "reranked_tokens", "Tokens of the pairs of a query and a document that clients had reranked."
        )
        self._changed_documents = self._counter(
            "changed_documents", "Documents that clients added, replaced or deleted.", ("change",)
        )

    def of_index(self, index: str) -> IndexMetrics:
        """Return the metrics of what one index answers."""
        return IndexMetrics(index, self._query_s, self._embedded_tokens, self._reranked_tokens, self._changed_documents)

    def count_request(self, index: str, path: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `path` must be one of few, because each gets time series of its own."""
        labels = index, path, method, status
        if (counts := self._request_counts.get(labels)) is None:  # to look labels up takes longer than to count
            counts = self._requests.labels(*map(str, labels)), self._request_s.labels(index, path)
            self._request_counts[labels] = counts
        counts[0].inc()
        counts[1].observe(seconds)

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, description: str, labels: tuple[str, ...] = ()) -> Counter:
        return Counter(f"elasticdenser_{name}", description, ("index", *labels), registry=self._registry)

    def _histogram(self, name: str, description: str, labels: tuple[str, ...] = ()) -> Histogram:
        names = ("index", *labels)
        return Histogram(
            f"elasticdenser_{name}", description, names, buckets=_LATENCY_BOUNDS_S, registry=self._registry
        )


class IndexMetrics:
    """Metrics of what one index answers; made by `Metrics.of_index`, so that labels are looked up once.

    Args:
        index: Its name.
        query_s: Histogram of the queries' latencies.
        embedded_tokens: Counter of embedded tokens.
        reranked_tokens: Counter of reranked tokens.
        changed_documents: Counter of documents, by change.
    """

    def __init__(
        self,
        index: str,
        query_s: Histogram,
        embedded_tokens: Counter,
        reranked_tokens: Counter,
        changed_documents: Counter,
    ) -> None:
        self._query_s = query_s.labels(index)
        self._embedded_tokens, self._reranked_tokens = embedded_tokens.labels(index), reranked_tokens.labels(index)
        self._changed = {change: changed_documents.labels(index, change) for change in CHANGES}

    def observe_query(self, latency_s: float) -> None:
        """Count an answered query."""
        self._query_s.observe(latency_s)

    def count_tokens(self, n_tokens: int) -> None:
        """Count tokens of texts that were embedded."""
        self._embedded_tokens.inc(n_tokens)

    def count_reranked_tokens(self, n_tokens: int) -> None:
        """Count tokens of pairs that `/v1/rerank` or `/rerank` scored."""
        self._reranked_tokens.inc(n_tokens)

    def count_change(self, **documents: int) -> None:
        """Count documents that clients have changed; the names are those of `CHANGES`."""
        for change, n_documents in documents.items():
            self._changed[change].inc(n_documents)


class _EngineCollector(Collector):
    def __init__(self, engines: Mapping[str, RetrievalEngine]) -> None:
        self._engines = engines

    def describe(self) -> list[Metric]:
        """Return no names: an empty list keeps the registry from collecting when this collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the state and the counts of the engines."""
        snapshots = {index: engine.snapshot() for index, engine in self._engines.items()}
        for name, description, value_of in _GAUGES:
            gauge = GaugeMetricFamily(f"elasticdenser_{name}", description, labels=("index",))
            for index, snapshot in snapshots.items():
                gauge.add_metric((index,), value_of(snapshot))
            yield gauge
        for name, description, value_of in _COUNTERS:
            counter = CounterMetricFamily(f"elasticdenser_{name}", description, labels=("index",))
            for index, snapshot in snapshots.items():
                counter.add_metric((index,), value_of(snapshot))
            yield counter
        queries = CounterMetricFamily("elasticdenser_queries", "Queries by outcome.", labels=("index", "outcome"))
        answers = CounterMetricFamily("elasticdenser_answers", "Answers by level.", labels=("index", "level"))
        batch_sizes = HistogramMetricFamily("elasticdenser_batch_size", "Queries computed together.", labels=("index",))
        for index, snapshot in snapshots.items():
            for status, n in snapshot.statuses.items():
                queries.add_metric((index, status.replace(" ", "_")), n)
            for level, n in snapshot.levels.items():
                answers.add_metric((index, level), n)
            _add_batch_sizes(batch_sizes, index, snapshot)
        yield from (queries, answers, batch_sizes, self._generations())

    def _generations(self) -> Metric:
        generations = GaugeMetricFamily(
            "elasticdenser_index_generation", "Generation of the index that is searched.", labels=("index",)
        )
        for index, engine in self._engines.items():
            if engine.retriever is not None:
                generations.add_metric((index,), engine.retriever.index.generation)
        return generations


def _add_batch_sizes(histogram: HistogramMetricFamily, index: str, snapshot: Snapshot) -> None:
    counts = [0] * (len(_BATCH_SIZE_BOUNDS) + 1)
    for batch_size, n in snapshot.batches.items():
        counts[bisect_left(_BATCH_SIZE_BOUNDS, batch_size)] += n
    bounds = [*(str(float(bound)) for bound in _BATCH_SIZE_BOUNDS), "+Inf"]
    buckets = list(zip(bounds, accumulate(counts), strict=True))
    n_queries = sum(batch_size * n for batch_size, n in snapshot.batches.items())
    histogram.add_metric((index,), buckets, n_queries)  # type: ignore[arg-type]  # the stub also expects exemplars
