"""State of the server: health, readiness, metrics, the live view, and the page that draws it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError

from elasticdenser.serving.docs_page import docs_html
from elasticdenser.serving.errors import error_response, error_responses, unavailable_response
from elasticdenser.serving.metrics import CONTENT_TYPE
from elasticdenser.serving.pages import page_response, page_source
from elasticdenser.serving.recent_samples import SAMPLE_INTERVAL_S
from elasticdenser.serving.schemas import Health, LiveView
from elasticdenser.serving.service import Service, answering_services, service_of

router = APIRouter()

_PLAIN_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/healthz", response_model=Health, response_model_exclude_none=True, responses=error_responses())
async def healthz() -> dict[str, str]:
    """Report that the process is alive."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Health, response_model_exclude_none=True, responses=error_responses(503))
async def readyz(request: Request) -> dict[str, str] | Response:
    """Report whether to send requests here: the server is warmed up, not stopping, and has its search processes."""
    services = answering_services(request)
    if services[0].server.is_stopping:
        return unavailable_response("the server is stopping")
    for service in services:
        which = _prefix(services, service)
        if (failure := service.engine.process_failure) is not None:
            return unavailable_response(f"{which}searches are slow, because no search process can start ({failure})")
        if not service.is_ready:
            return unavailable_response(f"{which}the server is warming up")
    losses = {_prefix(services, service): service.engine.lost_index for service in services}
    if lost := "; ".join(f"{prefix}{loss}" for prefix, loss in losses.items() if loss is not None):
        return {"status": "ready", "warning": f"search processes that die are not replaced: {lost}"}
    return {"status": "ready"}


def _prefix(services: Sequence[Service], service: Service) -> str:
    """Return the beginning of a message about one of several indexes; nothing if there is only one."""
    return f"index {service.name}: " if len(services) > 1 else ""


@router.get("/metrics", response_class=Response, responses=_PLAIN_TEXT | error_responses())
def metrics(request: Request) -> Response:
    """Return metrics for Prometheus."""
    return Response(service_of(request).server.metrics.render(), media_type=CONTENT_TYPE)


def _check_digits(value: Any) -> Any:
    """Reject text that only Python reads as a number, such as 1_0."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,16}(\.0+)?", value):
        raise PydanticKnownError("int_parsing")
    return value


@router.get("/live", response_model=LiveView, responses=error_responses(401, 422))
async def live(
    request: Request,
    since: Annotated[
        int,
        Query(ge=0, le=1 << 53, description="Number of the first sample to return."),
        BeforeValidator(_check_digits),
    ] = 0,
) -> dict[str, Any] | Response:
    """Return samples of the last minute."""
    service = service_of(request)
    if len(request.query_params.getlist("since")) > 1:
        return error_response(422, "since: got several values; expected one whole number", param="since")
    return {
        "title": service.settings.title or service.name,
        "passages": len(service.retriever.index),
        "every_s": SAMPLE_INTERVAL_S,
        "deadline_ms": 1000 * service.settings.deadline_s,
        "page_deadline_ms": 1000 * service.settings.page_deadline_s,
        "hit_url": service.settings.hit_url,
        "levels": [{"name": level.name, "quality": level.quality} for level in service.engine.profile.levels],
        "samples": service.samples.since(since),
    }


@router.get("/", response_class=HTMLResponse, responses=error_responses(503))
async def page() -> HTMLResponse:
    """Return a web page to search on, with charts of the last minute."""
    return page_response(page_source("page.html"))


@router.get("/docs", response_class=HTMLResponse, responses=error_responses(503))
async def docs(request: Request) -> HTMLResponse:
    """Return this description of the API as a web page, which needs no other host."""
    return page_response(docs_html(request.app.openapi()))
