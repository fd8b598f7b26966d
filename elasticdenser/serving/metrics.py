"""Metrics for Prometheus: counts of the server, and figures that the engine reports at each scrape."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from elasticdenser.engine.answers import Snapshot
from elasticdenser.engine.engine import RetrievalEngine

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# Bounds of the histograms' buckets. The latencies are finest around the default deadline of 25 ms.
_LATENCY_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_SIZE_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Metrics of one application, in a registry of its own.

    Args:
        engine: Reports its figures at each scrape.
    """

    def __init__(self, engine: RetrievalEngine) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_EngineCollector(engine))
        self._requests = Counter(
            "elasticdenser_http_requests",
            "Requests by path, method and status.",
            ("path", "method", "status"),
            registry=self._registry,
        )
        self._request_s = Histogram(
            "elasticdenser_http_request_seconds",
            "Time from the head of a request to the end of its response.",
            ("path",),
            buckets=_LATENCY_BOUNDS_S,
            registry=self._registry,
        )
        self._query_s = Histogram(
            "elasticdenser_query_seconds",
            "Time from the arrival of a query to its answer, in the queue and in its batch.",
            buckets=_LATENCY_BOUNDS_S,
            registry=self._registry,
        )
        self._embedded_tokens = Counter("elasticdenser_embedded_tokens", "Tokens embedded.", registry=self._registry)
        self._reranked_tokens = Counter(
            "elasticdenser_reranked_tokens",
            "Tokens of the pairs of a query and a document that clients had reranked.",
            registry=self._registry,
        )

    def count_request(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `path` must be one of few, because each gets time series of its own."""
        self._requests.labels(path, method, str(status)).inc()
        self._request_s.labels(path).observe(seconds)

    def observe_query(self, latency_s: float) -> None:
        """Count an answered query."""
        self._query_s.observe(latency_s)

    def count_tokens(self, n_tokens: int) -> None:
        """Count tokens of texts that were embedded."""
        self._embedded_tokens.inc(n_tokens)

    def count_reranked_tokens(self, n_tokens: int) -> None:
        """Count tokens of pairs that `/v1/rerank` or `/rerank` scored."""
        self._reranked_tokens.inc(n_tokens)

    def render(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    def __init__(self, engine: RetrievalEngine) -> None:
        self._engine = engine

    def describe(self) -> list[Metric]:
        """Return no names: an empty list keeps the registry from collecting when this collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the state and the counts of the engine."""
        snapshot = self._engine.snapshot()
        gauges = (
            ("queue_length", "Queries in the queue.", snapshot.n_waiting),
            ("running_batches", "Batches that are running.", snapshot.n_running),
            (
                "arrival_rate_per_second",
                "Queries per second with a deadline, over 0.1 s.",
                snapshot.rate_per_s,
            ),
            ("correction_ratio", "Ratio of the run times to those of the profile.", snapshot.correction_ratio),
            ("processes", "Worker processes that are ready or searching.", snapshot.processes),
        )
        for name, description, value in gauges:
            yield GaugeMetricFamily(f"elasticdenser_{name}", description, value)
        queries = CounterMetricFamily("elasticdenser_queries", "Queries by outcome.", labels=("outcome",))
        for status, n in snapshot.statuses.items():
            queries.add_metric((status.replace(" ", "_"),), n)
        yield queries
        answers = CounterMetricFamily("elasticdenser_answers", "Answers by level.", labels=("level",))
        for level, n in snapshot.levels.items():
            answers.add_metric((level,), n)
        yield answers
        counters = (
            ("replaced_workers", "Worker threads that hung and were replaced.", snapshot.replaced_workers),
            (
                "replaced_processes",
                "Worker processes that died or hung and were replaced.",
                snapshot.replaced_processes,
            ),
        )
        for name, description, value in counters:
            yield CounterMetricFamily(f"elasticdenser_{name}", description, value)
        yield _batch_size_histogram(snapshot)


def _batch_size_histogram(snapshot: Snapshot) -> Metric:
    counts = [0] * (len(_BATCH_SIZE_BOUNDS) + 1)
    for batch_size, n in snapshot.batches.items():
        counts[bisect_left(_BATCH_SIZE_BOUNDS, batch_size)] += n
    bounds = [*(str(float(bound)) for bound in _BATCH_SIZE_BOUNDS), "+Inf"]
    buckets = list(zip(bounds, accumulate(counts), strict=True))
    n_queries = sum(batch_size * n for batch_size, n in snapshot.batches.items())
    histogram = HistogramMetricFamily("elasticdenser_batch_size", "Queries computed together.")
    histogram.add_metric((), buckets, n_queries)  # type: ignore[arg-type]  # the stub also expects exemplars
    return histogram
