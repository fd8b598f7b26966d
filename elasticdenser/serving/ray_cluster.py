"""Replicas of shards on a Ray cluster, one deployment of Ray Serve a shard."""

from __future__ import annotations

import logging
import os
import secrets
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

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

LOCAL = "local"
"""Address of a cluster that is started for this process, on this machine, and ends with it."""

_LOCAL_ENVIRONMENT = {
    # Ray binds to the address of the network otherwise: with this it takes the loopback address, as on other systems.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_prestart_worker_first_driver": "0",  # workers that no replica would use
}
_OBJECT_STORE_BYTES = 128 << 20
"""Vectors and hits of a batch are some kilobytes; larger stores only take memory from the shards."""
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
        lazy_imports.check_installed("serving shards on Ray", "ray", "ray", "aiohttp")
        self.settings, self._fan_out_settings = settings, fan_out
        self._fan_outs: list[FanOut] = []
        self._is_connected = False

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
        for fan_out in self._fan_outs:
            fan_out.close()
        self._fan_outs.clear()
        if self._is_connected:
            import ray

            if self.settings.address == LOCAL:
                from ray import serve

                serve.shutdown()
            ray.shutdown()
            self._is_connected = False

    def _connect(self, n_shards: int) -> None:
        if self._is_connected:
            return
        options: dict[str, Any] = {}
        if self.settings.address == LOCAL:
            for name, value in _LOCAL_ENVIRONMENT.items():  # read by Ray when it is imported, and by its processes
                os.environ.setdefault(name, value)
            if "RAY_AUTH_TOKEN_PATH" not in os.environ:
                os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            options = {
                "include_dashboard": False,
                # The next generation of the index starts beside the present one. 2: Serve itself.
                "num_cpus": 2 + 2 * int(self.settings.replica_cpus * n_shards * self.settings.max_replicas + 1),
                "object_store_memory": _OBJECT_STORE_BYTES,
            }
        import ray
        from ray import serve

        try:
            ray.init(self.settings.address, log_to_driver=False, logging_level=logging.ERROR, **options)
            serve.start(proxy_location="Disabled", logging_config={"log_level": "WARNING"})
        except Exception as error:
            raise ElasticDenserError(
                f"cannot use the Ray cluster {self.settings.address!r} ({str(error).strip().splitlines()[0]}): give "
                "--ray the address that `ray start --head` printed, with RAY_AUTH_TOKEN if it has one, or `local`"
            ) from error
        self._is_connected = True

    def _deployment(self) -> Any:
        from ray import serve

        from elasticdenser.serving.shard_replica import ShardReplica

        settings, scale = self.settings, {}
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

    def __init__(self, handle: DeploymentHandle, app: str) -> None:
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
