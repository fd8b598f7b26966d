"""Server under load over kept-alive connections. Needs the extra `serve`, for httptools."""

from __future__ import annotations

import http.client
import select
import selectors
import socket
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from elasticdenser.engine.policies import Policy, PolicyFactory
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.request import Status
from elasticdenser.errors import BadInputError
from elasticdenser.loadtest.http_api import HttpApi, SearchApi, body_bytes
from elasticdenser.loadtest.http_connection import HttpConnection
from elasticdenser.loadtest.target import LoadRequest, LoadResponse, TargetError

_CONNECT_TIMEOUT_S = 5.0
_MAX_SHOWN = 60
_SEARCH = SearchApi()


@dataclass(frozen=True)
class _LiveLevel:
    name: str
    quality: float


@dataclass(frozen=True)
class _LiveView:
    levels: list[_LiveLevel]


class HttpTarget:
    """Server such as `elasticdenser serve`; see `Target`. Each connection carries one request at a time.

    Args:
        url: URL of the server, such as `http://localhost:8000`.
        api: The requests.
        api_key: Key of the server, sent as a bearer token.
        max_connections: Requests that are due while all connections are busy wait for one, and their latency includes
            that time.

    Attributes:
        profile: The levels that the server reports, with their qualities; their latencies are unknown. None if it
            reports none.

    Raises:
        BadInputError: `url` is not the URL of a server.
        TargetError: The server cannot be reached.
    """

    def __init__(
        self, url: str, *, api: HttpApi = _SEARCH, api_key: str | None = None, max_connections: int = 512
    ) -> None:
        self._host, self._port, path = _split_url(url)
        self._url = url.rstrip("/")
        self._authorization = f"Bearer {api_key}" if api_key else None
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._head = f"POST {path.rstrip('/')}{api.path} HTTP/1.1\r\nHost: {host}:{self._port}\r\n"
        if self._authorization:
            self._head += f"Authorization: {self._authorization}\r\n"
        self._api, self._max_connections = api, max_connections
        self._selector = selectors.DefaultSelector()
        self._idle: list[HttpConnection] = []
        self._n_connections = 0
        self._waiting: deque[LoadRequest] = deque()
        self._failed: list[LoadResponse] = []
        self.profile: Profile | None = self._fetch_profile()
        self._family, self._address = self._resolve_address()

    def start(self, policy: str | Policy | PolicyFactory, deadline_s: float) -> None:
        """See `Target`; the policy of a server cannot be changed."""

    def finish(self) -> None:
        """See `Target`."""

    def send(self, requests: Sequence[LoadRequest]) -> None:
        """See `Target`."""
        self._waiting += requests
        self._send_waiting()

    def receive(self, timeout_s: float) -> list[LoadResponse]:
        """See `Target`."""
        responses, self._failed = self._failed, []
        if not self._n_connections and not responses:
            select.select([], [], [], timeout_s)
            return responses
        # The selector's own timeout has a resolution of milliseconds; that of select(), which can wait for a selector,
        # is finer.
        select.select([self._selector], [], [], 0.0 if responses else timeout_s)
        for key, events in self._selector.select(0):
            connection: HttpConnection = key.data
            if events & selectors.EVENT_WRITE:
                connection.send_more()
            if events & selectors.EVENT_READ and (response := connection.receive()) is not None:
                responses.append(response)
                if not connection.is_closed:
                    self._idle.append(connection)
            if connection.is_closed:
                self._drop(connection)
        self._send_waiting()
        return responses

    def memory_bytes(self) -> int | None:
        """See `Target`."""
        return None

    def close(self) -> None:
        """See `Target`."""
        for key in list((self._selector.get_map() or {}).values()):
            key.data.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send_waiting(self) -> None:
        while self._waiting:
            if not self._idle and (self._n_connections >= self._max_connections or not self._connect()):
                if not self._n_connections:  # no connection can become free
                    self._failed += [LoadResponse(request.number, Status.FAILED) for request in self._waiting]
                    self._waiting.clear()
                return
            connection, request = self._idle.pop(), self._waiting.popleft()
            connection.send(request.number, self._encode_request(request))

    def _connect(self) -> bool:
        """Start a connection, without waiting for it; False if there are no file descriptors left."""
        try:
            connection = HttpConnection(self._family, self._address, self._selector, self._api)
        except OSError:
            return False
        self._idle.append(connection)
        self._n_connections += 1
        return True

    def _drop(self, connection: HttpConnection) -> None:
        connection.close()
        self._n_connections -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def _encode_request(self, request: LoadRequest) -> bytes:
        body = body_bytes(self._api, request)
        head = f"{self._head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def _resolve_address(self) -> tuple[int, Any]:
        """Return family and address at which the server answers: its name may have several."""
        try:
            with socket.create_connection((self._host, self._port), timeout=_CONNECT_TIMEOUT_S) as connection:
                return connection.family, connection.getpeername()
        except OSError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> TargetError:
        reason = str(getattr(error, "reason", error)).strip() or type(error).__name__
        return TargetError(f"cannot reach {self._url} ({reason}): check that the server is running there")

    def _fetch_profile(self) -> Profile | None:
        """Return the levels that the server reports; None if it does not.

        Raises:
            TargetError: The server cannot be reached, does not speak HTTP, or rejects the API key.
        """
        headers = {"Authorization": self._authorization} if self._authorization else {}
        request = urllib.request.Request(f"{self._url}/live", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=_CONNECT_TIMEOUT_S) as response:
                live = msgspec.json.decode(response.read(), type=_LiveView)
            # The latencies are unknown, but a profile must have some.
            levels = [Level(name=level.name, quality=level.quality, measured_s={1: 1.0}) for level in live.levels]
            return Profile(levels=levels)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                message = f"{self._url} answers with status {error.code}: give the server's key (--api-key-file)"
                raise TargetError(message) from error
            return None
        except OSError as error:
            raise self._unreachable(error) from error
        except http.client.HTTPException as error:
            start = str(error).strip()[:_MAX_SHOWN]
            message = f"{self._url} answers with {start!r}; expected HTTP: check the port of the server"
            raise TargetError(message) from error
        except (msgspec.DecodeError, ValueError):
            return None


def _split_url(url: str) -> tuple[str, int, str]:
    """Return host, port and path.

    Raises:
        BadInputError: It is not the URL of a server.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname and url.isprintable() and " " not in url:
            return parts.hostname, 80 if parts.port is None else parts.port, parts.path
    except ValueError:  # an invalid port or address
        pass
    raise BadInputError(f"got {url!r}; expected the URL of a server, such as http://localhost:8000")
