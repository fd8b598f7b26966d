"""Replicas of shards on a Ray cluster, one deployment of Ray Serve a shard."""

from __future__ import annotations

import logging
import math
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self

from elasticdenser import lazy_imports
from elasticdenser.errors import ElasticDenserError, QueryError
from elasticdenser.index.contents import IndexContents
from elasticdenser.index.sharding.fan_out import FanOut, FanOutSettings
from elasticdenser.index.sharding.fan_out_index import FanOutIndex
from elasticdenser.index.sharding.manifest import shard_folder
from elasticdenser.index.sharding.remote.remote_shard import RemoteShard
from elasticdenser.ray_connection import LOCAL, ray_cluster

_FEATURE = "serving shards on Ray"
_CONNECT_TIMEOUT_S = 60.0
"""A replica that runs has connected by then, or cannot reach this process."""
_LOOK_BACK_S, _ADD_AFTER_S = 15.0, 5.0
"""Replicas are added by the mean load over so long, once it has been too high for so long."""


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
        import ray
        from ray import serve

        # Each router has deployments of its own: a name that two shared would be deleted by the first that ends.
        prefix = f"elasticdenser-{secrets.token_hex(4)}"
        # Where Ray listens, too: the loopback address of a local cluster.
        host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        shards, targets = [], []
        for entry in sharded.shards:
            shard = RayShard(host, f"{prefix}-{entry.name}")
            folder = str(shard_folder(contents.folder, entry.name))
            app = self._deployment().bind(folder, entry.manifest, shard.address, self.settings.searches)
            shards.append(shard)
            targets.append(serve.RunTarget(app, name=shard.app, route_prefix=None))
        fan_out = FanOut(shards, self._fan_out_settings)
        try:
            self._run(contents, targets)
            _wait_for_replicas(shards)
        except BaseException:
            fan_out.close()
            raise
        self._fan_outs.append(fan_out)
        return fan_out

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

    def _run(self, contents: IndexContents, targets: list[Any]) -> None:
        from ray import serve

        try:
            serve.run_many(targets)
        except Exception as error:
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            raise ElasticDenserError(
                f"replicas of {contents.folder} cannot start ({reason}): every node must reach this folder and have "
                "this version of elasticdenser; `serve status` and the logs of Ray say more"
            ) from error

    def _deployment(self) -> Any:
        from ray import serve

        from elasticdenser.serving.shard_replica import ShardReplica, replicas_for_load

        settings = self.settings
        scale: dict[str, Any] = {}
        if settings.max_replicas > settings.min_replicas:
            scale["autoscaling_config"] = {
                "min_replicas": settings.min_replicas,
                "max_replicas": settings.max_replicas,
                "target_ongoing_requests": max(1, settings.searches - 1),
                "look_back_period_s": _LOOK_BACK_S,
                "upscale_delay_s": _ADD_AFTER_S,
                "policy": {"policy_function": replicas_for_load},
            }
        else:
            scale["num_replicas"] = settings.min_replicas
        return serve.deployment(
            name="shard",
            health_check_timeout_s=60,
            ray_actor_options={"num_cpus": settings.replica_cpus},
            **scale,
        )(ShardReplica)


class RayShard(RemoteShard):
    """Shard whose replicas are those of a deployment of Ray Serve.

    Args:
        host: Address of this machine that replicas connect to.
        app: Name of the application.
    """

    def __init__(self, host: str, app: str) -> None:
        super().__init__(host)
        self.app = app

    def close(self) -> None:
        """Delete the deployment."""
        import ray
        from ray import serve

        if ray.is_initialized():
            serve.delete(self.app, _blocking=False)
        super().close()


def _wait_for_replicas(shards: list[RayShard]) -> None:
    """Wait until each shard can be searched.

    Raises:
        ElasticDenserError: Replicas do not reach this process.
    """
    end_s = monotonic() + _CONNECT_TIMEOUT_S
    for shard in shards:
        if not shard.wait_for_replica(max(0.0, end_s - monotonic())):
            address = shard.address
            raise ElasticDenserError(
                f"no replica of {shard.app} has connected to {address.host} port {address.port} within "
                f"{_CONNECT_TIMEOUT_S:g} s: let the nodes of the cluster reach this machine on all ports"
            )
