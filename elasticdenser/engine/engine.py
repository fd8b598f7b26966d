"""Retrieval engine: worker threads between clients and a retriever, driven by the scheduler."""

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
from elasticdenser.engine.dispatcher import Dispatcher
from elasticdenser.engine.errors import OverloadedError
from elasticdenser.engine.listener import DeliveryListener
from elasticdenser.engine.policies import Policy, PolicyFactory, make_policy
from elasticdenser.engine.processes.pool import ProcessPoolSearch
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.profiling.quick import quick_profile
from elasticdenser.engine.request import Query
from elasticdenser.engine.scheduler import Scheduler
from elasticdenser.engine.settings import SchedulerSettings
from elasticdenser.engine.submission import SubmissionBuilder
from elasticdenser.engine.switching import SwitchingSearch
from elasticdenser.engine.workers import WorkerPool
from elasticdenser.errors import QueryError

if TYPE_CHECKING:
    from elasticdenser.index.filters import AnyFilter
    from elasticdenser.retrieval.hybrid import Hybrid
    from elasticdenser.retrieval.retriever import Retriever

_BULK_SHARE = 0.25
"""Share of `max_unfinished` that `search_many` may fill: the rest is for other clients."""
_BULK_PER_WORKER = 64
"""Queries of `search_many` in the engine for each worker: two of the largest batches that are profiled by default."""


