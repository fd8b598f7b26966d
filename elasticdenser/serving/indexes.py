"""`GET /indexes`: the indexes of the server."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from elasticdenser.serving.errors import error_response, error_responses
from elasticdenser.serving.schemas import ServedIndexes
from elasticdenser.serving.service import answering_services

router = APIRouter()

unknown_router = APIRouter()
"""The paths of indexes that do not exist; it comes after those that do."""

_MAX_SHOWN = 100
_METHODS = ["GET", "POST", "DELETE"]


@router.get("/indexes", response_model=ServedIndexes, responses=error_responses(401, 503))
async def indexes(request: Request) -> dict[str, Any]:
    """List the indexes of the server. All paths of one are below `/indexes/NAME`; the default one has the others too.

    `/indexes/NAME/docs` describes an index by itself.
    """
    services = answering_services(request)
    return {
        "indexes": [
            {
                "name": service.name,
                "passages": len(service.retriever.index),
                "generation": service.retriever.index.generation,
                "model": service.model,
                "default": service is services[0],
                "writable": service.is_writable and service.retriever.index.contents.sharded is None,
                "ready": service.is_ready,
            }
            for service in services
        ]
    }


@unknown_router.api_route("/indexes/{name}", methods=_METHODS, include_in_schema=False)
@unknown_router.api_route("/indexes/{name}/{path:path}", methods=_METHODS, include_in_schema=False)
async def unknown_index(request: Request, name: str) -> Response:
    """Report that there is no such index, or what is missing behind its name."""
    names = [service.name for service in answering_services(request)]
    if name in names:
        return error_response(404, f"there is nothing at /indexes/{name}: its page is at /indexes/{name}/")
    message = f"there is no index {name[:_MAX_SHOWN]!a} here, only {', '.join(names)}: GET /indexes lists all"
    return error_response(404, message, code="index_not_found")
