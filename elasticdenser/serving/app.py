"""ASGI application: a retrieval engine behind HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI

from elasticdenser import __version__
from elasticdenser.engine.engine import RetrievalEngine
from elasticdenser.retrieval.retriever import Retriever
from elasticdenser.serving import embeddings, highlights, models, rerank, search, status
from elasticdenser.serving.errors import register_handlers
from elasticdenser.serving.middleware import AUTHENTICATED_PATHS, RequestMiddleware
from elasticdenser.serving.origins import allow_origins
from elasticdenser.serving.refreshing import IndexRefresher
from elasticdenser.serving.service import Service
from elasticdenser.serving.settings import ServeSettings

_log = logging.getLogger("elasticdenser.serving")
_MAX_RETRY_PAUSE_S = 60.0


def make_app(engine: RetrievalEngine, retriever: Retriever, settings: ServeSettings | None = None) -> FastAPI:
    """Return an application that answers requests with an engine.

    The caller owns the engine, and closes it after the application has ended.

    Args:
        engine: Answers the queries.
        retriever: The retriever of the engine: gives hits their texts, and computes embeddings.
        settings: Settings of the server; None takes the defaults.
    """
    service = Service(engine, retriever, settings or ServeSettings())

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(service.sample_forever()), asyncio.create_task(_warm_up_until_ready(service))]
        refresher = IndexRefresher(service)
        if engine.retriever is retriever:
            refresher.start()
        try:
            yield
        finally:
            refresher.stop()
            for task in tasks:
                task.cancel()
            service.close()

    # FastAPI's own documentation pages load scripts from other hosts: `/docs` is our own.
    app = FastAPI(
        title="elasticdenser",
        version=__version__,
        description="Dense retrieval at the best level that the load allows.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = service
    reranking = rerank.router_without_ranker if service.ranker is None else rerank.router
    for router in (search.router, highlights.router, embeddings.router, reranking, models.router, status.router):
        app.include_router(router)
    register_handlers(app)
    app.add_middleware(RequestMiddleware, service=service)
    if service.settings.cors_origins:
        allow_origins(app, service.settings.cors_origins)  # outermost, so that pages can read all errors
    generate_openapi = app.openapi
    app.openapi = lambda: _with_server_details(generate_openapi(), service)  # type: ignore[method-assign]
    return app


async def _warm_up_until_ready(service: Service) -> None:
    pause_s = 1.0
    while not service.is_ready:
        try:
            await service.warm_up()
        except Exception:
            _log.exception("the warm-up failed: trying again in %g s", pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _MAX_RETRY_PAUSE_S)


def _with_server_details(openapi: dict[str, Any], service: Service) -> dict[str, Any]:
    """Add to the OpenAPI description what only this server knows: its levels, its models, and whether it has a key."""
    schemas = openapi["components"]["schemas"]
    levels = [level.name for level in service.engine.profile.levels]
    for request in ("SearchRequest", "BatchSearchRequest"):
        _of_type(schemas[request]["properties"]["minimum_level"], "string")["enum"] = levels
    embeddings_fields = schemas["EmbeddingsRequest"]["properties"]
    _of_type(embeddings_fields["model"], "string")["enum"] = list(models.encoder_models(service))
    dimensions = embeddings.accepted_dimensions(service)
    _of_type(embeddings_fields["dimensions"], "integer").update(minimum=dimensions[0], maximum=dimensions[-1])
    if service.ranker is not None:
        rerank_fields = schemas["RerankRequest"]["properties"]
        _of_type(rerank_fields["model"], "string")["enum"] = list(models.ranker_models(service))
    operations = [(path, operation) for path, methods in openapi["paths"].items() for operation in methods.values()]
    for path, body in _example_bodies(service).items():
        openapi["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"] = body
    error_content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorResponse"}}}
    for _, operation in operations:
        for code, response in operation["responses"].items():
            if code != "200":  # FastAPI gives errors the content type of the success, such as HTML for the page
                response["content"] = error_content
    if service.settings.api_key is not None:
        openapi["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, operation in operations:
            if path.startswith(AUTHENTICATED_PATHS):
                operation["security"] = [{"key": []}]
    return openapi


def _example_bodies(service: Service) -> dict[str, Any]:
    """Return a body that this server answers, by path."""
    query, texts = "who wrote dune", ["Dune is a novel by Frank Herbert.", "Sand moves with the wind."]
    bodies = {
        "/search": {"query": query, "k": 3},
        "/highlights": {"query": query, "doc_ids": [next(iter(service.retriever.index.doc_ids), "d1")]},
        "/v1/embeddings": {"model": service.model, "input": [query]},
    }
    if service.ranker is not None:
        bodies["/v1/rerank"] = {"model": service.ranker.folder.name, "query": query, "documents": texts, "top_n": 1}
        bodies["/rerank"] = {"query": query, "texts": texts}
    return bodies


def _of_type(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the alternative of an optional field that has a JSON type; the schema itself if it has no alternatives."""
    alternatives: list[dict[str, Any]] = schema.get("anyOf", [])
    return next((alternative for alternative in alternatives if alternative.get("type") == kind), schema)