class RetrievalEngine:
    """Answers queries from several threads, each by its deadline, at the best level that the load allows.

    Use it as a context manager, or call `close`. Thread-safe.

    Args:
        retriever: Encodes and searches: a `Retriever` or a `BatchSearch`.
        profile: Levels and run times on this machine; None measures the levels that come with the encoder, and those
            at which the retriever's `ElasticReranker` reranks, which takes some seconds (`quick_profile`).
        policy: Chooses levels: a name, a policy, or a factory of policies, as for `make_policy`.
        slo_s: Deadline of requests that give none, in seconds after arrival.
        minimum_quality: Minimum quality of requests that give none, as for `submit`; 0 accepts any level.
        workers: Number of worker threads; None is the number of usable CPUs.
        max_unfinished: Maximum number of requests in the engine.
        reserve_s: Time kept free before each deadline; None is a tenth of `slo_s`, at most 10 ms.
        hang_timeout_s: A batch that runs longer than this, and longer than ten times its expected run time, fails, and
            its worker is replaced.
        processes: Search in as many processes as there are workers, which increases the capacity. Each process holds a
            copy of the search structure and of the encoder's backend; see `ProcessPoolSearch`.
        listener: Notified when answers are delivered.
        clock: Returns monotonic seconds.

    Attributes:
        profile: The levels.
        retriever: The retriever that searches now; None if a `BatchSearch` was given.

    Raises:
        QueryError: The policy does not exist, the retriever lacks a level, or a value is out of range.
    """

    def __init__(
        self,
        retriever: Retriever | BatchSearch,
        profile: Profile | None = None,
        *,
        policy: str | Policy | PolicyFactory = "elastic",
        slo_s: float = 0.025,
        minimum_quality: float = 0.0,
        workers: int | None = None,
        max_unfinished: int = 1024,
        reserve_s: float | None = None,
        hang_timeout_s: float = 2.0,
        processes: bool = False,
        listener: DeliveryListener | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not hang_timeout_s > 0:
            raise QueryError(f"got hang_timeout_s = {hang_timeout_s}; expected seconds above 0")
        if not isinstance(retriever, BatchSearch) and not hasattr(retriever, "encoder"):
            kind = type(retriever).__name__
            raise QueryError(f"got a {kind} to search with; expected a Retriever or a class that inherits BatchSearch")
        n_workers = cpu_count() if workers is None else workers
        settings = SchedulerSettings(slo_s=slo_s, workers=n_workers, reserve_s=reserve_s, max_unfinished=max_unfinished)
        if profile is None:
            if isinstance(retriever, BatchSearch):
                raise QueryError("got no profile; only the levels of a Retriever are known without one: give a profile")
            profile = quick_profile(retriever)
        scheduler = Scheduler(profile, make_policy(policy, profile, settings), settings)
        self._submissions = SubmissionBuilder(
            slo_s,
            minimum_quality,
            count_tokens=self._count_tokens,
            quality_by_length=profile.has_quality_by_tokens,
            time_by_length=profile.has_times_by_tokens,
            shorten=self._shorten,
        )
        self.profile, self._settings = profile, settings
        # Well above the limit of the watchdog, which fails a batch that hangs: this one only ends its process.
        self._process_timeout_s = max(30.0, 10 * hang_timeout_s)
        self.retriever = None if isinstance(retriever, BatchSearch) else retriever
        search = _batch_search(retriever, profile, n_workers if processes else 0, self._process_timeout_s)
        # A pool that was passed in as the retriever belongs to the caller, who closes it.
        self._process_pool = search if processes and isinstance(search, ProcessPoolSearch) else None
        self._search = search if self.retriever is None else SwitchingSearch(search)
        self._dispatcher = Dispatcher(scheduler, self._search, clock, listener)
        self._workers = WorkerPool(self._dispatcher, n_workers, clock=clock, hang_timeout_s=hang_timeout_s)

    def submit(
        self,
        query: str,
        k: int = 10,
        *,
        deadline_s: float | None = None,
        minimum_level: str | None = None,
        minimum_quality: float | None = None,
        priority: int = 0,
        doc_ids: Collection[str] | None = None,
        filter: AnyFilter | None = None,
        rerank: bool = True,
        hybrid: Hybrid = None,
    ) -> Future[Answer]:
        """Submit a query, and return at once.

        Args:
            query: The query.
            k: Number of hits to return.
            deadline_s: Time from now after which the answer is worthless; None is the engine's `slo_s`, infinity is no
                deadline.
            minimum_level: Name of the level whose quality the answer must reach; None accepts any level.
            minimum_quality: Quality from 0 to 1 that the level of the answer must have for queries of this length; None
                is the engine's. Without a level of this quality the best level answers. With a minimum level, the
                stricter of the two counts.
            priority: Importance when not all requests can be served; those of low priority are shed first.
            doc_ids: Documents to search; None searches all.
            filter: Filter on the metadata of passages, such as `section = 'ops'`, or its form in JSON; None is no
                filter.
            rerank: False leaves the hits in the order of the first stage, also at levels that rerank. The level is
                chosen as for other queries, and minimums refer to its quality with reranking.
            hybrid: As for `Retriever.search`. The profile knows the run times of searches as the retriever does them by
                default; a search by words that it does not do takes up to a millisecond longer.

        Returns:
            The future of the answer. Cancelling it removes the query from the queue.

        Raises:
            OverloadedError: The query could not be answered in time. The future raises it if the query is shed later.
            EngineClosedError: The engine is closed. The future raises it if the engine is closed before the answer.
            QueryError: The query is empty, an argument is out of range, or the filter has a fault; the future raises it
                for document ids and fields of a filter that are not in the index.
            WorkerError: Raised by the future: the batch failed.
        """
        submission = self._submissions.build(
            query,
            k,
            deadline_s=deadline_s,
            minimum_level=minimum_level,
            minimum_quality=minimum_quality,
            priority=priority,
            doc_ids=doc_ids,
            filter=filter,
            rerank=rerank,
            hybrid=hybrid,
        )
        return self._dispatcher.submit(submission, self._workers.wake)

    def ask(self, query: str, k: int = 10, **options: Any) -> Answer:
        """Answer a query; the arguments and errors are those of `submit`, and errors of its future are raised here.

        It returns the same as `submit(...).result()`, but is faster at low load: if nothing else waits or runs, the
        calling thread searches. A search that hangs then blocks this thread for as long, and callbacks of equal queries
        that were submitted meanwhile run in it.
        """
        return self._dispatcher.ask(self._submissions.build(query, k, **options), self._workers.wake)

    def would_reject(self, deadline_s: float | None = None, priority: int = 0) -> bool:
        """Return whether `submit` has just rejected a query with as much or more time; if so, count one more rejection.

        This takes a microsecond and no lock. A client far beyond the engine's capacity can call it before it parses a
        request, and so save the time for requests that can be answered. It may reject a query that `submit` would have
        accepted because an equal query is in the engine.

        Args:
            deadline_s: As for `submit`.
            priority: As for `submit`.
        """
        return self._dispatcher.would_reject(self._settings.slo_s if deadline_s is None else deadline_s, priority)

    async def search(self, query: str, k: int = 10, **options: Any) -> Answer:
        """Answer a query; the arguments and errors are those of `submit`. Cancelling the task cancels the query."""
        return await asyncio.wrap_future(self.submit(query, k, **options))

    def search_many(self, queries: Iterable[str], k: int = 10, **options: Any) -> list[Answer]:
        """Answer many queries, in their order, as fast as the other load of the engine allows.

        By default they have no deadline, so that they are answered at the best level and after queries that have one.
        Only as many are submitted at a time as fill the next batches of the workers.

        Args:
            queries: The queries.
            k: Number of hits to return.
            options: As for `submit`.

        Raises:
            QueryError: A query is empty, or an argument is out of range.
            OverloadedError: A given deadline cannot be met.
            WorkerError: A batch failed.
            EngineClosedError: The engine was closed.
        """
        if options.setdefault("deadline_s", math.inf) is None:
            options["deadline_s"] = self._settings.slo_s
        max_in_engine = min(int(_BULK_SHARE * self._settings.max_unfinished), _BULK_PER_WORKER * self._workers.size)
        free_places = threading.Semaphore(max(1, max_in_engine))
        futures: list[Future[Answer]] = []
        try:
            for query in queries:
                free_places.acquire()
                futures.append(self._submit_when_there_is_room(query, k, options))
                futures[-1].add_done_callback(lambda _: free_places.release())
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def warm_up(self, query: str = "warm up") -> None:
        """Run every level once, in every process: first runs are slow, and no deadline should depend on them.

        Raises:
            WorkerError: No process could start.
        """
        if self._process_pool is not None:
            self._process_pool.wait_until_ready()
        for level in self.profile.levels:
            self._search.search_batch([Query(text=query, k=1)], level.name)

    def switch(self, retriever: Retriever) -> None:
        """Search with another retriever from now on, such as one of a newer generation of the index.

        It must have the same levels. Searches that have begun end with the old one; queries that are submitted after
        this has returned are answered by the new one. With processes, it must be a newer generation of the same index,
        and this returns once all have opened it. Not for several threads at once.

        Raises:
            QueryError: The engine was given a `BatchSearch`, or the retriever lacks a level.
            WorkerError: A process could not open the index; the old retriever goes on searching.
        """
        if not isinstance(self._search, SwitchingSearch):
            raise QueryError("got a retriever for an engine of a BatchSearch, expected an engine of a retriever")
        if self._process_pool is not None:
            self._process_pool.refresh(retriever)
        else:
            self._search.switch(_batch_search(retriever, self.profile, 0, self._process_timeout_s))
        self._dispatcher.forget_running()  # a query that is submitted from now on must not be answered by the old one
        self.retriever = retriever

    @property
    def process_failure(self) -> str | None:
        """Why no worker process can start, so that threads search instead, more slowly; None if nothing is wrong."""
        return None if self._process_pool is None else self._process_pool.failure

    @property
    def lost_index(self) -> str | None:
        """Why worker processes that die are not replaced, if that is because the index was replaced; else None."""
        return None if self._process_pool is None else self._process_pool.lost_index

    def snapshot(self) -> Snapshot:
        """Return the engine's state, and its counts since the start."""
        pool = self._process_pool
        return self._dispatcher.snapshot(
            replaced_workers=self._workers.n_replaced,
            processes=pool.n_alive if pool else 0,
            replaced_processes=pool.n_replaced if pool else 0,
        )

    def close(self, timeout_s: float = 5.0) -> None:
        """Reject new requests, answer those in the engine, and end the workers. Safe to call again.

        Args:
            timeout_s: Requests that have no answer by then fail with `EngineClosedError`.
        """
        self._dispatcher.stop_accepting()
        self._workers.stop(timeout_s)
        self._dispatcher.fail_all()
        if self._process_pool is not None:
            self._process_pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _shorten(self, query: str) -> str:
        return self._search.shorten(query)

    def _count_tokens(self, query: str) -> int | None:
        return self._search.count_tokens(query)

    def _submit_when_there_is_room(self, query: str, k: int, options: dict[str, Any]) -> Future[Answer]:
        while True:
            if self._dispatcher.has_room or options["deadline_s"] < math.inf:
                try:
                    return self.submit(query, k, **options)
                except OverloadedError:
                    if options["deadline_s"] < math.inf:
                        raise
            time.sleep(self._settings.slo_s / 10)  # short against a deadline, long against a check


def _batch_search(
    retriever: Retriever | BatchSearch, profile: Profile, n_processes: int, timeout_s: float
) -> BatchSearch:
    """Return the search of the workers, in processes if their number is above 0."""
    if isinstance(retriever, BatchSearch):
        if n_processes:
            raise QueryError(
                "got a BatchSearch with processes = True; only a Retriever can be opened in a process: give that"
            )
        return retriever
    recalls = {level.name: level.recall for level in profile.levels}
    if n_processes:
        return ProcessPoolSearch(retriever, recalls, n_processes, timeout_s)
    return RetrieverSearch(retriever, recalls)
