"""State that the routes of one index share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

from starlette.requests import Request

from elasticdenser.datasets.passages import Passage
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.errors import QueryError
from elasticdenser.index import PassageIndex
from elasticdenser.retrieval.retriever import Retriever
from elasticdenser.serving.recent_samples import SAMPLE_INTERVAL_S, RecentSamples
from elasticdenser.serving.refreshing import IndexRefresher
from elasticdenser.serving.server_state import ServerState
from elasticdenser.serving.token_ids import load_token_reader


class Service:
    """One index of the server: its engine, which is thread-safe, and the state around it.

    Only the event loop changes it, except for `switch`.

    Args:
        name: Name of the index.
        engine: Answers the queries; its owner closes it.
        retriever: The retriever of the engine: gives hits their texts, and computes embeddings.
        server: State of the server.

    Attributes:
        model: Name of the encoder; for an encoder in a folder, the folder's name.
        encoder_models: The subnet of the encoder by model name, the full encoder first.
        ranker: The ranker of the retriever; None if it has none.
        started_s: Time of the start, in seconds since the epoch.
        is_ready: Whether every level has run once.
        read_token_ids: Returns the text that token ids in a request stand for.
        indexes: The index of the retriever, and the generation before it, which running searches may be in.
        refresher: Takes up newer generations of the index.

    Raises:
        QueryError: The vocabulary of token ids is not available.
    """

    def __init__(self, name: str, engine: RetrievalEngine, retriever: Retriever, server: ServerState) -> None:
        self.name, self.engine, self.retriever, self.server = name, engine, retriever, server
        self.settings, self.ranker = server.settings, retriever.ranker
        self.metrics, self.samples = server.metrics.of_index(name), RecentSamples(engine)
        self.read_token_ids = load_token_reader(self.settings.token_ids, retriever.encoder)
        location = retriever.encoder.location
        self.model = Path(location.name).name if location.source == "folder" else location.name
        encoder = retriever.encoder
        self.encoder_models = {self.model: str(encoder.full_subnet)} | {
            f"{self.model}/{subnet}": str(subnet) for subnet in encoder.subnets
        }
        self.started_s = int(time.time())
        self.indexes: tuple[PassageIndex, ...] = (retriever.index,)
        self.is_ready = False
        self.refresher = IndexRefresher(self)

    @property
    def is_writable(self) -> bool:
        """Whether clients may change the index: there is a key for it, and the engine can take up changes."""
        return self.settings.write_key is not None and self.engine.retriever is not None

    async def warm_up(self) -> None:
        """Run every level once: the first runs are slow."""
        # Not in asyncio's thread pool: the event loop waits for that pool before it ends, and only then does the owner
        # close the engine, which is what ends the warm-up.
        finished: Future[None] = Future()
        finished.set_running_or_notify_cancel()

        def run() -> None:
            try:
                self.engine.warm_up()
            except BaseException as error:
                finished.set_exception(error)
            else:
                finished.set_result(None)

        Thread(target=run, name="elasticdenser-warm-up", daemon=True).start()
        await asyncio.wrap_future(finished)
        self.is_ready = True

    def switch(self, retriever: Retriever) -> None:
        """Serve another retriever from now on, such as one of a newer generation of the index.

        It may take seconds, and is called by one thread only.

        Raises:
            WorkerError: No process could start; the old retriever goes on.
        """
        old = self.retriever
        self.indexes = (retriever.index, old.index)  # before the first answer of the new one
        try:
            self.engine.switch(retriever)
        except BaseException:
            self.indexes = (old.index,)
            retriever.index.retire()
            raise
        self.retriever = retriever
        old.index.retire()

    def passages(self, doc_ids: Sequence[str]) -> list[Passage]:
        """Return passages with their texts, which may be in the generation before.

        Raises:
            QueryError: A passage is in neither.
        """
        newest, *older = self.indexes
        try:
            return [newest.passage_at(position) for position in newest.doc_ids.positions(doc_ids).tolist()]
        except QueryError:
            if not older:
                raise
        return [self._passage(doc_id) for doc_id in doc_ids]

    def _passage(self, doc_id: str) -> Passage:
        for index in self.indexes:
            position = index.doc_ids.find(doc_id)
            if position >= 0:
                return index.passage_at(position)
        return self.indexes[0].passage(doc_id)  # says that there is no such passage

    async def sample_forever(self) -> None:
        """Sample the engine at regular intervals until cancelled."""
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            next_s = max(next_s + SAMPLE_INTERVAL_S, loop.time())  # samples missed in a pause are skipped
            await asyncio.sleep(next_s - loop.time())
            self.samples.add_sample()


def service_of(request: Request) -> Service:
    """Return the service of the index that a request is for."""
    service: Service = request.app.state.service
    return service


def answering_services(request: Request) -> Sequence[Service]:
    """Return the services of all indexes that the application answers for; the one of its own paths comes first."""
    services: Sequence[Service] = request.app.state.answering
    return services


def add_log_fields(request: Request, **fields: Any) -> None:
    """Add fields to the line that the access log will have for a request."""
    request.scope["log_fields"].update(fields)
