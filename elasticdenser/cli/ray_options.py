"""Options of serving the shards of an index on a Ray cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from elasticdenser.cli import options


@dataclass(frozen=True, kw_only=True)
class RayServingOptions:
    """Options of replicas of shards."""

    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Search the shards of a sharded index in replicas on this Ray cluster: local (started here, for this "
            "machine only), auto, or HOST:PORT. This process encodes each query once, and merges the hits.",
            show_default=False,
        ),
    ] = None
    replicas: Annotated[
        str, typer.Option(metavar="N|MIN-MAX", help="Replicas of each shard; with MIN-MAX, more while requests queue.")
    ] = "1"
    replica_cpus: Annotated[float, typer.Option(min=0.0, help="CPUs that each replica reserves.")] = 1.0
    shard_timeout_ms: Annotated[
        float | None,
        typer.Option(
            help="Answer without a shard that has not replied after so long; the answer's coverage says so. Default: "
            "half of --deadline-ms.",
            show_default=False,
        ),
    ] = None
    hedge_percentile: Annotated[
        float,
        typer.Option(
            help="Ask another replica when a shard takes longer than this percentile of its latest replies; 0: never."
        ),
    ] = 95.0

    @contextmanager
    def retriever_options(self, deadline_s: float) -> Iterator[dict[str, Any]]:
        """Yield further options of `Retriever.open`; leave the cluster afterwards.

        Args:
            deadline_s: Default deadline of queries.

        Raises:
            typer.BadParameter: The number of replicas cannot be read.
            MissingExtraError: Ray is not installed.
        """
        if self.ray is None:
            yield {}
            return
        from elasticdenser.index.sharding.fan_out import FanOutSettings
        from elasticdenser.serving.ray_cluster import RayCluster, RaySettings

        least, most = self._replica_counts()
        settings = RaySettings(address=self.ray, min_replicas=least, max_replicas=most, replica_cpus=self.replica_cpus)
        timeout_s = deadline_s / 2 if self.shard_timeout_ms is None else self.shard_timeout_ms / 1000
        fan_out = FanOutSettings(timeout_s=timeout_s, hedge_percentile=self.hedge_percentile or None)
        with RayCluster(settings, fan_out) as cluster:
            yield {"open_index": cluster.open_index}

    def n_workers(self, workers: int | None) -> int:
        """Return the number of batches at once: without a number, twice as many where threads wait for replies."""
        return options.n_workers(workers) * (2 if self.ray is not None and workers is None else 1)

    def _replica_counts(self) -> tuple[int, int]:
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", self.replicas.strip())
        if match is None:
            raise typer.BadParameter(
                f"got {self.replicas!r}, expected a number such as 2, or 1-4", param_hint="--replicas"
            )
        return int(match[1]), int(match[2] or match[1])
