"""Messages between a router and the replicas of shards: numbers and arrays only, nothing that is unpickled.

A frame is its length (4 bytes) and a payload. All numbers are little-endian.

- Request: number of queries, dimensions, k (4 bytes each), 1 for an exact search (1 byte), the recall, or NaN (a float
  of 8 bytes), how many requests wait for this replica (a float of 4 bytes); then the queries.
- Reply: 0 (1 byte), number of queries, hits of each (4 bytes each), then scores and positions; or 1 and a message.
"""

from __future__ import annotations

import math
import struct

import numpy as np

from elasticdenser.index.segment_search import Hits
from elasticdenser.index.sharding.requests import ShardRequest

_LENGTH, _REQUEST, _HITS = struct.Struct("<I"), struct.Struct("<IIIBdf"), struct.Struct("<BII")
_FOUND, _FAILED = 0, 1
LENGTH_BYTES = _LENGTH.size
"""Bytes at the start of a frame that say its length."""


class FrameError(ConnectionError):
    """The other side has sent what is no frame: it has another version, or is another program."""


class SearchFailedError(Exception):
    """A replica could not search; the message is its own."""


def payload_length(start: bytes | bytearray) -> int:
    """Return the length of the payload that follows the first bytes of a frame."""
    length: int = _LENGTH.unpack_from(start)[0]
    return length


def pack_request(request: ShardRequest, n_waiting: float) -> bytes:
    """Return the frame of a request.

    Args:
        request: The request.
        n_waiting: Requests that wait for the replica: its share of those that wait for the shard.
    """
    queries = np.ascontiguousarray(request.queries, dtype="<f4")
    recall = math.nan if request.recall is None else request.recall
    return _frame(_REQUEST.pack(*queries.shape, request.k, request.exact, recall, n_waiting) + queries.tobytes())


def unpack_request(payload: bytes) -> tuple[ShardRequest, float]:
    """Return a request, and how many others wait.

    Raises:
        FrameError: The payload is none of a request.
    """
    try:
        n_queries, dim, k, exact, recall, n_waiting = _REQUEST.unpack_from(payload)
        queries = np.frombuffer(payload, "<f4", offset=_REQUEST.size).reshape(n_queries, dim)
    except (struct.error, ValueError) as error:
        raise FrameError(f"got {len(payload)} bytes that are no request ({error})") from error
    return ShardRequest(
        queries=queries, k=k, exact=bool(exact), recall=None if math.isnan(recall) else recall
    ), n_waiting


def pack_hits(hits: Hits) -> bytes:
    """Return the frame of a reply."""
    scores, positions = np.ascontiguousarray(hits[0], "<f4"), np.ascontiguousarray(hits[1], "<i8")
    return _frame(_HITS.pack(_FOUND, *scores.shape) + scores.tobytes() + positions.tobytes())


def pack_failure(message: str) -> bytes:
    """Return the frame of a reply that says why a search failed."""
    return _frame(_HITS.pack(_FAILED, 0, 0) + message.encode())


def unpack_hits(payload: bytes) -> Hits:
    """Return the hits of a reply.

    Raises:
        SearchFailedError: The search failed.
        FrameError: The payload is none of a reply.
    """
    try:
        status, n_queries, k = _HITS.unpack_from(payload)
        if status == _FAILED:
            raise SearchFailedError(payload[_HITS.size :].decode(errors="replace"))
        n_hits = n_queries * k
        scores = np.frombuffer(payload, "<f4", n_hits, _HITS.size)
        positions = np.frombuffer(payload, "<i8", offset=_HITS.size + scores.nbytes)
        return scores.reshape(n_queries, k), positions.reshape(n_queries, k)
    except (struct.error, ValueError) as error:
        raise FrameError(f"got {len(payload)} bytes that are no reply ({error})") from error


def _frame(payload: bytes) -> bytes:
    return _LENGTH.pack(len(payload)) + payload
