"""Notification of the event loop by futures of other threads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any


@dataclass(slots=True)
class _Wait:
    """A coroutine that waits for futures.

    Attributes:
        waiter: Done when they are.
        n_left: Futures that are not done yet.
    """

    waiter: asyncio.Future[bool]
    n_left: int


class DoneNotifier:
    """Lets coroutines wait for futures of other threads; futures that are done together wake the event loop once.

    `asyncio.wrap_future` wakes it for each, and chains three further futures to it if several are waited for with a
    timeout.

    Args:
        loop: The event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._done: deque[tuple[_Wait, Future[Any]]] = deque()
        self._is_waking = False

    async def wait(self, futures: Sequence[Future[Any]], timeout_s: float) -> bool:
        """Return whether all futures are done within a time.

        Raises:
            Exception: One of them has failed; this is its error.
        """
        wait = _Wait(self.loop.create_future(), len(futures))
        note = partial(self._note, wait)
        for future in futures:
            future.add_done_callback(note)
        timer = self.loop.call_later(timeout_s, _settle, wait.waiter, False)
        try:
            return await wait.waiter
        finally:
            timer.cancel()

    def _note(self, wait: _Wait, future: Future[Any]) -> None:
        """Note that a future is done; called in any thread."""
        self._done.append((wait, future))
        if not self._is_waking:
            self._is_waking = True
            try:
                self.loop.call_soon_threadsafe(self._notify)
            except RuntimeError:  # the loop is closed, and nobody waits
                self._is_waking = False

    def _notify(self) -> None:
        self._is_waking = False  # before the queue is read: what is appended from now on wakes the loop again
        while self._done:
            wait, future = self._done.popleft()
            wait.n_left -= 1
            error = None if future.cancelled() else future.exception()
            if error is not None and not wait.waiter.done():
                wait.waiter.set_exception(error)
            elif not wait.n_left:
                _settle(wait.waiter, True)


def _settle(waiter: asyncio.Future[bool], is_done: bool) -> None:
    if not waiter.done():
        waiter.set_result(is_done)
