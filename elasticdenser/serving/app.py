"""ASGI application: retrieval engines behind HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from elasticdenser import __version__
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.retrieval.retriever import Retriever
from elasticdenser.serving import embeddings, highlights, indexes, models, passages, rerank, search, status
from elasticdenser.serving.description import with_server_details
from elasticdenser.serving.direct import DirectRouter
from elasticdenser.serving.errors import register_handlers
from elasticdenser.serving.index_names import checked_names, prefix_of
from elasticdenser.serving.middleware import RequestMiddleware
from elasticdenser.serving.origins import allow_origins
from elasticdenser.serving.server_state import ServerState
from elasticdenser.serving.service import Service
from elasticdenser.serving.settings import ServeSettings

_log = logging.getLogger("elasticdenser.serving")
_MAX_RETRY_PAUSE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class EngineOfIndex:
    """An index to serve.

    Attributes:
        engine: Answers the queries.
        retriever: The retriever of the engine: gives hits their texts, and computes embeddings.
    """

    engine: RetrievalEngine
    retriever: Retriever


def make_app(engine: RetrievalEngine, retriever: Retriever, settings: ServeSettings | None = None) -> FastAPI:
    """Return an application that answers requests with an engine.

    The caller owns the engine, and closes it after the application has ended.

    Args:
        engine: Answers the queries.
        retriever: The retriever of the engine: gives hits their texts, and computes embeddings.
        settings: Settings of the server; None takes the defaults.
    """
    return make_app_of_indexes({"default": EngineOfIndex(engine=engine, retriever=retriever)}, settings)


def make_app_of_indexes(served: Mapping[str, EngineOfIndex], settings: ServeSettings | None = None) -> FastAPI:
    """Return an application that answers requests with several engines, each with its index.

    Args:
        served: The indexes by name. Each has all paths below `/indexes/NAME`; those of the first are at the root too.
        settings: Settings of the server; None takes the defaults.

    Raises:
        QueryError: There is no index, or a name cannot be a part of a path.
    """
    settings = settings or ServeSettings()
    names = checked_names(served)
    state = ServerState(settings, {name: index.engine for name, index in served.items()})
    services = {name: Service(name, index.engine, index.retriever, state) for name, index in served.items()}
    app = _app_of(services[names[0]], list(services.values()), lifespan=lambda _: _running(services.values(), state))
    app.include_router(indexes.router)
    apps = {prefix_of(name): _app_of(service, [service], prefix=prefix_of(name)) for name, service in services.items()}
    for prefix, own in apps.items():
        app.mount(prefix, own)
    app.include_router(indexes.unknown_router)
    app.state.server, app.state.services = state, services
    front: ASGIApp = DirectRouter(app.answer_as_described, {"": app, **apps})
    front = RequestMiddleware(front, server=state, names=names)
    # CORS outermost, so that pages can read all errors.
    app.front = allow_origins(front, settings.cors_origins) if settings.cors_origins else front
    return app


class ServingApp(FastAPI):
    """FastAPI application with layers of our own before it.

    Attributes:
        front: The outermost layer, which passes on what it does not answer to `answer_as_described`; None without any.
    """

    front: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection of ASGI: a request, or the lifespan of the server."""
        front = self.front if scope["type"] == "http" else None
        await (front or self.answer_as_described)(scope, receive, send)

    async def answer_as_described(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle it as FastAPI does."""
        await super().__call__(scope, receive, send)


def _app_of(
    service: Service,
    answering: Sequence[Service],
    *,
    prefix: str = "",
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> ServingApp:
    """Return an application with the paths of one index.

    Args:
        service: The index.
        answering: The indexes whose encoders it offers as models, and for which it reports whether they are ready.
        prefix: Where it is mounted.
        lifespan: Runs while the application runs.
    """
    # FastAPI's own documentation pages load scripts from other hosts: `/docs` is our own.
    app = ServingApp(
        title="elasticdenser",
        version=__version__,
        description="Dense retrieval at the best level that the load allows.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        servers=[{"url": prefix}] if prefix else None,
        root_path_in_servers=False,
        lifespan=lifespan,
    )
    app.state.service, app.state.answering = service, answering
    reranking = rerank.router_without_ranker if service.ranker is None else rerank.router
    writing = passages.router if service.is_writable else passages.read_only_router
    for router in (search.router, highlights.router, writing, embeddings.router, reranking, models.router):
        app.include_router(router)
    app.include_router(status.router)
    register_handlers(app)
    generate_openapi = app.openapi
    app.openapi = lambda: with_server_details(generate_openapi(), service, answering)  # type: ignore[method-assign]
    return app


@contextlib.asynccontextmanager
async def _running(services: Iterable[Service], state: ServerState) -> AsyncIterator[None]:
    """Run what the services need beside requests."""
    tasks = []
    for service in services:
        tasks += [asyncio.create_task(service.sample_forever()), asyncio.create_task(_warm_up_until_ready(service))]
        if service.engine.retriever is service.retriever:
            service.refresher.start()
    try:
        yield
    finally:
        for service in services:
            service.refresher.stop()
        for task in tasks:
            task.cancel()
        state.close()


async def _warm_up_until_ready(service: Service) -> None:
    pause_s = 1.0
    while not service.is_ready:
        try:
            await service.warm_up()
        except Exception:
            _log.exception("the warm-up failed: trying again in %g s", pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_RETRY_PAUSE_S)
