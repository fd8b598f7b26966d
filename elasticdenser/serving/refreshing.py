"""Taking up of newer generations of the index while the server runs."""

from __future__ import annotations

import asyncio
import logging
import os
from threading import Event, Thread
from typing import Protocol

from elasticdenser.index.layout import MANIFEST
from elasticdenser.retrieval.retriever import Retriever

_log = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Time between two looks at the manifest of the index."""

_POLL_S = 0.02
"""Time between two looks of a client's change at the generation that is searched: taking one up takes a second."""

_MAX_PAUSE_S = 60.0
"""Longest pause after an index could not be taken up; it doubles each time."""


class Searching(Protocol):
    """Searcher of an index, which takes up its changes.

    Attributes:
        retriever: Its retriever.
    """

    retriever: Retriever

    def switch(self, retriever: Retriever) -> None:
        """Search with another retriever from now on."""


class IndexRefresher:
    """Thread that switches a service to the newest generation of its index, which other processes write.

    No request is lost: searches that have begun end in the old generation. A generation that cannot be taken up is
    reported in the log, and the old one goes on serving. An index that was rebuilt or replaced is not taken up, unless
    it is sharded.

    Args:
        service: The service of the index, whose engine searches with its retriever.
    """

    def __init__(self, service: Searching) -> None:
        self._service, self._stopping, self._woken = service, Event(), Event()
        self._seen = self._state()

    def start(self) -> None:
        """Begin to look for newer generations."""
        Thread(target=self._run, name="elasticdenser-refresh", daemon=True).start()

    def stop(self) -> None:
        """End the thread; a generation that is being taken up is not waited for."""
        self._stopping.set()
        self._woken.set()

    async def wait_for(self, generation: int, timeout_s: float) -> bool:
        """Take up a generation of the index now, and return whether it is searched, or a newer one.

        Args:
            generation: Its number; it has been written.
            timeout_s: Longest time to wait.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + timeout_s
        self._woken.set()
        while self._service.retriever.index.generation < generation:
            if loop.time() >= end_s:
                return False
            await asyncio.sleep(_POLL_S)
        return True

    def _run(self) -> None:
        pause_s = INTERVAL_S
        while True:
            self._woken.wait(pause_s)
            self._woken.clear()
            if self._stopping.is_set():
                return
            state = self._state()
            if state == self._seen:
                continue
            try:
                newest = self._service.retriever.refresh()
                # A sharded index is never changed, only built again: then the new one is taken up.
                if newest is not self._service.retriever and (
                    newest.index.generation or newest.index.contents.sharded is not None
                ):
                    self._service.switch(newest)
                self._seen, pause_s = state, INTERVAL_S
            except Exception as error:  # whatever is wrong, the generation that is open can still be searched
                if self._state() != state:  # changed again meanwhile: the processes found what comes next
                    self._woken.set()
                    continue
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
                _log.warning("the index has changed, but cannot be taken up (%s): trying again in %g s", error, pause_s)

    def _state(self) -> tuple[int, int, int] | None:
        """Return what changes whenever the manifest of the index is replaced; None if there is none."""
        try:
            stat = os.stat(self._service.retriever.index.path / MANIFEST)
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size
