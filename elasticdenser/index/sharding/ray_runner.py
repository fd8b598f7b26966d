"""Running of the tasks of a sharded build by actors of Ray: on many machines, whose loss costs only unfinished windows.

No texts or vectors go through Ray: a task names files, which every machine must reach under the same path, and the
checkpoint of a shard is its journal. Ray starts the actor of a process or machine that died again, elsewhere if need
be, and calls it again; the builder then continues at the journal.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from elasticdenser import errors
from elasticdenser.errors import BuildError, ElasticDenserError
from elasticdenser.index.sharding.runner import Measure, Task
from elasticdenser.lazy_imports import check_installed
from elasticdenser.progress import Progress, silent

T = TypeVar("T")

LOCAL = "local"
"""Address that stands for a cluster on this machine, which ends with the build."""

_POLL_S = 1.0

_MAX_DEATHS = 5
"""How often the process of a shard may die before the build fails: then it is the shard that ends it."""

_OBJECT_STORE_BYTES = 80 << 20
"""Memory of a local cluster for objects, near the least that Ray takes: only tasks and scans go through it."""


@dataclass(frozen=True)
class _Failure:
    """Error of a task for the user, which is not raised in the actor: Ray would add a traceback."""

    kind: str
    message: str


class _Builder:
    """Actor that runs tasks, one at a time."""

    def run(self, task: Task[Any]) -> Any:
        """Run a task, and return its result or the error for the user."""
        try:
            return task(silent)
        except ElasticDenserError as error:
            return _Failure(type(error).__name__, str(error))


class RayRunner:
    """Runs tasks on a Ray cluster; a `Runner`, to be used in a `with`.

    Args:
        address: Of the cluster, such as `auto` or `10.0.0.1:6379`; `local` starts one on this machine, that listens on
            the loopback address only, without a dashboard.
        cpus: CPUs for each actor; it encodes on as many threads.
        device: Device of the encoder: on `cuda` each actor takes a GPU, on `auto` if the cluster has one.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, address: str = LOCAL, *, cpus: int = 1, device: str = "cpu") -> None:
        check_installed("building on Ray", "ray", "ray")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send statistics of usage
        import ray

        self._ray, self._address, self._cpus, self._device = ray, address, cpus, device
        self._is_own = False

    def __enter__(self) -> Self:
        """Connect to the cluster, unless this process is connected to one already.

        Raises:
            BuildError: It cannot be reached.
        """
        ray = self._ray
        if not ray.is_initialized():
            options: dict[str, Any] = {"address": self._address, "log_to_driver": False, "logging_level": "error"}
            if self._address == LOCAL:
                options |= {
                    "include_dashboard": False,
                    "_node_ip_address": "127.0.0.1",
                    "object_store_memory": _OBJECT_STORE_BYTES,
                }
            try:
                ray.init(**options)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise BuildError(
                    f"cannot reach a Ray cluster at {self._address!r} ({error}): start one with `ray start --head`, or "
                    "give --ray local"
                ) from None
            self._is_own = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_own:
            self._ray.shutdown()

    def run(self, tasks: Sequence[Task[T]], step: str, progress: Progress, measure: Measure | None = None) -> list[T]:
        """Run all tasks on as many actors as the cluster has room for; see `Runner.run`."""
        ray = self._ray
        waiting = deque(range(len(tasks)))
        actors = self._actors(len(tasks))
        idle, running = list(actors), {}
        results: dict[int, T] = {}
        try:
            while waiting or running:
                while waiting and idle:
                    number, actor = waiting.popleft(), idle.pop()
                    running[actor.run.remote(tasks[number])] = (number, actor)
                while idle:
                    ray.kill(idle.pop())  # its CPUs may be needed by the actor of a machine that was lost
                for reference in ray.wait(list(running), timeout=_POLL_S)[0]:
                    number, actor = running.pop(reference)
                    results[number] = self._result(reference, number)
                    idle.append(actor)
                progress(step, *(measure() if measure else (len(results), len(tasks))))
        finally:
            for actor in actors:
                ray.kill(actor)
        return [results[number] for number in range(len(tasks))]

    def _actors(self, n_tasks: int) -> list[Any]:
        """Start actors, at most one for each task.

        Raises:
            BuildError: The cluster has no room for one.
        """
        resources = self._ray.cluster_resources()
        n_gpus = int(resources.get("GPU", 0))
        needs_gpu = self._device.startswith("cuda") or (self._device == "auto" and n_gpus > 0)
        n_actors = min(n_tasks, int(resources.get("CPU", 0)) // self._cpus, n_gpus if needs_gpu else n_tasks)
        if n_actors < 1:
            has, wanted = f"{resources.get('CPU', 0):g} CPUs and {n_gpus} GPUs", f"{self._cpus} and {int(needs_gpu)}"
            raise BuildError(
                f"the Ray cluster has {has}, expected at least {wanted} for one shard: take fewer --workers, or add "
                "machines"
            )
        builder = self._ray.remote(_Builder).options(
            num_cpus=self._cpus, num_gpus=int(needs_gpu), max_restarts=_MAX_DEATHS, max_task_retries=_MAX_DEATHS
        )
        return [builder.remote() for _ in range(n_actors)]

    def _result(self, reference: Any, number: int) -> Any:
        """Return the result of a task.

        Raises:
            ElasticDenserError: That of the task; a BuildError if its process died too often.
        """
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayActorError as error:
            raise BuildError(
                f"the process of shard {number} died {_MAX_DEATHS + 1} times: what is finished is safe; look for the "
                "cause in Ray's logs (memory?), then run the same command again"
            ) from error
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        if isinstance(result, _Failure):
            kind = getattr(errors, result.kind, BuildError)
            raise (BuildError if kind is errors.MissingExtraError else kind)(result.message)
        return result
