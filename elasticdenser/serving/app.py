"""The app: an engine behind HTTP."""

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
from elasticdenser.serving import embeddings
from elasticdenser.serving import errors as problems
from elasticdenser.serving import search as searching
from elasticdenser.serving import status as state
from elasticdenser.serving.middleware import GUARDED, Front
from elasticdenser.serving.service import Service
from elasticdenser.serving.settings import ServeSettings

_log = logging.getLogger("elasticdenser.serving")
_LONGEST_PAUSE_S = 60.0


def make_app(engine: RetrievalEngine, retriever: Retriever, settings: ServeSettings | None = None) -> FastAPI:
    """Return the app that answers with an engine; whoever made that closes it, after the app has ended.

    Args:
        engine: Answers queries.
        retriever: What it searches with: gives texts to hits, and vectors.
        settings: How the server works.
    """
    service = Service(engine, retriever, settings or ServeSettings())

    @contextlib.asynccontextmanager
    async def living(_: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(service.sample()), asyncio.create_task(_warmed(service))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            service.close()

    # The pages of documentation that FastAPI has load scripts from elsewhere.
    app = FastAPI(
        title="elasticdenser",
        version=__version__,
        description="Dense retrieval at the best level that the load allows.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=living,
    )
    app.state.service = service
    for router in (searching.router, embeddings.router, state.router):
        app.include_router(router)
    problems.register(app)
    app.add_middleware(Front, service=service)
    describe = app.openapi
    app.openapi = lambda: _described(describe(), service)  # type: ignore[method-assign]
    return app


async def _warmed(service: Service) -> None:
    pause_s = 1.0
    while not service.is_ready:
        try:
            await service.warm_up()
        except Exception:
            _log.exception("warming up failed: trying again in %g s", pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _described(description: dict[str, Any], service: Service) -> dict[str, Any]:
    """Add to the description of the API what only this server knows: levels, models, and whether it has a key."""
    levels = [level.name for level in service.engine.profile.levels]
    known = {("minimum_level", name): levels for name in ("SearchOne", "SearchMany")}
    known["model", "EmbeddingsRequest"] = list(embeddings.models_of(service))
    schemas = description["components"]["schemas"]
    for (field, model), values in known.items():
        schema = schemas[model]["properties"][field]
        text = next((one for one in schema.get("anyOf", []) if one["type"] == "string"), schema)
        text["enum"] = values
    dimensions = schemas["EmbeddingsRequest"]["properties"]["dimensions"]
    next(one for one in dimensions["anyOf"] if one["type"] == "integer")["const"] = service.retriever.encoder.dim
    operations = [(path, one) for path, item in description["paths"].items() for one in item.values()]
    refusal = {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}
    for _, operation in operations:
        for status, response in operation["responses"].items():
            if status != "200":  # FastAPI states them in the type of what succeeds, such as the page's
                response["content"] = refusal
    if service.settings.api_key is not None:
        description["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        for path, operation in operations:
            if path.startswith(GUARDED):
                operation["security"] = [{"key": []}]
    return description
