"""Encoder without a model, for tests of everything around it: equal texts get equal vectors."""

import hashlib
import json
import time

import numpy as np

from elasticdenser.datasets import Corpus, Passage
from elasticdenser.models.settings import EncoderFingerprint, EncoderSettings


class HashingEncoder:
    """Passage encoder whose vectors are random numbers seeded with the text."""

    def __init__(self, dim=16, weights="0" * 64, wait_s=0.0):
        self.dim, self.weights, self.wait_s = dim, weights, wait_s
        self.n_encoded = 0

    @property
    def fingerprint(self):
        settings = EncoderSettings(pooling="mean", normalize=True, max_length=64, dim=self.dim)
        return EncoderFingerprint(name="hashing", weights_sha256=self.weights, settings=settings, dtype="float32")

    def encode(self, texts):
        vectors = np.empty((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
            vectors[row] = np.random.default_rng(seed).standard_normal(self.dim)
        self.n_encoded += len(texts)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_windows(self, windows, *, workers=None, report_truncated=None):
        for window in windows:
            time.sleep(self.wait_s)
            yield self.encode(window)


def make_passages(n, word="passage", metadata=False):
    """Return passages; those whose number is not a multiple of 5 have metadata, if any is wanted."""
    return [
        Passage(
            doc_id=f"d{i}é",
            text=f"{word} number {i}",
            title=f"T{i % 7}" * (i % 2),
            metadata={"number": i, "tags": ["é", f"t{i % 3}"], "day": f"2026-01-{i % 28 + 1:02}"}
            if metadata and i % 5
            else None,
        )
        for i in range(n)
    ]


def make_corpus(n, word="passage", metadata=False):
    return Corpus.from_passages(f"{n} {word}s", lambda: make_passages(n, word, metadata))


def write_jsonl(path, passages):
    with open(path, "w", encoding="utf-8") as file:
        for p in passages:
            file.write(json.dumps({"_id": p.doc_id, "title": p.title, "text": p.text}) + "\n")
    return path


def unit_vectors(n, dim, seed=0):
    vectors = np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class GivenVectors(HashingEncoder):
    """Encoder that returns the i-th of the given vectors for passage number i."""

    def __init__(self, vectors):
        super().__init__(vectors.shape[1])
        self.vectors = vectors

    def encode(self, texts):
        return np.ascontiguousarray(self.vectors[[int(text.split()[-1]) for text in texts]])


def assert_same(index, n, word="passage", metadata=False):
    """Check that an index holds ids, texts, metadata and vectors of `make_passages`."""
    expected = make_passages(n, word, metadata)
    assert (index.manifest.metadata is not None) == metadata
    if metadata:
        assert index.matches("number >= 0").n == sum(passage.metadata is not None for passage in expected)
    assert list(index.doc_ids) == [p.doc_id for p in expected]
    assert [index.passage_at(position) for position in range(n)] == expected
    assert np.array_equal(index.vectors, HashingEncoder().encode([p.content for p in expected]))
