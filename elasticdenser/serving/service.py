"""What the parts of one app share."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

from starlette.requests import Request

from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.retrieval.retriever import Retriever
from elasticdenser.serving.live import EVERY_S, Live
from elasticdenser.serving.log import AccessLog
from elasticdenser.serving.metrics import Metrics
from elasticdenser.serving.settings import ServeSettings


class Service:
    """The engine and what the server keeps beside it; all but the engine is used by the event loop alone.

    Args:
        engine: Answers queries; its owner closes it.
        retriever: What it searches with: gives texts to hits, and vectors.
        settings: How the server works.

    Attributes:
        model: The encoder's name; of one in a folder, the folder's.
        is_ready: Whether every level has run once.
        is_stopping: Whether nothing new is taken on.
        n_open: Requests that have no response yet.
        n_encoding: Requests for embeddings that have no response yet.
    """

    def __init__(self, engine: RetrievalEngine, retriever: Retriever, settings: ServeSettings) -> None:
        self.engine, self.retriever, self.settings = engine, retriever, settings
        self.metrics, self.live = Metrics(engine), Live(engine)
        found = retriever.encoder.location
        self.model = Path(found.name).name if found.source == "folder" else found.name
        self.started = int(time.time())
        self.is_ready, self.is_stopping = False, False
        self.n_open, self.n_encoding = 0, 0
        self.log = AccessLog() if settings.log else None
        self.encoding = ThreadPoolExecutor(settings.encoding_threads, thread_name_prefix="elasticdenser-encoding")

    async def warm_up(self) -> None:
        """Run every level once; first runs are slow."""
        # Not in asyncio's pool: whoever ends the loop waits for that before the owner can close the engine, which ends
        # the warming up.
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()

        def run() -> None:
            try:
                self.engine.warm_up()
            except BaseException as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        Thread(target=run, name="elasticdenser-warming", daemon=True).start()
        await asyncio.wrap_future(done)
        self.is_ready = True

    async def sample(self) -> None:
        """Sample the engine until cancelled."""
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            next_s = max(next_s + EVERY_S, loop.time())  # what was missed in a pause is not made up for
            await asyncio.sleep(next_s - loop.time())
            self.live.sample()

    def close(self) -> None:
        """Let go of threads; the engine is its owner's."""
        self.is_stopping = True
        self.encoding.shutdown(wait=False, cancel_futures=True)
        if self.log is not None:
            self.log.close()


def service_of(request: Request) -> Service:
    """Return the service of the app that a request came to."""
    service: Service = request.app.state.service
    return service


def note_for_log(request: Request, **fields: Any) -> None:
    """Add to the line that the log will have of a request."""
    request.scope["notes"].update(fields)
