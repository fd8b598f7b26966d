"""Metrics of indexes whose shards are searched by replicas in other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.index.sharding.fan_out import FanOut
from elasticdenser.index.sharding.fan_out_index import FanOutIndex
from elasticdenser.index.sharding.requests import Shard

_GAUGES: tuple[tuple[str, str, Callable[[Shard], float]], ...] = (
    ("shard_replicas", "Replicas that can be asked now.", lambda shard: shard.n_replicas),
    ("shard_queue_length", "Requests that wait until a replica is free.", lambda shard: shard.n_waiting),
)
_CAUSES: tuple[tuple[str, Callable[[FanOut], float]], ...] = (
    ("first", lambda fan_out: fan_out.n_asked),
    ("hedge", lambda fan_out: fan_out.n_hedged),
    ("repeat", lambda fan_out: fan_out.n_repeated),
)


class ShardCollector(Collector):
    """Figures of the shards at each scrape; the counts begin anew with each generation of an index.

    Args:
        engines: Engines by index; those that search without replicas have no such figures.
    """

    def __init__(self, engines: Mapping[str, RetrievalEngine]) -> None:
        self._engines = engines

    def describe(self) -> list[Metric]:
        """Return no names: an empty list keeps the registry from collecting when this collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the state of the shards, and counts of requests to them."""
        fan_outs = {
            name: engine.retriever.index.fan_out
            for name, engine in self._engines.items()
            if engine.retriever is not None and isinstance(engine.retriever.index, FanOutIndex)
        }
        if not fan_outs:
            return
        for metric, description, value_of in _GAUGES:
            gauge = GaugeMetricFamily(f"elasticdenser_{metric}", description, labels=("index", "shard"))
            for index, fan_out in fan_outs.items():
                for number, shard in enumerate(fan_out.shards):
                    gauge.add_metric((index, str(number)), value_of(shard))
            yield gauge
        requests = CounterMetricFamily(
            "elasticdenser_shard_requests", "Requests to shards by cause.", labels=("index", "cause")
        )
        missing = CounterMetricFamily(
            "elasticdenser_missing_shard_replies", "Replies of shards that answers went out without.", labels=("index",)
        )
        partial = CounterMetricFamily(
            "elasticdenser_partial_answers", "Queries that were answered without some shard.", labels=("index",)
        )
        for index, fan_out in fan_outs.items():
            for cause, count_of in _CAUSES:
                requests.add_metric((index, cause), count_of(fan_out))
            missing.add_metric((index,), fan_out.n_left_out)
            partial.add_metric((index,), fan_out.n_partial)
        yield from (requests, missing, partial)
