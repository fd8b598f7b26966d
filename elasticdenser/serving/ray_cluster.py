"""Replicas of shards on a Ray cluster, one deployment of Ray Serve a shard."""

from __future__ import annotations

import logging
import math
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from elasticdenser import lazy_imports
from elasticdenser.errors import ElasticDenserError, QueryError
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.segment_search import Hits
from elasticdenser.index.sharding.fan_out import FanOut, FanOutSettings, ShardRequest
from elasticdenser.index.sharding.fan_out_index import FanOutIndex
from elasticdenser.index.sharding.manifest import shard_folder
from elasticdenser.ray_connection import LOCAL, ray_cluster

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

_FEATURE = "serving shards on Ray"
_QUEUED_PER_REPLICA = 16
"""Requests that wait for a shard whose replicas are all busy, for each of them; further ones fail, and are repeated."""


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """Settings of the replicas.

    Args:
        address: Address of a cluster, such as `auto` or `10.0.0.1:6379`; `local` starts one on this machine.
        min_replicas: Fewest replicas of each shard.
        max_replicas: Most replicas of each shard; Ray adds some while requests queue.
        searches: Searches that a replica does at once.
        replica_cpus: CPUs that each replica reserves; those of a local cluster are not limited.

    Raises:
        QueryError: A value is out of range.
    """

    address: str = LOCAL
    min_replicas: int = 1
    max_replicas: int = 1
    searches: int = 2
    replica_cpus: float = 1.0

    def __post_init__(self) -> None:
        if not 1 <= self.min_replicas <= self.max_replicas or self.searches < 1:
            message = f"got {self.min_replicas} to {self.max_replicas} replicas with {self.searches} searches each"
            raise QueryError(f"{message}; expected at least 1 of each, and the larger number of replicas second")


class RayCluster:
    """Connection to a Ray cluster, and the deployments that were made over it; a context manager.

    Serve's own HTTP proxies are not started: the server of this process is the only one that listens.

    Args:
        settings: Settings of the replicas.
        fan_out: Settings of the requests to them.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, settings: RaySettings, fan_out: FanOutSettings) -> None:
        lazy_imports.check_installed(_FEATURE, "ray", "ray", "grpc_reflection", "opencensus")
        self.settings, self._fan_out_settings = settings, fan_out
        self._fan_outs: list[FanOut] = []
        self._connection, self._is_connected = ExitStack(), False

    def open_index(self, path: str | Path) -> FanOutIndex:
        """Open a sharded index, and start the replicas of its shards.

        Raises:
            IndexFormatError: The index is missing, damaged, or not sharded.
            ElasticDenserError: The cluster cannot be reached, or a replica cannot start.
        """
        return FanOutIndex.open_with(Path(path).absolute(), self.deploy)

    def deploy(self, contents: IndexContents) -> FanOut:
        """Start the replicas of an index, and wait until each shard can be searched."""
        sharded = contents.sharded
        if sharded is None:
            raise QueryError(f"got {contents.folder}, which is not sharded")
        self._connect(len(sharded.shards))
        from ray import serve

        # Each router has deployments of its own: a name that two shared would be deleted by the first that ends.
        prefix = f"elasticdenser-{secrets.token_hex(4)}"
        targets = []
        for entry in sharded.shards:
            folder = str(shard_folder(contents.folder, entry.name))
            app = self._deployment().bind(folder, entry.manifest)
            targets.append(serve.RunTarget(app, name=f"{prefix}-{entry.name}", route_prefix=None))
        try:
            handles = serve.run_many(targets)
        except Exception as error:
            for target in targets:
                serve.delete(target.name, _blocking=False)
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise ElasticDenserError(
                f"replicas of {contents.folder} cannot start ({reason}): every node must reach this folder and have "
                "this version of elasticdenser; `serve status` and the logs of Ray say more"
            ) from error
        shards = [RayShard(handle, target.name) for handle, target in zip(handles, targets, strict=True)]
        self._fan_outs.append(FanOut(shards, self._fan_out_settings))
        return self._fan_outs[-1]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the deployments, and leave the cluster; a local one ends."""
        if self.settings.address == LOCAL:  # all of it ends, so that nothing need be deleted
            self._connection.close()
        for fan_out in self._fan_outs:
            fan_out.close()
        self._fan_outs.clear()
        self._connection.close()

    def _connect(self, n_shards: int) -> None:
        """Connect to the cluster and start Serve on it, unless that has been done."""
        if self._is_connected:
            return
        n_replicas = n_shards * self.settings.max_replicas
        # The next generation of an index starts beside the present one. The rest is for Serve itself.
        n_cpus = 2 + 2 * math.ceil(self.settings.replica_cpus * n_replicas)
        self._connection.enter_context(ray_cluster(self.settings.address, _FEATURE, num_cpus=n_cpus))
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
        self._is_connected = True

    def _deployment(self) -> Any:
        from ray import serve

        from elasticdenser.serving.shard_replica import ShardReplica

        settings = self.settings
        scale: dict[str, Any] = {}
        if settings.max_replicas > settings.min_replicas:
            scale["autoscaling_config"] = {
                "min_replicas": settings.min_replicas,
                "max_replicas": settings.max_replicas,
                "target_ongoing_requests": max(1, settings.searches - 1),
            }
        else:
            scale["num_replicas"] = settings.min_replicas
        return serve.deployment(
            name="shard",
            max_ongoing_requests=settings.searches,
            max_queued_requests=_QUEUED_PER_REPLICA * settings.max_replicas,
            health_check_timeout_s=60,
            ray_actor_options={"num_cpus": settings.replica_cpus},
            **scale,
        )(ShardReplica)


class RayShard:
    """Shard that a deployment of Ray Serve searches.

    Args:
        handle: Handle of the deployment.
        app: Name of its application.
    """

    def __init__(self, handle: DeploymentHandle[Any], app: str) -> None:
        self._search, self._app = handle.search, app

    async def ask(self, request: ShardRequest) -> Hits:
        """Return the hits of one replica; see `Shard`."""
        hits: Hits = await self._search.remote(request.queries, request.k, request.exact, request.recall)
        return hits

    def close(self) -> None:
        """Delete the deployment, whose replicas first end the searches that they have begun."""
        import ray
        from ray import serve

        if ray.is_initialized():
            serve.delete(self._app, _blocking=False)
