"""Splitting of received data into heads and parts of bodies."""

from __future__ import annotations

import random

import httptools
import pytest

from elasticdenser.serving.framing import RequestFraming

PLAIN = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
WITH_LENGTH = b"POST /b HTTP/1.1\r\nContent-Length: 9\r\n\r\n\r\n\r\n\n\nabc"
CHUNKED = b"POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nx\r\n\r\ny\r\n0;a=b\r\nX: z\r\n\r\n"
EMPTY_CHUNKED = b"POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
EMPTY = b"POST /e HTTP/1.1\r\nContent-Length: 0\r\n\r\n"
BODIES = {PLAIN: b"", WITH_LENGTH: b"\r\n\r\n\n\nabc", CHUNKED: b"x\r\n\r\ny", EMPTY_CHUNKED: b"", EMPTY: b""}


class Reader:
    """Owner of a framing and a parser; records heads and bodies."""

    def __init__(self) -> None:
        self.framing, self.parser = RequestFraming(), httptools.HttpRequestParser(self)
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = 0

    def on_message_begin(self):
        self.begun += 1
        self.headers = []

    def on_header(self, name, value):
        self.headers.append((name.lower(), value))

    def on_headers_complete(self):
        self.framing.begin_body(self.headers)
        self.bodies.append(b"")

    def on_body(self, body):
        self.bodies[-1] += body

    def on_message_complete(self):
        self.framing.end_message()

    def receive(self, data: bytes) -> None:
        self.framing.add(data)
        while True:
            is_head, begun = self.framing.is_in_head, self.begun
            piece = self.framing.next_piece()
            if not piece:
                return
            if is_head:
                self.heads.append(piece)
            self.parser.feed_data(piece)
            assert self.begun - begun == is_head  # each head is a piece of its own, and nothing else is
            assert not self.framing.is_body_overdue


@pytest.mark.parametrize("second", BODIES)
def test_two_requests_may_be_split_anywhere(second):
    data = WITH_LENGTH + b"\r\n" + second + CHUNKED + PLAIN
    for cut in range(len(data) + 1):
        reader = Reader()
        reader.receive(data[:cut])
        reader.receive(data[cut:])
        assert reader.bodies == [BODIES[request] for request in (WITH_LENGTH, second, CHUNKED, PLAIN)]
        assert reader.framing.is_in_head and reader.framing.n_waiting == 0


def test_requests_in_random_pieces():
    chance = random.Random(7)
    for _ in range(300):
        requests = chance.choices(list(BODIES), k=chance.randint(1, 6))
        data = b"".join(requests)
        reader = Reader()
        while data:
            length = chance.choice((1, 2, 3, 10, 100, 1000))
            reader.receive(data[:length])
            data = data[length:]
        assert reader.bodies == [BODIES[request] for request in requests]
        assert reader.heads == [request.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" for request in requests]


def test_line_breaks_between_requests_are_no_part_of_a_head():
    framing = RequestFraming()
    framing.add(b"\r\n\r\n\n")
    assert framing.n_waiting == 0 and framing.next_piece() == b""
    framing.add(b"\r\nGET / HTTP/1.1\r\n\r")
    assert framing.next_piece() == b""
    framing.add(b"\n")
    assert framing.next_piece() == b"GET / HTTP/1.1\r\n\r\n"


def test_a_parser_that_sees_another_end_than_the_length_says_is_noticed():
    framing = RequestFraming()
    framing.begin_body([(b"content-length", b"3")])
    framing.add(b"ab")
    assert framing.next_piece() == b"ab" and not framing.is_body_overdue
    with pytest.raises(ValueError, match="1 bytes"):
        framing.end_message()
    framing.add(b"cd")
    assert framing.next_piece() == b"c" and framing.is_body_overdue
