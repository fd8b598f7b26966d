"""The engine: worker threads between a retriever and those who ask, driven by the scheduler."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

from elasticdenser.cpus import cpu_count
from elasticdenser.engine.answers import Answer, Snapshot
from elasticdenser.engine.batch_search import BatchSearch, RetrieverSearch
from elasticdenser.engine.dispatcher import Dispatcher, Wanted
from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.policies import make_policy
from elasticdenser.engine.processes.pool import ProcessPoolSearch
from elasticdenser.engine.profiling.ladder import quick_profile
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Query
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.engine.workers import WorkerPool
from elasticdenser.errors import QueryError
from elasticdenser.query_input import check_query

if TYPE_CHECKING:
    from elasticdenser.retrieval.retriever import Retriever


class RetrievalEngine:
    """Answers queries from several threads, each by its deadline, at the best level that the load allows.

    Use it as a context manager, or call `close`. Safe to use from any thread.

    Args:
        retriever: Encodes and searches: a `Retriever`, or whatever has `search_batch` (`BatchSearch`).
        profile: Levels and latencies on this machine; None measures those that come with the encoder, which takes
            about two seconds (`quick_profile`).
        policy: As `make_policy` spells it.
        slo_s: Deadline of requests that name none, in seconds after they come.
        workers: Worker threads; None is one for each usable CPU.
        max_unfinished: Requests that may be in the engine at once.
        reserve_s: Time kept free before each deadline; None is a tenth of `slo_s`, at most 10 ms.
        hang_timeout_s: A batch that runs longer, and longer than ten times what was expected, is given up and its
            worker replaced.
        processes: Search in as many processes as there are workers, which then only drive them: more is answered near
            the capacity. Each holds a copy of the search structure and of what the encoder computes with; see
            `ProcessPoolSearch`.
        clock: Returns seconds that only rise.

    Attributes:
        profile: The levels it chooses from.

    Raises:
        QueryError: The policy does not exist, the retriever lacks a level, or a figure is out of range.
    """

    def __init__(
        self,
        retriever: Retriever | BatchSearch,
        profile: Profile | None = None,
        *,
        policy: str = "elastic",
        slo_s: float = 0.025,
        workers: int | None = None,
        max_unfinished: int = 1024,
        reserve_s: float | None = None,
        hang_timeout_s: float = 2.0,
        processes: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not hang_timeout_s > 0:
            raise QueryError(f"got hang_timeout_s = {hang_timeout_s}; expected seconds above 0")
        if profile is None:
            if isinstance(retriever, BatchSearch):
                raise QueryError("got no profile; only the levels of a Retriever are known without one")
            profile = quick_profile(retriever)
        n_workers = cpu_count() if workers is None else workers
        settings = SchedulerSettings(slo_s=slo_s, workers=n_workers, reserve_s=reserve_s, max_unfinished=max_unfinished)
        chosen = make_policy(policy, profile, slo_s=slo_s, workers=n_workers)
        recalls = {level.name: level.recall for level in profile.levels}
        self._processes: ProcessPoolSearch | None = None
        self._search: BatchSearch
        if isinstance(retriever, BatchSearch):
            if processes:
                raise QueryError("got processes for a search of your own; only a Retriever can be opened in each")
            self._search = retriever
        elif processes:
            self._search = self._processes = ProcessPoolSearch(
                retriever, recalls, n_workers, max(30.0, 10 * hang_timeout_s)
            )
        else:
            self._search = RetrieverSearch(retriever, recalls)
        self.profile = profile
        self._settings = settings
        self._dispatcher = self._make_dispatcher(Scheduler(profile, chosen, settings), clock)
        self._workers = WorkerPool(
            self._dispatcher, n_workers, lock=self._dispatcher.lock, clock=clock, hang_timeout_s=hang_timeout_s
        )

    def submit(
        self,
        query: str,
        k: int = 10,
        *,
        deadline_s: float | None = None,
        minimum_level: str | None = None,
        priority: int = 0,
        doc_ids: Collection[str] | None = None,
    ) -> Future[Answer]:
        """Hand in a query and return at once.

        Args:
            query: The query.
            k: Hits wanted.
            deadline_s: Seconds from now until its answer is worthless; None is the engine's `slo_s`, infinity is never.
            minimum_level: Name of the level whose quality it must at least have.
            priority: Decides who is turned away when not all can be served; higher stays.
            doc_ids: Search only these documents.

        Returns:
            A future of the answer. Cancelling it takes a query that still waits out of the queue.

        Raises:
            OverloadedError: It could not be answered in time. The future raises it if that turns out only later.
            EngineClosedError: The engine is closed, or is being closed. The future raises it if it is closed too soon.
            QueryError: The query is empty, or an argument is out of range; for ids that are not in the index, the
                future raises it.
            WorkerError: Raised by the future: the batch failed.
        """
        options: dict[str, Any] = {"deadline_s": deadline_s, "minimum_level": minimum_level, "priority": priority}
        return self._dispatcher.submit(self._wanted(query, k, doc_ids=doc_ids, **options), self._workers.wake)

    def ask(self, query: str, k: int = 10, **options: Any) -> Answer:
        """Answer a query; the arguments and errors are those of `submit`, and what its future raises is raised here.

        It is `submit(...).result()`, but faster at rest: if nothing else waits or runs, the calling thread searches. A
        search that hangs then holds it for as long, and callbacks of equal queries that came meanwhile run in it.
        """
        return self._dispatcher.ask(self._wanted(query, k, **options), self._workers.wake)

    def would_reject(self, deadline_s: float | None = None, priority: int = 0) -> bool:
        """Return whether `submit` has just refused a query that had as long, and count one more as refused if so.

        This takes a microsecond and no lock: whoever feeds an engine far past its capacity can ask before looking at a
        request, and so keep the time for those that can be answered. It does not see that one might share the answer
        of an equal query that is in the engine, as `submit` would.

        Args:
            deadline_s: As for `submit`.
            priority: Likewise.
        """
        return self._dispatcher.would_reject(self._settings.slo_s if deadline_s is None else deadline_s, priority)

    async def search(self, query: str, k: int = 10, **options: Any) -> Answer:
        """Answer a query; the arguments and errors are those of `submit`. Cancelling the task withdraws the query."""
        return await asyncio.wrap_future(self.submit(query, k, **options))

    def search_many(self, queries: Iterable[str], k: int = 10, **options: Any) -> list[Answer]:
        """Answer many queries, in their order, as fast as the engine can besides what else it has to do.

        They have no deadline unless one is given, so the engine spends on them the best level, and serves those that
        have one first. No more of them are handed in at a time than fill the workers' next batches.

        Args:
            queries: The queries.
            k: Hits wanted.
            options: As for `submit`.

        Raises:
            QueryError: A query is empty, or an argument is out of range.
            OverloadedError: A deadline that was given cannot be met.
            WorkerError: A batch failed.
            EngineClosedError: The engine was closed.
        """
        options.setdefault("deadline_s", math.inf)
        most = self._settings.max_unfinished
        # Others need room, too.
        ahead = threading.Semaphore(max(1, min(most // 4, 64 * self._workers.size)))
        futures: list[Future[Answer]] = []
        try:
            for query in queries:
                ahead.acquire()
                futures.append(self._submit_when_there_is_room(query, k, options))
                futures[-1].add_done_callback(lambda _: ahead.release())
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def _wanted(
        self,
        query: str,
        k: int,
        *,
        deadline_s: float | None = None,
        minimum_level: str | None = None,
        priority: int = 0,
        doc_ids: Collection[str] | None = None,
    ) -> Wanted:
        """Return what is asked for, looked through; see `submit`."""
        check_query(query, "the query")
        if type(k) is not int or k < 1:
            raise QueryError(f"got k = {k!r}; expected a whole number of at least 1")
        within_s = self._settings.slo_s if deadline_s is None else deadline_s
        if not within_s > 0:
            raise QueryError(f"got deadline_s = {within_s}; expected seconds from now, above 0")
        if isinstance(doc_ids, str):
            raise QueryError(f"got doc_ids = {doc_ids!r}; expected a collection of ids, such as [{doc_ids!r}]")
        asked = Query(text=query, k=k, doc_ids=None if doc_ids is None else frozenset(doc_ids))
        return Wanted(query=asked, within_s=within_s, minimum=minimum_level, priority=priority)

    def _submit_when_there_is_room(self, query: str, k: int, options: dict[str, Any]) -> Future[Answer]:
        while True:
            if self._dispatcher.has_room or options["deadline_s"] < math.inf:
                try:
                    return self.submit(query, k, **options)
                except OverloadedError:
                    if options["deadline_s"] < math.inf:
                        raise
            time.sleep(self._settings.slo_s / 10)

    def warm_up(self, query: str = "warm up") -> None:
        """Run every level once, and in every process: first runs are slow, and no deadline should wait for them.

        Raises:
            WorkerError: No process could start.
        """
        search = self._search
        if self._processes is not None:
            self._processes.wait()  # they have done so
            search = self._processes.here
        for level in self.profile.levels:
            search.search_batch([Query(text=query, k=1)], level.name)

    def snapshot(self) -> Snapshot:
        """Return what the engine is doing, and has done."""
        processes = self._processes
        return self._dispatcher.snapshot(
            replaced_workers=self._workers.n_replaced,
            processes=processes.n_alive if processes else 0,
            replaced_processes=processes.n_replaced if processes else 0,
        )

    def close(self, timeout_s: float = 5.0) -> None:
        """Refuse new requests, answer those that are in, and stop the workers. Safe to call again.

        Args:
            timeout_s: What has no answer by then fails with `EngineClosedError`.
        """
        self._dispatcher.stop_accepting()
        self._workers.stop(timeout_s)
        self._dispatcher.fail_all()
        if self._processes is not None:
            self._processes.close()

    def _make_dispatcher(self, scheduler: Scheduler, clock: Callable[[], float]) -> Dispatcher:
        """Return the desk; who needs to know when answers are handed out has another one."""
        return Dispatcher(scheduler, self._search, clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
