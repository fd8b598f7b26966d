"""Requests to all shards of an index at once: hedged, repeated where a replica fails, and without late shards."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

from elasticdenser.errors import QueryError
from elasticdenser.hedging import HedgeDelay
from elasticdenser.index.segment_search import Hits
from elasticdenser.index.sharding.requests import Shard, ShardRequest

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
_MIN_RETRY_S, _MAX_RETRY_S = 0.005, 1.0
"""Pause before a shard is asked again after an error, the first time and at most; it doubles each time."""
_LOG_INTERVAL_S = 10.0
"""A shard that stays away is reported once in so many seconds."""


@dataclass(frozen=True, kw_only=True)
class FanOutSettings:
    """Settings of the requests to shards.

    Args:
        timeout_s: A shard that has not replied by then is left out of the answer.
        hedge_percentile: A shard that has not replied after this percentile of its latest reply times is asked a
            second time, and the first reply counts; None never does.

    Raises:
        QueryError: A value is out of range.
    """

    timeout_s: float
    hedge_percentile: float | None = 95.0

    def __post_init__(self) -> None:
        if not 0 < self.timeout_s < math.inf:
            raise QueryError(f"got a timeout of {self.timeout_s} s for shards; expected seconds above 0")
        HedgeDelay(self.hedge_percentile)  # checks the percentile


class FanOut:
    """Asks all shards at once, in a thread of its own. Safe to use from several threads.

    Args:
        shards: The shards.
        settings: The settings.
        clock: Returns monotonic seconds.

    Attributes:
        n_asked: Requests to shards, without those below.
        n_hedged: Second requests that were sent because a reply took long.
        n_repeated: Requests that were sent again because a replica failed.
        n_left_out: Replies that were missing from answers.
        n_partial: Queries that were answered without some shard, or not at all because none replied.
    """

    def __init__(
        self, shards: Sequence[Shard], settings: FanOutSettings, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.shards, self.settings = shards, settings
        self.n_asked = self.n_hedged = self.n_repeated = self.n_left_out = self.n_partial = 0
        self._clock, self._hedge = clock, HedgeDelay(settings.hedge_percentile)
        self._logged_s = [-math.inf] * len(shards)
        self._lock, self._is_closed = threading.Lock(), False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="elasticdenser-fan-out", daemon=True)
        self._thread.start()
        self._run(self._start())

    def ask(self, request: ShardRequest) -> list[Hits | None]:
        """Return the hits of each shard; None for those that have not replied in time."""
        return self._run(self._ask_all(request))

    def close(self) -> None:
        """Release the replicas of all shards, and end the thread; no request must be running. Safe to call again."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        for shard in self.shards:
            shard.close()
        self._run(asyncio.sleep(0))  # what they have left to the loop is done then
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _start(self) -> None:
        for shard in self.shards:
            await shard.start()

    async def _ask_all(self, request: ShardRequest) -> list[Hits | None]:
        tasks = [asyncio.create_task(self._ask_shard(shard, request)) for shard in self.shards]
        _, late = await asyncio.wait(tasks, timeout=self.settings.timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        replies = [None if task in late else task.result() for task in tasks]
        self.n_asked += len(tasks)
        if late:
            self.n_left_out += len(late)
            self.n_partial += len(request.queries)
        for number, reply in enumerate(replies):
            if reply is None:
                self._log(number, f"has not replied within {1000 * self.settings.timeout_s:g} ms: answers are partial")
        return replies

    async def _ask_shard(self, shard: Shard, request: ShardRequest) -> Hits:
        """Return the first reply of any replica; asks until it is cancelled."""
        kind, started_s, retry_s = _kind_of(request), self._clock(), _MIN_RETRY_S
        delay_s = self._hedge.delay_s(kind)
        hedge_after_s = None if math.isinf(delay_s) else delay_s
        attempts = {asyncio.ensure_future(shard.ask(request))}
        try:
            while True:
                done, attempts = await asyncio.wait(
                    attempts, timeout=hedge_after_s, return_when=asyncio.FIRST_COMPLETED
                )
                for attempt in done:
                    if attempt.exception() is None:
                        self._hedge.observe(kind, self._clock() - started_s)
                        return attempt.result()
                if not done:
                    self.n_hedged += 1
                    hedge_after_s = None
                elif attempts:
                    continue
                else:
                    self.n_repeated += 1
                    self._log(self.shards.index(shard), f"failed ({done.pop().exception()}): it is asked again")
                    await asyncio.sleep(retry_s)
                    retry_s = min(2 * retry_s, _MAX_RETRY_S)
                attempts.add(asyncio.ensure_future(shard.ask(request)))
        finally:
            for attempt in attempts:
                attempt.cancel()

    def _log(self, number: int, what: str) -> None:
        now_s = self._clock()
        if now_s - self._logged_s[number] >= _LOG_INTERVAL_S:
            self._logged_s[number] = now_s
            _log.warning("shard %d %s", number, what)


def _kind_of(request: ShardRequest) -> str:
    """Return what requests must have in common for their times to be compared: the effort, and nearly the size."""
    return f"{request.exact} {request.recall} {len(request.queries).bit_length()}"
