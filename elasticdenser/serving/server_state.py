"""State that all indexes of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.serving.access_log import AccessLog
from elasticdenser.serving.done_notifier import DoneNotifier
from elasticdenser.serving.encoding_queue import EncodingQueue
from elasticdenser.serving.metrics import Metrics
from elasticdenser.serving.passage_writer import PassageWriter
from elasticdenser.serving.settings import ServeSettings


class Connection(Protocol):
    """Connection to a client."""

    def close_idle(self) -> None:
        """Close the connection, which is idle."""


class ServerState:
    """State that all indexes of one server share; only the event loop changes it.

    Args:
        settings: Settings of the server.
        engines: The engine of each index by name, for the metrics.

    Attributes:
        is_stopping: Whether the server rejects new requests because it is shutting down.
        n_open_requests: Requests that have not been answered yet.
        n_encoding: Requests for embeddings, highlights or reranking that have not been answered yet.
        idle_connections: Connections without a request, the one that has been idle the longest first.
        encoding_pool: Threads that compute such requests.
        encoding_queue: Texts to embed, which these threads encode in batches.
        writer: Changes the indexes.
    """

    def __init__(self, settings: ServeSettings, engines: Mapping[str, RetrievalEngine]) -> None:
        self.settings, self.metrics = settings, Metrics(engines)
        self.is_stopping = False
        self.n_open_requests, self.n_encoding = 0, 0
        self.idle_connections: dict[Connection, None] = {}
        self.log = AccessLog() if settings.log else None
        self.encoding_pool = ThreadPoolExecutor(settings.encoding_threads, thread_name_prefix="elasticdenser-encoding")
        self.encoding_queue = EncodingQueue(self.encoding_pool, settings.encoding_threads)
        self.writer = PassageWriter(settings.max_waiting_writes)
        self._notifier: DoneNotifier | None = None

    @property
    def notifier(self) -> DoneNotifier:
        """Notifies the running event loop of futures that are done."""
        loop = asyncio.get_running_loop()
        if self._notifier is None or self._notifier.loop is not loop:
            self._notifier = DoneNotifier(loop)
        return self._notifier

    def close(self) -> None:
        """Stop the threads of the server."""
        self.is_stopping = True
        self.encoding_pool.shutdown(wait=False, cancel_futures=True)
        self.writer.close()
        if self.log is not None:
            self.log.close()
