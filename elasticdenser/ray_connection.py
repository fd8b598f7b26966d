"""Connection to a Ray cluster: an existing one, or one on this machine that nobody else can reach."""

from __future__ import annotations

import logging
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from elasticdenser.errors import ElasticDenserError
from elasticdenser.lazy_imports import check_installed

LOCAL = "local"
"""Address that stands for a cluster which is started on this machine, and ends with the connection."""

_LOCAL_ENVIRONMENT = {
    # Ray listens on the address of the network otherwise; with this on the loopback address, as on other systems.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_AUTH_MODE": "token",
    "RAY_worker_niceness": "0",  # 15 otherwise, with which workers starve on a machine that does other work, too
}

_OBJECT_STORE_BYTES = 80 << 20
"""Memory of a local cluster for objects, near the least that Ray takes: texts and vectors do not go through it."""


@contextmanager
def ray_cluster(address: str, feature: str, **local_options: Any) -> Iterator[Any]:
    """Connect this process to a cluster, unless it is connected already, and yield the module `ray`.

    Args:
        address: Such as `auto` or `10.0.0.1:6379`; `local` starts a cluster on this machine that listens on the
            loopback address, asks for a token, and has no dashboard.
        feature: What needs it, for messages.
        **local_options: Further options of `ray.init` for a local cluster.

    Raises:
        MissingExtraError: Ray is not installed.
        ElasticDenserError: The cluster cannot be reached.
    """
    check_installed(feature, "ray", "ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send statistics of usage
    options: dict[str, Any] = {}
    if address == LOCAL:
        for name, value in _LOCAL_ENVIRONMENT.items():  # read by Ray when it is imported, and by its processes
            os.environ.setdefault(name, value)
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        options = {"include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES, **local_options}
    import ray

    if ray.is_initialized():
        yield ray
        return
    try:
        with _own_sigterm_handler():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ElasticDenserError(
            f"cannot use the Ray cluster {address!r} ({reason}): give --ray the address that `ray start --head` "
            "printed, with RAY_AUTH_TOKEN if it has one, or `local`"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm_handler() -> Iterator[None]:
    """Keep the handler of SIGTERM, if there is one: Ray replaces it by one that exits with status 15."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(handler) and signal.getsignal(signal.SIGTERM) is not handler:
            signal.signal(signal.SIGTERM, handler)
