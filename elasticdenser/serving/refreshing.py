"""Taking up of newer generations of the index while the server runs."""

from __future__ import annotations

import logging
import os
from threading import Event, Thread

from elasticdenser.index.layout import MANIFEST
from elasticdenser.serving.service import Service

_log = logging.getLogger(__name__)

INTERVAL_S = 1.0
"""Time between two looks at the manifest of the index."""

_MAX_PAUSE_S = 60.0
"""Longest pause after an index could not be taken up; it doubles each time."""


class IndexRefresher:
    """Thread that switches a service to the newest generation of its index, which other processes write.

    No request is lost: searches that have begun end in the old generation. A generation that cannot be taken up is
    reported in the log, and the old one goes on serving. An index that was rebuilt or replaced is not taken up, unless
    it is sharded.

    Args:
        service: The service, whose engine searches with its retriever.
    """

    def __init__(self, service: Service) -> None:
        self._service, self._stopping = service, Event()
        self._seen = self._state()

    def start(self) -> None:
        """Begin to look for newer generations."""
        Thread(target=self._run, name="elasticdenser-refresh", daemon=True).start()

    def stop(self) -> None:
        """End the thread; a generation that is being taken up is not waited for."""
        self._stopping.set()

    def _run(self) -> None:
        pause_s = INTERVAL_S
        while not self._stopping.wait(pause_s):
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
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)
                _log.warning("the index has changed, but cannot be taken up (%s): trying again in %g s", error, pause_s)

    def _state(self) -> tuple[int, int, int] | None:
        """Return what changes whenever the manifest of the index is replaced; None if there is none."""
        try:
            stat = os.stat(self._service.retriever.index.path / MANIFEST)
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_ino, stat.st_size
