"""Messages between a router and replicas, and messages that are none."""

from __future__ import annotations

import numpy as np
import pytest

from elasticdenser.index.sharding.remote import frames
from elasticdenser.index.sharding.requests import ShardRequest

QUERIES = np.random.default_rng(1).normal(size=(3, 5)).astype(np.float32)


def payload(frame):
    assert frames.payload_length(frame) == len(frame) - frames.LENGTH_BYTES
    return frame[frames.LENGTH_BYTES :]


@pytest.mark.parametrize("options", [{}, {"exact": True}, {"recall": 0.95}])
def test_a_request_is_read_as_it_was_sent(options):
    sent = ShardRequest(queries=QUERIES, k=7, **options)
    read, n_waiting = frames.unpack_request(payload(frames.pack_request(sent, 1.5)))
    assert (read.k, read.exact, read.recall, n_waiting) == (7, sent.exact, sent.recall, 1.5)
    assert np.array_equal(read.queries, QUERIES) and read.queries.dtype == np.float32


def test_hits_are_read_to_the_bit_with_positions_beyond_32_bits():
    scores = np.array([[0.1, -np.inf], [np.nextafter(np.float32(1), np.float32(2)), 0]], np.float32)
    positions = np.array([[1 << 40, -1], [0, 3]])
    read = frames.unpack_hits(payload(frames.pack_hits((scores, positions))))
    assert all(map(np.array_equal, read, (scores, positions)))


def test_a_failure_is_raised_with_its_message():
    with pytest.raises(frames.SearchFailedError, match="the disk is gone"):
        frames.unpack_hits(payload(frames.pack_failure("OSError: the disk is gone")))


def test_bytes_that_are_no_message_are_refused():
    request = payload(frames.pack_request(ShardRequest(queries=QUERIES, k=7), 0))
    hits = payload(frames.pack_hits((QUERIES, np.zeros((3, 5), np.int64))))
    for read, whole in ((frames.unpack_request, request), (frames.unpack_hits, hits)):
        for wrong in (whole[:-1], whole[:5], b"", whole + b"1234567", b"\1\0" + whole):
            if read is frames.unpack_hits and wrong[:1] == b"\1":
                continue  # a failure with a message
            with pytest.raises(frames.FrameError, match=f"got {len(wrong)} bytes that are no"):
                read(wrong)
