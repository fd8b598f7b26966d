"""Server process: its socket, its signals, and a shutdown that answers every request that has arrived."""

from __future__ import annotations

import gc
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from elasticdenser.errors import ElasticDenserError
from elasticdenser.serving.protocol import MAX_SURPLUS_CONNECTIONS, HttpProtocol
from elasticdenser.serving.server_state import ServerState
from elasticdenser.serving.service import Service

_DRAIN_TIMEOUT_S = 6.5
"""Open requests get this long after the first signal. With uvicorn's own timeout and the engine's one second to close,
the process ends within the ten seconds after which `docker stop` kills it."""

_IDLE_TIMEOUT_S = 1.0
"""After the first signal, a client with an open connection gets this long to send the next request, which tells it to
close the connection. If it were closed at once, a request that is on its way would be lost."""

_NEW_CLIENT_TIMEOUT_S = 0.5
"""After the first signal, the server stays at least this long, so that clients that open a connection for each request
are told that the server is stopping, instead of being refused without a word."""

_UVICORN_TIMEOUT_S = 2
"""Longer than a connection may linger."""

_OTHER_FILES = 256
"""Files and pipes that are not connections, for each index: its own, of worker processes, of libraries."""

_KEEP_ALIVE_S = 75
"""Longer than a proxy keeps an idle connection (nginx: 60 s), which must not find it closed when it sends a request."""


class Server(uvicorn.Server):
    """HTTP server that shuts down gracefully on SIGTERM and SIGINT.

    It then reports that it is not ready, answers the requests that have arrived, and ends. A second signal ends it
    at once.

    It ends in the same way when the last search process of an index has died, and no other can start because that was
    replaced: a supervisor then starts it again, with the new index.

    Args:
        app: The application that `make_app` returned.
        on_start: Called as soon as the server listens.

    Attributes:
        failure: Why it has ended by itself; None if it has not.
    """

    def __init__(self, app: FastAPI, on_start: Callable[[], None] = lambda: None) -> None:
        config = uvicorn.Config(
            app,
            http=HttpProtocol,
            ws="none",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_UVICORN_TIMEOUT_S,
        )
        super().__init__(config)
        self._state: ServerState = app.state.server
        self._services: dict[str, Service] = app.state.services
        self._on_start = on_start
        self._stopping_since_s: float | None = None
        self.failure: str | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Start to shut down.

        The base class would raise the signal again after the shutdown, and the process would not exit with status 0.
        """
        if self._stopping_since_s is not None:
            self.should_exit = True
        else:
            self._start_to_stop()

    def _start_to_stop(self) -> None:
        self._state.is_stopping = True
        self._stopping_since_s = time.monotonic()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen.

        Raises:
            ElasticDenserError: Another process has started to listen on the same port.
        """
        for bound in sockets or ():
            try:
                bound.listen(self.config.backlog)  # uvloop would not report a failure
            except OSError as error:
                host, port = bound.getsockname()[:2]
                raise _cannot_listen(host, port, error) from error
        await super().startup(sockets=sockets)
        # The objects that exist now live as long as the process. To look through them took a third of the time of
        # requests, and each time longer than a search.
        gc.collect()
        gc.freeze()
        if self.started:
            self._on_start()

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; called ten times a second."""
        for engine in (service.engine for service in self._services.values()):
            if self._stopping_since_s is None and engine.lost_index is not None and engine.process_failure is not None:
                self.failure = f"no search process is left: {engine.lost_index}"
                self._start_to_stop()
        if self._stopping_since_s is not None:
            stopping_s = time.monotonic() - self._stopping_since_s
            timeout_s = _IDLE_TIMEOUT_S if self.server_state.connections else _NEW_CLIENT_TIMEOUT_S
            has_unwarned = stopping_s < timeout_s
            is_drained = self._state.n_open_requests == 0 and not has_unwarned
            # The socket stays open to the end, so that /readyz can report that the server is stopping.
            self.should_exit |= is_drained or stopping_s > _DRAIN_TIMEOUT_S
        return await super().on_tick(counter)


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound but does not listen yet, so that a port in use is noticed before any work.

    Args:
        host: A name or an address.
        port: The port; 0 takes any free port.

    Raises:
        ElasticDenserError: This machine does not have the address, or the port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except (OSError, UnicodeError, OverflowError) as error:
        raise _cannot_listen(host, port, error) from error
    return bound


def _cannot_listen(host: str, port: int, error: Exception) -> ElasticDenserError:
    reason = getattr(error, "strerror", None) or str(error)
    return ElasticDenserError(
        f"cannot listen on {host}, port {port} ({reason}): choose another --port, or a --host of this machine"
    )


def allow_open_files(max_connections: int, n_indexes: int = 1) -> None:
    """Raise this process's limit of open files, so that it can hold so many connections and indexes.

    Raises:
        ElasticDenserError: The operating system does not allow it.
    """
    if sys.platform == "win32":  # which has no such limit
        return
    import resource

    needed = max_connections + MAX_SURPLUS_CONNECTIONS + n_indexes * _OTHER_FILES
    limit, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    if highest != resource.RLIM_INFINITY and needed > highest:
        most = max(1, highest - needed + max_connections)
        raise ElasticDenserError(
            f"got max_connections = {max_connections:,}, but this process may open {highest:,} files only: give "
            f"--max-connections {most}, or raise the limit (`ulimit -Hn`, or LimitNOFILE= of systemd)"
        )
    if limit != resource.RLIM_INFINITY and needed > limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, highest))


def url_of(bound: socket.socket) -> str:
    """Return the URL of a server that listens on a socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(bound: socket.socket) -> bool:
    """Return whether a socket can be reached from this machine only."""
    host: str = bound.getsockname()[0]
    return host == "::1" or host.startswith("127.")
