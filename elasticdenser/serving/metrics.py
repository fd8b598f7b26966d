"""Figures for Prometheus: what the server counts itself, and what the engine says of itself when asked."""

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

_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The figures of one app, in a registry of its own.

    Args:
        engine: Asked when the figures are.
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
            "From the head of a request to the last of its response.",
            ("path",),
            buckets=_LATENCY_S,
            registry=self._registry,
        )
        self._query_s = Histogram(
            "elasticdenser_query_seconds",
            "From when a query came to its answer, in the queue and in its batch.",
            buckets=_LATENCY_S,
            registry=self._registry,
        )
        self._encoded = Counter("elasticdenser_embedded_tokens", "Tokens encoded.", registry=self._registry)

    def request(self, path: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `path` is one of few."""
        self._requests.labels(path, method, str(status)).inc()
        self._request_s.labels(path).observe(seconds)

    def query(self, seconds: float) -> None:
        """Count an answer."""
        self._query_s.observe(seconds)

    def embedded(self, tokens: int) -> None:
        """Count tokens."""
        self._encoded.inc(tokens)

    def text(self) -> bytes:
        """Return all figures in Prometheus's text format."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    def __init__(self, engine: RetrievalEngine) -> None:
        self._engine = engine

    def describe(self) -> list[Metric]:
        """Return no names: an empty list keeps the registry from collecting when this is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield what the engine is doing, and has done."""
        now = self._engine.snapshot()
        gauges = (
            ("queue_length", "Queries in the queue.", now.n_waiting),
            ("running_batches", "Batches that run.", now.n_running),
            ("arrival_rate_per_second", "Queries with a deadline a second, over the last 0.1 s.", now.rate_per_s),
            ("correction_ratio", "How much slower than profiled the machine is.", now.ratio),
            ("processes", "Search processes that are ready, or search.", now.processes),
        )
        for name, what, value in gauges:
            yield GaugeMetricFamily(f"elasticdenser_{name}", what, value)
        ended = CounterMetricFamily("elasticdenser_queries", "Queries by how they ended.", labels=("outcome",))
        for status, n in now.statuses.items():
            ended.add_metric((status.replace(" ", "_"),), n)
        yield ended
        answers = CounterMetricFamily("elasticdenser_answers", "Answers by level.", labels=("level",))
        for level, n in now.levels.items():
            answers.add_metric((level,), n)
        yield answers
        counters = (
            ("replaced_workers", "WorkerPool that hung and were replaced.", now.replaced_workers),
            ("replaced_processes", "Search processes that died or hung and were replaced.", now.replaced_processes),
        )
        for name, what, value in counters:
            yield CounterMetricFamily(f"elasticdenser_{name}", what, value)
        yield _batches(now)


def _batches(now: Snapshot) -> Metric:
    counts = [0] * (len(_BATCH_SIZES) + 1)
    for size, n in now.batches.items():
        counts[bisect_left(_BATCH_SIZES, size)] += n
    bounds = [*(str(float(size)) for size in _BATCH_SIZES), "+Inf"]
    buckets = list(zip(bounds, accumulate(counts), strict=True))
    total = sum(size * n for size, n in now.batches.items())
    made = HistogramMetricFamily("elasticdenser_batch_size", "Queries computed together.")
    made.add_metric((), buckets, total)  # type: ignore[arg-type]  # its stub wants pairs with exemplars too
    return made
