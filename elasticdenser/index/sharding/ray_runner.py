"""Running of the tasks of a sharded build by actors of Ray: on many machines, whose loss costs only unfinished windows.

No texts or vectors go through Ray: a task names files, which every machine must reach under the same path, and the
checkpoint of a shard is its journal. The task of an actor that died with its process or machine is given to another
one, where the builder continues at the journal. Ray's own retries are not used: until it has noticed that a machine is
gone, they fail one after another.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from elasticdenser import errors
from elasticdenser.cpus import LIMIT
from elasticdenser.errors import BuildError, ElasticDenserError
from elasticdenser.index.sharding.runner import Measure, Task
from elasticdenser.progress import Progress, silent

T = TypeVar("T")

_POLL_S = 1.0

_IDLE_S = 10.0
"""How long an actor waits for others to finish. Then it ends: its CPUs may be needed to start one of these again,
whose machine was lost, or that the cluster had no room for yet."""

_MAX_DEATHS = 5
"""How often the process of a shard may die before the build fails: then it is the shard that ends it."""


_KINDS = ("BadInputError", "BuildError", "IndexFormatError", "ModelError")
"""Errors that are raised again as what they are; others become a `BuildError`."""


@dataclass(frozen=True)
class _Failure:
    """Error of a task for the user, which is not raised in the actor: Ray would add a traceback."""

    kind: str
    message: str


class _Builder:
    """Actor that runs tasks, one at a time.

    Args:
        cpus: CPUs that it may use.
        has_gpu: Whether Ray has given it a GPU; without one, `auto` must not find any.
    """

    def __init__(self, cpus: int, has_gpu: bool) -> None:
        os.environ[LIMIT] = str(cpus)
        if not has_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""

    def run(self, task: Task[Any]) -> Any:
        """Run a task, and return its result or the error for the user."""
        try:
            return task(silent)
        except ElasticDenserError as error:
            kind = type(error).__name__
            return _Failure(kind if kind in _KINDS else BuildError.__name__, str(error))


class RayRunner:
    """Runs tasks on a Ray cluster; a `Runner`, to be closed after the last tasks.

    Args:
        ray: The module `ray`, connected to the cluster; see `ray_cluster`.
        cpus: CPUs for each actor; it encodes on as many threads.
        device: Device of the encoder: with `cuda` each actor takes a GPU; with `auto`, as many as there are GPUs do,
            and others encode beside them on the CPUs that are left.
    """

    def __init__(self, ray: Any, *, cpus: int = 1, device: str = "cpu") -> None:
        self._ray, self._cpus, self._device = ray, cpus, device
        self._actors: dict[Any, bool] = {}
        """The actors, and whether they have a GPU."""

    def close(self) -> None:
        """End all actors."""
        while self._actors:
            self._ray.kill(self._actors.popitem()[0])

    def run(self, tasks: Sequence[Task[T]], step: str, progress: Progress, measure: Measure | None = None) -> list[T]:
        """Run all tasks on as many actors as the cluster has room for; see `Runner.run`."""
        waiting = deque(range(len(tasks)))
        self._start_actors(len(tasks))
        idle, idle_since = list(self._actors), time.monotonic()
        running: dict[Any, tuple[int, Any]] = {}
        results: dict[int, T] = {}
        deaths: Counter[int] = Counter()
        while waiting or running:
            while waiting and idle:
                number, actor = waiting.popleft(), idle.pop()
                running[actor.run.remote(tasks[number])] = (number, actor)
            if idle and time.monotonic() - idle_since > _IDLE_S:
                self._end(idle.pop())
            for reference in self._ray.wait(list(running), timeout=_POLL_S)[0]:
                number, actor = running.pop(reference)
                try:
                    results[number] = self._result(reference)
                    idle.append(actor)
                except self._ray.exceptions.RayActorError as error:
                    self._end(actor)
                    deaths[number] += 1
                    if deaths[number] > _MAX_DEATHS:
                        raise _died_too_often(number) from error
                    waiting.append(number)
                    idle += self._start_actors(len(waiting) + len(running))
                idle_since = time.monotonic()
            progress(step, *(measure() if measure else (len(results), len(tasks))))
        return [results[number] for number in range(len(tasks))]

    def _start_actors(self, n_tasks: int) -> list[Any]:
        """Start actors where the cluster has room, until there is one for each task, and return the new ones.

        Raises:
            BuildError: The cluster has no room for any.
        """
        resources = self._ray.cluster_resources()
        n_gpus, needs_gpu = int(resources.get("GPU", 0)), self._device.startswith("cuda")
        n_actors = min(n_tasks, int(resources.get("CPU", 0)) // self._cpus, n_gpus if needs_gpu else n_tasks)
        if n_actors < 1:
            has, wanted = f"{resources.get('CPU', 0):g} CPUs and {n_gpus} GPUs", f"{self._cpus} and {int(needs_gpu)}"
            raise BuildError(
                f"the Ray cluster has {has}, expected at least {wanted} for one shard: take fewer --workers, or add "
                "machines"
            )
        n_with_gpu = min(n_actors, n_gpus) if needs_gpu or self._device == "auto" else 0
        n_new, n_new_with_gpu = n_actors - len(self._actors), n_with_gpu - sum(self._actors.values())
        started = {self._new_actor(has_gpu=number < n_new_with_gpu): number < n_new_with_gpu for number in range(n_new)}
        self._actors |= started
        return list(started)[::-1]  # the last one gets a task first

    def _new_actor(self, *, has_gpu: bool) -> Any:
        builder = self._ray.remote(_Builder).options(num_cpus=self._cpus, num_gpus=int(has_gpu))
        return builder.remote(self._cpus, has_gpu)

    def _end(self, actor: Any) -> None:
        del self._actors[actor]
        self._ray.kill(actor)

    def _result(self, reference: Any) -> Any:
        """Return the result of a task.

        Raises:
            ElasticDenserError: That of the task.
            RayActorError: Its process or machine died.
        """
        try:
            result = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        if isinstance(result, _Failure):
            raise getattr(errors, result.kind)(result.message)
        return result


def _died_too_often(number: int) -> BuildError:
    return BuildError(
        f"the process of shard {number} died {_MAX_DEATHS + 1} times: what is finished is safe; look for the cause in "
        "Ray's logs (memory?), then run the same command again"
    )
