"""Origins of web pages whose scripts may use the server (CORS)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from elasticdenser.errors import QueryError

ANY_ORIGIN = "*"

_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[^\s:@/?#\[\]*]+)(?::([0-9]{1,5}))?", re.IGNORECASE | re.ASCII)
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_MAX_AGE_S = 600
"""Time for which a browser need not ask again whether a page may send a request."""


def parse_origins(origins: Iterable[str]) -> tuple[str, ...]:
    """Return origins as browsers write them in the header Origin.

    Args:
        origins: Scheme, host and, unless it is the scheme's own, port; a slash at the end is left out; `*` allows any.

    Raises:
        QueryError: One of them is not an origin.
    """
    return tuple(dict.fromkeys(map(_parse, origins)))


def allow_origins(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Return an application whose answers, errors too, scripts of pages from these origins can read.

    Clients prove who they are by a key that they add themselves, so that no request needs cookies.
    """
    options: dict[str, Any] = {
        "allow_methods": ["GET", "POST", "DELETE"],
        "allow_headers": ["*"],  # the clients of OpenAI send headers of their own
        "expose_headers": ["X-Request-Id", "Retry-After"],
        "max_age": _MAX_AGE_S,
    }
    return CORSMiddleware(app, allow_origins=origins, **options)


def _parse(origin: str) -> str:
    if origin == ANY_ORIGIN:
        return origin
    match = _ORIGIN.fullmatch(origin.removesuffix("/"))
    if match is None:
        message = f"got origin {origin!a}; expected one such as https://app.example.org or http://localhost:3000"
        raise QueryError(f"{message}, without a path, or {ANY_ORIGIN} for any")
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS[scheme]) else f"{scheme}://{host}:{int(port)}"
