"""The side of a router: the replicas of a shard that have connected to it, and requests to them."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import threading
from collections import deque
from dataclasses import dataclass, field

from elasticdenser.index.segment_search import Hits
from elasticdenser.index.sharding.remote import frames, handshake
from elasticdenser.index.sharding.remote.handshake import HandshakeError, RouterAddress
from elasticdenser.index.sharding.requests import ShardRequest

_log = logging.getLogger(__name__)
_MAX_STRANGERS = 64
"""Connections whose key is not checked yet; further ones are closed at once."""


class RemoteShard:
    """Shard whose replicas connect to this process; see `Shard`.

    A connection carries one request at a time. Requests for which none is free wait here, first come, first served, so
    that they go to whichever replica is free first. Of several, that with the fewest requests is asked, then the one
    that has waited longest: a second request goes to another replica where there is one.

    Args:
        host: Address of this machine on which replicas are accepted.

    Attributes:
        address: What replicas need in order to connect.
    """

    def __init__(self, host: str) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, 0), family=family)
        self.address = RouterAddress(host=host, port=self._listening.getsockname()[1], key=secrets.token_bytes(32))
        self._replicas: dict[bytes, _Replica] = {}  # the one that was asked longest ago first
        self._connections = set[_Connection]()
        self._waiting = deque[_Waiting]()
        self._has_replica = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None

    @property
    def n_replicas(self) -> int:
        """Replicas that are connected."""
        return len(self._replicas)

    @property
    def n_waiting(self) -> int:
        """Requests that wait until a replica is free."""
        return len(self._waiting)

    async def start(self) -> None:
        """Begin to accept replicas."""
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(lambda: _Connection(self), sock=self._listening)

    def wait_for_replica(self, timeout_s: float) -> bool:
        """Wait in another thread until a replica has connected; return whether one has."""
        return self._has_replica.wait(timeout_s)

    async def ask(self, request: ShardRequest) -> Hits:
        """Return the hits of one replica; waits until one is there.

        Raises:
            ConnectionError: The replica was lost.
            SearchFailedError: It could not search.
        """
        waiting = _Waiting(request, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._send_waiting()
        try:
            return await waiting.reply
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            raise

    def close(self) -> None:
        """Close all connections; replicas then try to connect again until they are stopped."""
        if self._loop is None:
            self._listening.close()
        else:
            self._loop.call_soon_threadsafe(self._disconnect)

    def _disconnect(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.abort()

    def _send_waiting(self) -> None:
        """Send the requests that wait to connections that are free."""
        while self._waiting:
            free = [replica for replica in self._replicas.values() if replica.free]
            if not free:
                return
            replica = min(free, key=lambda replica: replica.n_running)
            self._replicas[replica.id] = self._replicas.pop(replica.id)
            waiting = self._waiting.popleft()
            replica.free.pop().send(waiting, len(self._waiting) / len(self._replicas))

    # Called by connections, in the loop.

    def connected(self, connection: _Connection) -> bool:
        """Take a new connection, unless there are too many whose key is not checked."""
        if sum(other.replica is None for other in self._connections) >= _MAX_STRANGERS:
            return False
        self._connections.add(connection)
        return True

    def joined(self, connection: _Connection, replica: bytes) -> _Replica:
        """Take a connection whose key has been checked."""
        own = self._replicas.setdefault(replica, _Replica(replica))
        own.connections.add(connection)
        self._has_replica.set()
        return own

    def freed(self, connection: _Connection) -> None:
        """Use a connection for the next request."""
        if connection.replica is not None:
            connection.replica.free.append(connection)
            self._send_waiting()

    def lost(self, connection: _Connection) -> None:
        """Forget a connection, and a replica that has none left."""
        self._connections.discard(connection)
        if (replica := connection.replica) is not None:
            replica.connections.discard(connection)
            if connection in replica.free:
                replica.free.remove(connection)
            if not replica.connections:
                self._replicas.pop(replica.id, None)


@dataclass(eq=False)
class _Waiting:
    """A request, and the future that its hits or its failure are given to unless it is cancelled before."""

    request: ShardRequest
    reply: asyncio.Future[Hits]

    def fail(self, error: Exception) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


@dataclass(eq=False)
class _Replica:
    """Connections of one replica, and those of them that are free."""

    id: bytes
    connections: set[_Connection] = field(default_factory=set)
    free: list[_Connection] = field(default_factory=list)

    @property
    def n_running(self) -> int:
        return len(self.connections) - len(self.free)


class _Connection(asyncio.Protocol):
    """One connection from a replica: a handshake, then one request at a time."""

    def __init__(self, shard: RemoteShard) -> None:
        self.replica: _Replica | None = None
        self._shard, self._challenge, self._received = shard, handshake.new_challenge(), bytearray()
        self._asked: _Waiting | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # that of a socket is one
        self._timer = asyncio.get_running_loop().call_later(handshake.TIMEOUT_S, self.abort)
        if not self._shard.connected(self):
            self.abort()
            return
        handshake.notice_dead_peers(transport.get_extra_info("socket"))
        self._transport.write(self._challenge)

    def send(self, asked: _Waiting, n_waiting: float) -> None:
        """Send a request."""
        self._asked = asked
        self._transport.write(frames.pack_request(asked.request, n_waiting))

    def abort(self) -> None:
        """End the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self.replica is None:
            self._check_answer()
        elif self._asked is None:
            self.abort()  # nothing was asked
        elif len(self._received) >= frames.LENGTH_BYTES:
            end = frames.LENGTH_BYTES + frames.payload_length(self._received)
            if len(self._received) >= end:
                payload = bytes(self._received[frames.LENGTH_BYTES : end])
                del self._received[:end]
                self._take_reply(self._asked, payload)

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        self._shard.lost(self)
        if self._asked is not None:
            self._asked.fail(ConnectionResetError("a replica was lost"))

    def _check_answer(self) -> None:
        if len(self._received) < handshake.ANSWER_BYTES:
            return
        try:
            replica, proof = handshake.checked_answer(self._shard.address.key, self._challenge, bytes(self._received))
        except HandshakeError as error:
            peer = self._transport.get_extra_info("peername")
            _log.warning("refused %s: %s", peer[0] if peer else "a connection", error)
            self.abort()
            return
        self._timer.cancel()
        self._received.clear()
        self._transport.write(proof)
        self.replica = self._shard.joined(self, replica)
        self._shard.freed(self)

    def _take_reply(self, asked: _Waiting, payload: bytes) -> None:
        self._asked = None
        try:
            hits = frames.unpack_hits(payload)
        except frames.FrameError as error:
            asked.fail(error)
            self.abort()
            return
        except frames.SearchFailedError as error:
            asked.fail(error)
        else:
            if not asked.reply.done():
                asked.reply.set_result(hits)
        self._shard.freed(self)
