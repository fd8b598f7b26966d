"""How the server is: health, readiness, figures, the last minute, and the page that draws it."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BeforeValidator
from pydantic_core import PydanticKnownError

from elasticdenser.serving.errors import documented, problem, unavailable
from elasticdenser.serving.live import EVERY_S
from elasticdenser.serving.metrics import CONTENT_TYPE
from elasticdenser.serving.schemas import Health, Live
from elasticdenser.serving.service import service_of

router = APIRouter()

_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@router.get("/healthz", response_model=Health, responses=documented())
async def healthz() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "ok"}


@router.get("/readyz", response_model=Health, responses=documented(503))
async def readyz(request: Request) -> dict[str, str] | Response:
    """Say whether requests should come here: every level has run once, and the server is not stopping."""
    service = service_of(request)
    if service.is_stopping:
        return unavailable("the server is stopping")
    return {"status": "ready"} if service.is_ready else unavailable("the server is warming up")


@router.get("/metrics", response_class=Response, responses=_TEXT | documented())
def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE)


def _digits(value: Any) -> Any:
    """Refuse what Python takes for a number and nobody else does, such as 1_0."""
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,16}(\.0+)?", value):
        raise PydanticKnownError("int_parsing")
    return value


@router.get("/live", response_model=Live, responses=documented(401, 422))
async def live(
    request: Request,
    since: Annotated[int, Query(ge=0, le=1 << 53, description="First sample wanted."), BeforeValidator(_digits)] = 0,
) -> dict[str, Any] | Response:
    """Return the last minute."""
    service = service_of(request)
    if len(request.query_params.getlist("since")) > 1:
        return problem(422, "since: got several; expected a whole number", param="since")
    return {
        "title": service.settings.title,
        "passages": len(service.retriever.index),
        "every_s": EVERY_S,
        "deadline_ms": 1000 * service.settings.deadline_s,
        "levels": [{"name": level.name, "quality": level.quality} for level in service.engine.profile.levels],
        "samples": service.live.since(since),
    }


@router.get("/", response_class=HTMLResponse, responses=documented(503))
async def page() -> HTMLResponse:
    """A page to search on, with a picture of the last minute."""
    text, policy = _page()
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff"}
    return HTMLResponse(text, headers=headers)


@cache
def _page() -> tuple[str, str]:
    """Return the page, and a policy under which a browser runs what is in it and nothing else."""
    text = files("elasticdenser.serving").joinpath("page.html").read_text(encoding="utf-8")
    kinds = {}
    for kind in ("script", "style"):
        (inner,) = re.findall(rf"<{kind}>(.*?)</{kind}>", text, flags=re.DOTALL)
        kinds[kind] = f"'sha256-{b64encode(hashlib.sha256(inner.encode()).digest()).decode()}'"
    policy = (
        f"default-src 'none'; script-src {kinds['script']}; style-src {kinds['style']}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return text, policy
