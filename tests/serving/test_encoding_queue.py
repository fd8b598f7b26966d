"""Texts of several requests share a batch, in their order, and each gets its own vectors."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs pip install 'elasticdenser[serve]'")

from elasticdenser.errors import ModelError
from elasticdenser.serving.encoding_queue import EncodingMode, EncodingQueue
from elasticdenser.serving.settings import TEXTS_PER_BATCH


class Encoder:
    """Encoder whose vectors are the lengths of the texts; it starts when the gate is opened."""

    def __init__(self):
        self.gate, self.batches = threading.Event(), []

    def encode(self, texts, subnet):
        assert self.gate.wait(20)
        self.batches.append((subnet, list(texts)))
        if "fail" in texts:
            raise ModelError("no")
        return np.array([[len(text)] for text in texts], np.float32)

    def encode_passages(self, texts, subnet):
        return -self.encode(texts, subnet)

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


@pytest.fixture
def encode():
    """Encode lists of texts, each the texts of one request; the first one begins before the others come."""
    encoder = Encoder()

    def run(*requests, cancel=()):
        async def main():
            with ThreadPoolExecutor(1) as pool:
                queue = EncodingQueue(pool, 1)
                tasks = []
                for texts, *mode in requests:
                    subnet, are_passages = mode or ("w1-d2", False)
                    tasks.append(
                        asyncio.ensure_future(queue.encode(EncodingMode(encoder, subnet, are_passages), texts))
                    )
                    await asyncio.sleep(0)
                for number in cancel:
                    tasks[number].cancel()
                await asyncio.sleep(0)
                encoder.gate.set()
                return await asyncio.gather(*tasks, return_exceptions=True)

        return encoder, asyncio.run(main())

    return run


def test_requests_that_wait_share_a_batch(encode):
    encoder, results = encode((["a"],), (["b b", "ccccc"],), (["dd"],))
    assert encoder.batches == [("w1-d2", ["a"]), ("w1-d2", ["b b", "ccccc", "dd"])]
    assert [result.vectors.ravel().tolist() for result in results] == [[1], [3, 5], [2]]
    assert [result.n_tokens for result in results] == [[1], [2, 1], [1]]


def test_other_subnets_and_passages_get_their_own_batch(encode):
    encoder, results = encode((["a"],), (["b"],), (["c"], "level0", False), (["d"], "level0", True))
    assert [subnet for subnet, _ in encoder.batches] == ["w1-d2", "w1-d2", "level0", "level0"]
    assert [result.vectors[0, 0] for result in results] == [1, 1, 1, -1]


def test_batches_are_limited(encode):
    many = [[f"text {number}"] for number in range(2 * TEXTS_PER_BATCH)]
    encoder, _ = encode((["a"],), *((texts,) for texts in many), (["x" * 2000],), (["y"],))
    assert [len(texts) for _, texts in encoder.batches] == [1, TEXTS_PER_BATCH, TEXTS_PER_BATCH, 1, 1]


def test_a_failure_is_that_of_its_batch_alone(encode):
    _, results = encode((["a"],), (["fail"],), (["b"], "level0", False))
    assert isinstance(results[1], ModelError)
    assert [result.vectors[0, 0] for result in (results[0], results[2])] == [1, 1]


def test_cancelled_requests_are_not_encoded(encode):
    encoder, results = encode((["a"],), (["b"],), (["c"],), cancel=[0, 1])
    assert [texts for _, texts in encoder.batches] == [["a"], ["c"]]
    assert isinstance(results[1], asyncio.CancelledError) and results[2].vectors[0, 0] == 1
