"""Proof of a key that a router and the replicas of a shard share, by which each knows the other (RFC 2104).

The router sends a random challenge; the replica answers with an id, a challenge of its own and a proof over all three;
the router proves in turn that it has the key. The key is never sent, and no proof is of use for another connection.
What is sent afterwards is not encrypted.
"""

from __future__ import annotations

import hmac
import secrets
import socket
from dataclasses import dataclass, field

from elasticdenser.errors import ElasticDenserError

CHALLENGE_BYTES = 32
ID_BYTES = 16
PROOF_BYTES = 32
ANSWER_BYTES = ID_BYTES + CHALLENGE_BYTES + PROOF_BYTES
"""Length of what a replica answers to the challenge of a router."""

TIMEOUT_S = 5.0
"""A handshake takes no longer, or fails."""

_DEAD_AFTER_S = 6
"""A peer that acknowledges nothing for so long is taken for dead, as after a loss of power."""
_ROUTER, _REPLICA = b"elasticdenser router 1", b"elasticdenser replica 1"
"""Label that each side signs, with the version of the protocol: the proof of one is none of the other."""


class HandshakeError(ElasticDenserError):
    """The other side does not have the key."""


@dataclass(frozen=True, kw_only=True)
class RouterAddress:
    """Where a router waits for the replicas of a shard.

    Args:
        host: IP address.
        port: Port.
        key: Secret of the router and these replicas.
    """

    host: str
    port: int
    key: bytes = field(repr=False)


def new_challenge() -> bytes:
    """Return random bytes for one connection."""
    return secrets.token_bytes(CHALLENGE_BYTES)


def answer_to(key: bytes, challenge: bytes, replica: bytes, own_challenge: bytes) -> bytes:
    """Return what a replica answers to the challenge of a router."""
    return replica + own_challenge + _proof(key, _REPLICA, challenge, replica, own_challenge)


def checked_answer(key: bytes, challenge: bytes, answer: bytes) -> tuple[bytes, bytes]:
    """Return the id of a replica, and the router's proof to send.

    Raises:
        HandshakeError: The replica does not have the key.
    """
    replica, other = answer[:ID_BYTES], answer[ID_BYTES : ID_BYTES + CHALLENGE_BYTES]
    if not hmac.compare_digest(answer, answer_to(key, challenge, replica, other)):
        raise HandshakeError("a process without the key has asked for queries")
    return replica, _proof(key, _ROUTER, challenge, replica, other)


def check_router(key: bytes, challenge: bytes, replica: bytes, own_challenge: bytes, proof: bytes) -> None:
    """Check the proof of a router.

    Raises:
        HandshakeError: It does not have the key.
    """
    if not hmac.compare_digest(proof, _proof(key, _ROUTER, challenge, replica, own_challenge)):
        raise HandshakeError("the process that listens there does not have the key")


def notice_dead_peers(connection: socket.socket) -> None:
    """Let the operating system end a connection whose other machine is gone without a word."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _DEAD_AFTER_S // 3),
        ("TCP_KEEPINTVL", _DEAD_AFTER_S // 3),
        ("TCP_KEEPCNT", 2),
        ("TCP_USER_TIMEOUT", 1000 * _DEAD_AFTER_S),
    ):
        if hasattr(socket, name):  # not on every system
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _proof(key: bytes, *parts: bytes) -> bytes:
    return hmac.digest(key, b"".join(parts), "sha256")
