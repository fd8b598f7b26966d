"""ASGI middleware around every request: request id, host check, API key, limits of the body, access log and metrics."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elasticdenser.serving.errors import CLIENT_CLOSED_REQUEST, error_response, log_failure, unavailable_response
from elasticdenser.serving.hosts import is_allowed
from elasticdenser.serving.index_names import split_path
from elasticdenser.serving.server_state import ServerState

AUTHENTICATED_PATHS = ("/search", "/highlights", "/v1/", "/rerank", "/live", "/indexes")
"""Prefixes of the paths that need the API key, if the server has one."""

WRITING_PATHS = ("/passages",)
"""Prefixes of the paths that need the write key."""

_MONITORING_PATHS = ("/healthz", "/readyz", "/metrics", "/live")
"""Answered while the server is stopping. Neither logged nor counted: monitors and the page poll them all the time."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_MAX_LOGGED = 200  # characters of a path or a method
_MAX_SHOWN_HOST = 100
_HEADERS = frozenset((b"host", b"authorization", b"content-length", b"x-request-id"))
_METHODS = ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")


_Headers = dict[bytes, list[str]]
"""Values of headers by name."""


class RequestMiddleware:
    """Rejects requests that may not reach the application, and logs and counts all others.

    Args:
        app: The application inside.
        server: State of the server.
        names: Names of the indexes, the default one first.
    """

    def __init__(self, app: ASGIApp, server: ServerState, names: Sequence[str]) -> None:
        self._app, self._server, self._names = app, server, names
        keys = (server.settings.api_key, server.settings.write_key)
        self._api_key, self._write_key = (None if key is None else key.encode() for key in keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # FastAPI's routes do not know it; the server leaves out the body
            scope = {**scope, "method": "GET"}
        received_s = scope.setdefault("received_s", perf_counter())  # unless `HttpProtocol` has set it
        headers = _read_headers(scope)
        scope["request_id"] = _request_id(_first(headers, b"x-request-id"))
        response = _TrackedResponse(send, scope)
        scope["log_fields"] = log_fields = dict[str, Any]()
        index, path = split_path(scope["path"], self._names)
        self._server.n_open_requests += 1
        try:
            await self._respond(scope, path, headers, receive, response)
        finally:
            self._server.n_open_requests -= 1
            self._record(scope, index, path, response, log_fields, perf_counter() - received_s)

    async def _respond(
        self, scope: Scope, path: str, headers: _Headers, receive: Receive, response: _TrackedResponse
    ) -> None:
        try:
            rejection = self._rejection(scope, path, headers)
            if rejection is not None:
                await rejection(scope, receive, response.send)
            else:
                await self._app(scope, self._with_limits(scope, receive), response.send)
        except asyncio.CancelledError:  # by the server, which has waited long enough for open requests
            await response.send_if_unsent(unavailable_response("the server is stopping"), scope, receive)
            raise
        except Exception as error:
            log_failure(scope, error)
            scope["log_fields"]["error"] = type(error).__name__
            bug = error_response(500, "the server has a bug: its log holds the details")
            await response.send_if_unsent(bug, scope, receive)

    def _rejection(self, scope: Scope, path: str, headers: _Headers) -> Response | None:
        """Return the response to a request that may not reach the application; None if it may."""
        hosts = headers.get(b"host", [])
        if not is_allowed(hosts, self._server.settings.allowed_hosts):
            name = ", ".join(hosts)[:_MAX_SHOWN_HOST]
            message = f"got host {name!a}; expected localhost, or a name given to the server with --allowed-host"
            return error_response(421, message, headers={"Connection": "close"})
        if self._server.is_stopping and path not in _MONITORING_PATHS:
            response = unavailable_response("the server is stopping")
            response.headers["Connection"] = "close"
            return response
        if scope.get("is_surplus") and path not in _MONITORING_PATHS:
            limit = f"the server has {self._server.settings.max_connections:,} connections, its --max-connections"
            response = unavailable_response(limit)
            response.headers["Connection"] = "close"
            return response
        if (key := self._missing_key(path, _first(headers, b"authorization"))) is not None:
            message = f"got no valid {key}; expected the header Authorization: Bearer KEY"
            return error_response(401, message, headers={"WWW-Authenticate": "Bearer"})
        length = _first(headers, b"content-length")
        if length.isdecimal() and int(length) > self._server.settings.max_body_bytes:
            return error_response(413, self._too_large_message(), headers={"Connection": "close"})
        return None

    def _missing_key(self, path: str, authorization: str) -> str | None:
        """Return what the key is called that a request needs and does not have; None if nothing is missing."""
        scheme, _, sent = authorization.partition(" ")
        key = sent.strip().encode("latin-1") if scheme.lower() == "bearer" else b""
        if path.startswith(WRITING_PATHS):  # a server without a write key says so in its answer
            return None if self._write_key is None or hmac.compare_digest(key, self._write_key) else "write key"
        if self._api_key is None or not path.startswith(AUTHENTICATED_PATHS):
            return None
        # compare_digest takes the same time wherever the first difference is.
        known = [each for each in (self._api_key, self._write_key) if each is not None]
        return None if any([hmac.compare_digest(key, each) for each in known]) else "API key"

    def _with_limits(self, scope: Scope, receive: Receive) -> Receive:
        """Return `receive` with limits: a body need not state its length, and need not arrive at all."""
        n_bytes, is_complete = 0, False
        received_s: float = scope["received_s"]
        has_arrived: Callable[[], bool] = scope.get("has_body_arrived", lambda: False)
        timeout_s = self._server.settings.request_timeout_s

        async def receive_limited() -> Message:
            nonlocal n_bytes, is_complete
            if is_complete:  # the next message says that the client hung up, which may come at any time
                return await receive()
            if has_arrived():
                message = await receive()
            else:
                try:
                    async with asyncio.timeout(max(0.0, received_s + timeout_s - perf_counter())):
                        message = await receive()
                except TimeoutError:
                    text = f"the body did not arrive within {timeout_s:g} s: send it again"
                    raise HTTPException(408, text, {"Connection": "close"}) from None
            n_bytes += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if n_bytes > self._server.settings.max_body_bytes:
                raise HTTPException(413, self._too_large_message(), {"Connection": "close"})
            return message

        return receive_limited

    def _too_large_message(self) -> str:
        limit = f"{self._server.settings.max_body_bytes:,} bytes"
        return f"got a body of more than {limit} (serve --max-body-bytes); expected at most as many: send less"

    def _record(
        self,
        scope: Scope,
        index: str,
        path: str,
        response: _TrackedResponse,
        log_fields: dict[str, Any],
        seconds: float,
    ) -> None:
        """Log and count a request that has ended."""
        method, status = scope["method"], response.status or CLIENT_CLOSED_REQUEST
        if path in _MONITORING_PATHS and status < 400:
            return
        # The route and the known methods, so that clients cannot create time series without end.
        route = getattr(scope.get("route"), "path", "other")
        self._server.metrics.count_request(index, route, method if method in _METHODS else "other", status, seconds)
        if self._server.log is not None:
            self._server.log.write(
                id=response.request_id,
                method=method[:_MAX_LOGGED],
                path=scope["path"][:_MAX_LOGGED],
                status=status,
                ms=round(1000 * seconds, 2),
                **log_fields,
            )


class _TrackedResponse:
    """The response to one request, as far as it has been sent.

    Attributes:
        request_id: Identifier of the request, sent back with the response.
        status: The HTTP status, or that of a client that has hung up; None before the response has started.
    """

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send, self.request_id = send, scope["request_id"]
        self._is_client_gone: Callable[[], bool] = scope.get("is_client_gone", lambda: False)
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        """Send a part of the response."""
        if message["type"] == "http.response.start":
            self.status = CLIENT_CLOSED_REQUEST if self._is_client_gone() else message["status"]
            message["headers"] = [*message.get("headers", ()), (b"x-request-id", self.request_id.encode())]
        await self._send(message)

    async def send_if_unsent(self, response: Response, scope: Scope, receive: Receive) -> None:
        """Send a response, unless another one has started."""
        if self.status is None:
            await response(scope, receive, self.send)


def _read_headers(scope: Scope) -> _Headers:
    """Return the values of those headers that matter here."""
    headers: _Headers = {}
    for name, value in scope["headers"]:
        if name in _HEADERS:
            headers.setdefault(name, []).append(value.decode("latin-1"))
    return headers


def _first(headers: _Headers, name: bytes) -> str:
    """Return the first value of a header; nothing if it is missing."""
    return headers[name][0] if name in headers else ""


def _request_id(header: str) -> str:
    return header if _REQUEST_ID.fullmatch(header) else os.urandom(8).hex()
