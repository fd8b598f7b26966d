"""A server under load: `POST /search` over connections that are kept alive."""

from __future__ import annotations

import errno
import http.client
import json
import select
import selectors
import socket
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Sequence
from time import perf_counter
from typing import Any, Self
from urllib.parse import urlsplit

from elasticdenser.engine.policies import Policy, PolicyFactory
from elasticdenser.engine.profiling.profile import Level, Profile
from elasticdenser.engine.request import Status
from elasticdenser.errors import BadInputError
from elasticdenser.loadtest.http_replies import HttpReplies
from elasticdenser.loadtest.target import Asked, Reply, TargetError

_PIECE = 1 << 16
_CONNECT_S = 5.0


class HttpTarget:
    """A server such as `elasticdenser serve`; see `Target`. One request at a time goes over each connection.

    Args:
        url: Such as `http://localhost:8000`.
        api_key: Sent as a bearer token.
        max_connections: What is due while all are busy waits for one, and that time counts.

    Attributes:
        profile: The levels of which the server tells, with their quality; their times are not known.

    Raises:
        BadInputError: That is no URL of a server.
        TargetError: It cannot be reached.
    """

    def __init__(self, url: str, *, api_key: str | None = None, max_connections: int = 512) -> None:
        self._host, self._port, path = _taken_apart(url)
        self._url = url.rstrip("/")
        self._key = f"Authorization: Bearer {api_key}\r\n" if api_key else ""
        self._path = f"{path.rstrip('/')}/search"
        self._most = max_connections
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Connection] = []
        self._n_open = 0
        self._waiting: deque[Asked] = deque()
        self._failed: list[Reply] = []
        self.profile: Profile | None = self._levels()
        self._family, self._address = self._found()

    def start(self, policy: str | Policy | PolicyFactory, deadline_s: float) -> None:
        """See `Target`; a server keeps its own policy."""

    def finish(self) -> None:
        """See `Target`."""

    def send(self, asked: Sequence[Asked]) -> None:
        """See `Target`."""
        self._waiting += asked
        self._send_on()

    def receive(self, timeout_s: float) -> list[Reply]:
        """See `Target`."""
        replies, self._failed = self._failed, []
        if not self._n_open and not replies:
            select.select([], [], [], timeout_s)
            return replies
        # Selectors wait in whole milliseconds; select() is more precise, and can wait for a selector.
        select.select([self._selector], [], [], 0.0 if replies else timeout_s)
        for key, events in self._selector.select(0):
            connection: _Connection = key.data
            if events & selectors.EVENT_WRITE:
                connection.send_on(self._selector)
            if events & selectors.EVENT_READ and (reply := connection.receive()) is not None:
                replies.append(reply)
                if connection.is_closed:
                    self._drop(connection)
                else:
                    self._idle.append(connection)
            elif connection.is_closed:
                self._drop(connection)
        self._send_on()
        return replies

    def memory_bytes(self) -> int | None:
        """See `Target`."""
        return None

    def close(self) -> None:
        """See `Target`."""
        for key in list((self._selector.get_map() or {}).values()):
            key.data.socket.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send_on(self) -> None:
        while self._waiting:
            if not self._idle and (self._n_open >= self._most or not self._connect()):
                if not self._n_open:  # nobody is left to wait for
                    self._failed += [Reply(one.number, Status.FAILED) for one in self._waiting]
                    self._waiting.clear()
                return
            connection, asked = self._idle.pop(), self._waiting.popleft()
            connection.send(asked.number, self._request(asked), self._selector)

    def _connect(self) -> bool:
        """Begin to connect: what then goes over the connection waits for it, and not the client."""
        try:
            made = socket.socket(self._family, socket.SOCK_STREAM)
        except OSError:  # no more files
            return False
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.connect_ex(self._address)  # if it fails, reading will find out
        connection = _Connection(made)
        self._selector.register(made, selectors.EVENT_READ, connection)
        self._idle.append(connection)
        self._n_open += 1
        return True

    def _drop(self, connection: _Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._n_open -= 1
        if connection in self._idle:
            self._idle.remove(connection)

    def _request(self, asked: Asked) -> bytes:
        left_ms = max(0.1, 1000 * (asked.due_s - perf_counter()))
        body = json.dumps(
            {"query": asked.text, "k": asked.k, "deadline_ms": round(left_ms, 3), "with_text": False}
        ).encode()
        host = f"[{self._host}]" if ":" in self._host else self._host
        head = f"POST {self._path} HTTP/1.1\r\nHost: {host}:{self._port}\r\n{self._key}"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def _found(self) -> tuple[int, Any]:
        """Return the family and the address at which the server answers, of those that its name may have."""
        try:
            with socket.create_connection((self._host, self._port), timeout=_CONNECT_S) as made:
                return made.family, made.getpeername()
        except OSError as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> TargetError:
        reason = str(getattr(error, "reason", error)).strip() or type(error).__name__
        return TargetError(f"cannot reach {self._url} ({reason}): is the server running there?")

    def _levels(self) -> Profile | None:
        """Return the levels of which the server tells, after a look whether it is there."""
        request = urllib.request.Request(f"{self._url}/live")
        if self._key:
            name, value = self._key.strip().split(": ", 1)
            request.add_header(name, value)
        try:
            with urllib.request.urlopen(request, timeout=_CONNECT_S) as response:
                told = json.load(response)
            levels = [Level(name=row["name"], quality=row["quality"], measured_s={1: 1.0}) for row in told["levels"]]
            return Profile(levels=levels)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                message = f"{self._url} answers with status {error.code}: give its key (--api-key-file)"
                raise TargetError(message) from error
            return None
        except OSError as error:
            raise self._unreachable(error) from error
        except http.client.HTTPException as error:
            message = f"{self._url} answers with {str(error).strip()[:60]!r}; expected HTTP: is that the server's port?"
            raise TargetError(message) from error
        except (ValueError, KeyError, TypeError):
            return None


def _taken_apart(url: str) -> tuple[str, int, str]:
    """Return host, port and path."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname and url.isprintable() and " " not in url:
            return parts.hostname, 80 if parts.port is None else parts.port, parts.path
    except ValueError:  # no port, or no address
        pass
    raise BadInputError(f"got {url!r}; expected the URL of a server, such as http://localhost:8000")


class _Connection:
    """A connection, and the request that is under way on it."""

    def __init__(self, made: socket.socket) -> None:
        self.socket, self.is_closed = made, False
        self._number: int | None = None
        self._unsent = b""
        self._replies = HttpReplies()

    def send(self, number: int, request: bytes, selector: selectors.BaseSelector) -> None:
        self._number, self._unsent = number, request
        self.send_on(selector)

    def send_on(self, selector: selectors.BaseSelector) -> None:
        try:
            self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOTCONN:  # as macOS says of one that is still being made
                self._unsent = b""  # reading will find that it is closed
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if selector.get_key(self.socket).events != wanted:
            selector.modify(self.socket, wanted, self)

    def receive(self) -> Reply | None:
        """Return the reply, if it is complete or there will be none."""
        try:
            piece = self.socket.recv(_PIECE)
        except BlockingIOError:
            return None
        except OSError:
            piece = b""
        number = self._number
        if not piece:
            self.is_closed, self._number = True, None
            return None if number is None else Reply(number, Status.FAILED)
        answer = self._replies.feed(piece)
        if answer is None or number is None:
            return None
        self._number = None
        self.is_closed = answer.closes
        return _reply(number, answer.status, answer.body)


def _reply(number: int, status: int, body: bytes) -> Reply:
    if status == 429:
        return Reply(number, Status.REFUSED)
    if status != 200:
        return Reply(number, Status.FAILED)
    try:
        result: dict[str, Any] = json.loads(body)["results"][0]
        late, level = bool(result["late"]), str(result["level"])
        queued_s, ran_s = float(result["queued_ms"]) / 1000, float(result["ran_ms"]) / 1000
    except (ValueError, KeyError, IndexError, TypeError):
        return Reply(number, Status.FAILED)
    return Reply(number, Status.LATE if late else Status.IN_TIME, level, queued_s=queued_s, ran_s=ran_s)
