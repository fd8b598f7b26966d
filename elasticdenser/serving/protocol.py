"""uvicorn's HTTP protocol, made safe for clients that are slow, hostile, or end their side of the connection early."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from elasticdenser.serving.errors import error_response
from elasticdenser.serving.framing import RequestFraming
from elasticdenser.serving.lingering import LingeringTransport
from elasticdenser.serving.server_state import ServerState

MAX_HEAD_BYTES = 1 << 16
"""Far above any real head. uvicorn's httptools protocol has no limit of its own."""

MAX_SURPLUS_CONNECTIONS = 32
"""Connections above the limit that are told so, or are asked by monitors; further ones are closed at once."""

_HALF_CLOSED_TIMEOUT_S = 2.0
"""A client that ends its side of the connection waits for the answer, or has gone: nothing tells which."""

_FRESH_TIMEOUT_S = 0.5
"""When the server stops, a new connection gets this long to bring a request, which is then answered."""

_UPGRADE_HEADER = re.compile(rb"\nupgrade:", re.IGNORECASE)
_NOT_HTTP = "the request is not valid HTTP/1.1: see the documentation of your client"


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    Its requests are parsed one at a time: the next head is not looked at before the response to the last one is
    complete. In the scope of each request it sets

    - `received_s`: the time at which its head was complete, on the clock of `time.perf_counter`;
    - `is_client_gone`: a function that returns whether the client cannot receive a response any more;
    - `has_body_arrived`: a function that returns whether all of its body has arrived;
    - `is_surplus`: whether the server has more connections than it should.
    """

    transport: LingeringTransport

    def __init__(self, config: Any, *args: Any, **options: Any) -> None:
        super().__init__(config, *args, **options)
        self._server: ServerState = config.app.state.server
        self._framing = RequestFraming()
        self._received_s = 0.0
        self._may_begin, self._n_heads = False, 0
        self._is_surplus, self._has_ended = False, False
        self._timer: asyncio.TimerHandle | None = None  # for the rest of a head, or of an unwanted body

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, unless there are too many."""
        super().connection_made(LingeringTransport(transport, self.loop))
        self._rest()
        if len(self.connections) <= self._server.settings.max_connections:
            return
        idle = next(iter(self._server.idle_connections))
        if idle is not self:  # the one that has been idle the longest
            idle.close_idle()
        elif len(self.connections) > self._server.settings.max_connections + MAX_SURPLUS_CONNECTIONS:
            self.transport.abort()
        else:
            self._is_surplus = True
            self._server.idle_connections.pop(self)
            self._start_timer(self._server.settings.head_timeout_s, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._server.idle_connections.pop(self, None)
        self._stop_timer()
        self.transport.ignore_buffer()
        super().connection_lost(exc)

    def close_idle(self) -> None:
        """Close the connection, which is idle."""
        self._server.idle_connections.pop(self, None)
        self.transport.close_idle()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer what has arrived, though the client will send no more; return whether to keep the connection."""
        self.transport.has_client_ended = True
        if self.transport.is_closing() or (not self._is_answering and not self._framing.n_waiting):
            return False
        if not self._has_ended:
            self._has_ended = True
            if self._is_answering and not self._framing.is_in_head:
                self._reject(400, "the connection ended before the body was complete: send all of it")
            else:
                self.loop.call_later(_HALF_CLOSED_TIMEOUT_S, self._give_up)
                self._parse()
        return True

    def shutdown(self) -> None:
        """Close the connection as soon as it is idle: the server stops."""
        if self.cycle is None and not self.transport.is_closing():
            self.loop.call_later(_FRESH_TIMEOUT_S, super().shutdown)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        """Wait for the client to read what was sent, but not for ever."""
        super().pause_writing()
        self.transport.watch_buffer()

    def resume_writing(self) -> None:
        """Go on sending."""
        super().resume_writing()
        if not self.transport.is_closing():
            self.transport.ignore_buffer()

    # Requests

    def data_received(self, data: bytes) -> None:
        """Pass data on to the parser; a head only when it is complete."""
        if self.transport.is_closing():
            return
        self._received_s = perf_counter()
        self._framing.add(data)
        self._parse()

    def on_message_begin(self) -> None:
        """Begin a request, if this is the time for it."""
        if not self._may_begin:
            raise ValueError("a message began in the middle of a piece")
        self._may_begin = False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after a chunked body are dropped, because they have passed no check."""
        if self._framing.is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start the request."""
        self._stop_timer()
        super().on_headers_complete()
        self._framing.begin_body(self.headers)
        self._n_heads += 1
        cycle = self.cycle
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]
        scope["received_s"] = self._received_s
        scope["is_surplus"] = self._is_surplus
        scope["is_client_gone"] = lambda: cycle.disconnected
        scope["has_body_arrived"] = lambda: not cycle.more_body
        # After the head of CONNECT comes no HTTP, or a body that the parser does not know.
        if self._is_surplus or self.parser.should_upgrade():
            cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """End the request; the next data belongs to another one."""
        self._framing.end_message()
        super().on_message_complete()
        if not self._is_answering:  # but rejected, before the body was complete
            self._stop_timer()
            self._rest()

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if not self._framing.is_in_head:  # rejected, before the body was complete
            if self.expect_100_continue:  # the client need not send the body, and nothing tells whether it does
                self.transport.close()
            else:
                self._start_timer(self._server.settings.request_timeout_s, self.transport.close)
        elif self._framing.n_waiting or self._has_ended:
            self.flow.pause_reading()  # again: what waits here must not grow with each response
            self.loop.call_soon(self._parse)
        else:
            self._rest()

    def send_400_response(self, msg: str) -> None:
        """Respond to data that is not HTTP, and close the connection."""
        self._reject(400, _NOT_HTTP)

    @property
    def _is_answering(self) -> bool:
        """Whether a request has no complete response yet."""
        return self.cycle is not None and not self.cycle.response_complete

    def _parse(self) -> None:
        """Pass all data to the parser that it may have now."""
        while not self.transport.is_closing():
            is_head = self._framing.is_in_head
            if is_head and self._is_answering:
                if self._framing.n_waiting:
                    self.flow.pause_reading()
                return
            piece = self._framing.next_piece()
            if is_head and (len(piece) or self._framing.n_waiting) > MAX_HEAD_BYTES:
                self._reject(400, f"the head of the request is longer than {MAX_HEAD_BYTES:,} bytes: shorten it")
            elif piece:
                self._feed(piece, is_head)
            else:
                self._wait_for_data()
                return

    def _feed(self, piece: bytes, is_head: bool) -> None:
        """Pass a piece to the parser, and check that it means to the parser what it means here."""
        n_heads = self._n_heads
        if is_head:
            self._server.idle_connections.pop(self, None)
            # Java's client and curl offer to upgrade to HTTP/2. A server may ignore the offer, but httptools would
            # treat everything after the head as another protocol, so the offer is hidden from it.
            piece = _UPGRADE_HEADER.sub(b"\nX-Declined-Upgrade:", piece)
            self._may_begin = True
        super().data_received(piece)
        if self._n_heads - n_heads != is_head or self._framing.is_body_overdue:
            self._reject(400, _NOT_HTTP)

    def _wait_for_data(self) -> None:
        """Set the limits of the time to wait."""
        if not self._framing.is_in_head:
            return  # the limit of a body is the request's
        self.flow.resume_reading()
        if not self._framing.n_waiting:
            if self._has_ended:
                self.transport.close()
        elif self._has_ended:
            self._reject(400, "the connection ended before the head of the request was complete: send all of it")
        elif self._timer is None:
            self._server.idle_connections.pop(self, None)
            self._unset_keepalive_if_required()
            timeout_s = self._server.settings.head_timeout_s
            message = f"the head of the request did not arrive within {timeout_s:g} s: send it again"
            self._start_timer(timeout_s, partial(self._reject, 408, message))

    def _rest(self) -> None:
        """Wait for the next request, as long as keep-alive lasts."""
        self._server.idle_connections.pop(self, None)
        self._server.idle_connections[self] = None
        if self.timeout_keep_alive_task is None:
            timeout_s, close = self.timeout_keep_alive, self.timeout_keep_alive_handler
            self.timeout_keep_alive_task = self.loop.call_later(timeout_s, close)

    def _give_up(self) -> None:
        """Stop waiting for the answer to a client that has ended its side, and may have gone."""
        if self.transport.is_closing():
            return
        if self._is_answering:
            limit = f"{_HALF_CLOSED_TIMEOUT_S:g} s after the client had ended its side of the connection"
            self._reject(408, f"no answer within {limit}: keep it open until the answer has arrived")
        else:
            self.transport.close()

    def _reject(self, status: int, message: str) -> None:
        """Respond with an error, unless a response to the same request has begun, and close the connection."""
        if self.transport.is_closing():
            return
        if self._is_answering:
            can_respond = not self.cycle.response_started
            self.cycle.disconnected = True  # so that nothing is sent after the error
            self.cycle.message_event.set()
        else:
            can_respond = self._framing.is_in_head
        if can_respond:
            response = error_response(status, message)
            headers = [*response.raw_headers, (b"connection", b"close")]
            lines = b"".join(b"%s: %s\r\n" % header for header in headers)
            self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + bytes(response.body))
        self.transport.close()

    def _start_timer(self, timeout_s: float, callback: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(timeout_s, callback)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
