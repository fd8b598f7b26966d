"""What every request passes first and last: its id, its host, the key, the bounds of its body, the log, the counts."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import re
from time import perf_counter
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elasticdenser.serving.errors import problem, unavailable
from elasticdenser.serving.hosts import is_allowed
from elasticdenser.serving.service import Service

_log = logging.getLogger("elasticdenser.serving")

_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
GUARDED = ("/search", "/v1/", "/live")
"""Beginnings of the paths that need the key, where there is one."""

_STATE = ("/healthz", "/readyz", "/metrics", "/live")
_LONGEST_PATH = 200
_LONGEST_HOST = 100
_GONE = 499  # no response: the client has hung up


class Front:
    """ASGI middleware; see the module.

    Args:
        app: What answers.
        service: What the app shares.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        key = service.settings.api_key
        self._key = None if key is None else key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # unknown to FastAPI's routes; the server leaves the body out
            scope = {**scope, "method": "GET"}
        came_s = scope.setdefault("came_s", perf_counter())  # where the server itself has not noted it
        headers = Headers(scope=scope)
        exchange = _Exchange(send, _id_of(headers.get("x-request-id", "")))
        scope["notes"] = notes = dict[str, Any]()
        self._service.n_open += 1
        try:
            await self._answer(scope, headers, receive, exchange)
        finally:
            self._service.n_open -= 1
            self._account(scope, exchange, notes, perf_counter() - came_s)

    async def _answer(self, scope: Scope, headers: Headers, receive: Receive, exchange: _Exchange) -> None:
        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await refusal(scope, receive, exchange.send)
            else:
                await self._app(scope, self._bounded(receive, scope["came_s"]), exchange.send)
        except asyncio.CancelledError:  # by the server, whose patience at its end is over
            await exchange.fail(unavailable("the server is stopping"), scope, receive)
            raise
        except Exception as error:
            _log.exception("request %s failed", exchange.id)
            scope["notes"]["error"] = type(error).__name__
            await exchange.fail(problem(500, "the server has a bug here: its log says more"), scope, receive)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Return what to answer to who is not let in."""
        path, hosts = scope["path"], headers.getlist("host")
        if not is_allowed(hosts, self._service.settings.allowed_hosts):
            name = ", ".join(hosts)[:_LONGEST_HOST]
            message = f"got host {name!a}; expected localhost, or what the server's --allowed-host names"
            return problem(421, message, headers={"Connection": "close"})
        if self._service.is_stopping and path not in _STATE:
            response = unavailable("the server is stopping")
            response.headers["Connection"] = "close"
            return response
        if self._key is not None and path.startswith(GUARDED) and not self._is_key(headers.get("authorization", "")):
            message = "got no valid API key; expected the header Authorization: Bearer KEY"
            return problem(401, message, headers={"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._service.settings.max_body_bytes:
            return problem(413, self._too_large(), headers={"Connection": "close"})
        return None

    def _is_key(self, given: str) -> bool:
        kind, _, key = given.partition(" ")
        return kind.lower() == "bearer" and hmac.compare_digest(key.strip().encode("latin-1"), self._key or b"")

    def _bounded(self, receive: Receive, came_s: float) -> Receive:
        """Return `receive` with an end to it: not every body says how long it is, and not every one comes."""
        received, is_whole = 0, False
        timeout_s = self._service.settings.body_timeout_s

        async def bounded() -> Message:
            nonlocal received, is_whole
            if is_whole:  # then this waits for the client to hang up
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, came_s + timeout_s - perf_counter())):
                    message = await receive()
            except TimeoutError:
                why = f"the body did not come within {timeout_s:g} s: send it again"
                raise HTTPException(408, why, {"Connection": "close"}) from None
            received += len(message.get("body", b""))
            is_whole = not message.get("more_body", False)
            if received > self._service.settings.max_body_bytes:
                raise HTTPException(413, self._too_large(), {"Connection": "close"})
            return message

        return bounded

    def _too_large(self) -> str:
        return f"got a body of more than {self._service.settings.max_body_bytes:,} bytes: send less at a time"

    def _account(self, scope: Scope, exchange: _Exchange, notes: dict[str, Any], seconds: float) -> None:
        path, status = scope["path"], exchange.status or _GONE
        if path in _STATE and status < 400:  # asked for all day long
            return
        # As the app spells it, so that there are only so many.
        known = getattr(scope.get("route"), "path", "other")
        self._service.metrics.request(known, _known_method(scope["method"]), status, seconds)
        if self._service.log is not None:
            self._service.log.write(
                id=exchange.id,
                method=scope["method"][:_LONGEST_PATH],
                path=path[:_LONGEST_PATH],
                status=status,
                ms=round(1000 * seconds, 2),
                **notes,
            )


class _Exchange:
    """The response to one request, as far as it went.

    Attributes:
        id: The request's.
        status: None before it started.
    """

    def __init__(self, send: Send, id: str) -> None:
        self._send, self.id = send, id
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        """Pass on a part of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-Id"] = self.id
        await self._send(message)

    async def fail(self, response: Response, scope: Scope, receive: Receive) -> None:
        """Respond, if nothing was sent yet."""
        if self.status is None:
            await response(scope, receive, self.send)


def _id_of(given: str) -> str:
    return given if _ID.fullmatch(given) else os.urandom(8).hex()


def _known_method(method: str) -> str:
    return method if method in ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS") else "other"
