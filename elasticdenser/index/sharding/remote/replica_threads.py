"""The side of a replica: threads that connect to a router, and search what it sends."""

from __future__ import annotations

import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from elasticdenser.index.segment_search import Hits
from elasticdenser.index.sharding.remote import frames, handshake
from elasticdenser.index.sharding.remote.handshake import HandshakeError, RouterAddress
from elasticdenser.index.sharding.remote.load_meter import LoadMeter
from elasticdenser.index.sharding.requests import ShardRequest

_log = logging.getLogger(__name__)
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.02, 2.0
"""Pause before a connection is tried again, the first time and at most; it doubles each time."""


class ReplicaThreads:
    """Threads of a replica, each with a connection to the router over which it takes one request at a time.

    The replica opens no port: it connects to the router, again and again while there is none. A request is read,
    searched and answered by the same thread, so that none waits for another to wake.

    Args:
        router: Where the router waits.
        search: Searches the shard; called by several threads.
        n_threads: Searches at a time.
    """

    def __init__(self, router: RouterAddress, search: Callable[[ShardRequest], Hits], n_threads: int) -> None:
        self._router, self._search, self._id = router, search, secrets.token_bytes(handshake.ID_BYTES)
        self._meter, self._is_closed = LoadMeter(), threading.Event()
        self._lock, self._connections = threading.Lock(), set[socket.socket]()
        self._threads = [
            threading.Thread(target=self._run, name=f"elasticdenser-replica-{number}", daemon=True)
            for number in range(n_threads)
        ]
        for thread in self._threads:
            thread.start()

    def take_mean_load(self) -> float:
        """Return the mean number of requests that were searched, or waited for this replica, since the last call."""
        return self._meter.take_mean()

    def close(self) -> None:
        """Leave the router, at once; searches that have begun end, but are not answered."""
        self._is_closed.set()
        with self._lock:
            for connection in self._connections:
                with suppress(OSError):  # the router has closed it
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._is_closed.wait(pause_s):
            try:
                with self._connection() as connection, connection.makefile("rb") as received:
                    self._greet(connection, received)
                    pause_s = 0.0
                    while True:
                        self._answer(connection, received)
            except OSError:  # the router has ended, or is not there yet
                pause_s = min(max(_MIN_PAUSE_S, 2 * pause_s), _MAX_PAUSE_S)
            except HandshakeError as error:
                _log.warning("%s port %d: %s", self._router.host, self._router.port, error)
                pause_s = _MAX_PAUSE_S

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        """Yield a new connection, which `close` ends."""
        with socket.create_connection((self._router.host, self._router.port), handshake.TIMEOUT_S) as connection:
            with self._lock:
                if self._is_closed.is_set():
                    raise ConnectionAbortedError("closed")
                self._connections.add(connection)
            try:
                yield connection
            finally:
                with self._lock:
                    self._connections.remove(connection)

    def _greet(self, connection: socket.socket, received: BinaryIO) -> None:
        """Prove the key, and check that the other side has it."""
        handshake.notice_dead_peers(connection)
        key, own_challenge = self._router.key, handshake.new_challenge()
        challenge = _read(received, handshake.CHALLENGE_BYTES)
        connection.sendall(handshake.answer_to(key, challenge, self._id, own_challenge))
        proof = _read(received, handshake.PROOF_BYTES)
        handshake.check_router(key, challenge, self._id, own_challenge, proof)
        connection.settimeout(None)

    def _answer(self, connection: socket.socket, received: BinaryIO) -> None:
        length = frames.payload_length(_read(received, frames.LENGTH_BYTES))
        request, n_waiting = frames.unpack_request(_read(received, length))
        with self._meter.running(n_waiting):
            try:
                reply = frames.pack_hits(self._search(request))
            except Exception as error:  # the router asks again, and reports it
                reply = frames.pack_failure(f"{type(error).__name__}: {error}")
        connection.sendall(reply)


def _read(received: BinaryIO, n_bytes: int) -> bytes:
    """Return the next bytes; raise `ConnectionError` if there are no more."""
    data = received.read(n_bytes)
    if len(data) < n_bytes:
        raise ConnectionResetError("the router has closed the connection")
    return data
