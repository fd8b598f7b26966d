"""The process around the app: its socket, its signals, and an end that loses no request."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from elasticdenser.errors import ElasticDenserError
from elasticdenser.serving.protocol import Protocol
from elasticdenser.serving.service import Service

_DRAIN_S = 7.0
_GRACE_S = 1

_IDLE_S = 75
"""Longer than what keeps connections for later does, such as a proxy: who uses one must not find it closed."""


class Server(uvicorn.Server):
    """Stops on SIGTERM and SIGINT: says that it is not ready, answers what has come, and ends. A second signal hurries.

    Args:
        app: What `make_app` returned.
        on_start: Called when it listens.
    """

    def __init__(self, app: FastAPI, on_start: Callable[[], None] = lambda: None) -> None:
        config = uvicorn.Config(
            app,
            http=Protocol,
            ws="none",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        super().__init__(config)
        self._service: Service = app.state.service
        self._on_start = on_start
        self._stopped_s: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; what the base class does would end the process by the signal, and not with 0."""
        if self._stopped_s is not None:
            self.should_exit = True
            return
        self._service.is_stopping = True
        self._stopped_s = time.monotonic()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen.

        Raises:
            ElasticDenserError: Another process has begun to, on the same port.
        """
        for bound in sockets or ():
            try:
                bound.listen(self.config.backlog)  # uvloop would not say that it failed
            except OSError as error:
                host, port = bound.getsockname()[:2]
                raise _not_listening(host, port, error) from error
        await super().startup(sockets=sockets)
        if self.started:
            self._on_start()

    async def on_tick(self, counter: int) -> bool:
        """Return whether to end; called ten times a second."""
        if self._stopped_s is not None:
            is_over = time.monotonic() - self._stopped_s > _DRAIN_S
            # Open to the last, so that who asks is told that this server is not ready any more.
            self.should_exit |= self._service.n_open == 0 or is_over
        return await super().on_tick(counter)


def listening_socket(host: str, port: int) -> socket.socket:
    """Return a socket that is bound but does not listen yet: a taken port is known before any work.

    Args:
        host: A name or address.
        port: 0 is any that is free.

    Raises:
        ElasticDenserError: There is no such address here, or the port is taken.
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
        raise _not_listening(host, port, error) from error
    return bound


def _not_listening(host: str, port: int, error: Exception) -> ElasticDenserError:
    why = getattr(error, "strerror", None) or str(error)
    return ElasticDenserError(
        f"cannot listen on {host}, port {port} ({why}): choose another --port, or a --host of this machine"
    )


def url_of(bound: socket.socket) -> str:
    """Return where a browser finds what listens there."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(bound: socket.socket) -> bool:
    """Return whether only this machine can reach it."""
    host: str = bound.getsockname()[0]
    return host == "::1" or host.startswith("127.")
