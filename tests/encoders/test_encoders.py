"""Encoders: the real model against sentence-transformers, and the guarantees for any model."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from kernel_helpers import needs_fast_path
from tiny import real_encoder

from elasticdenser import ElasticQueryEncoder, PassageEncoder, Subnet
from elasticdenser.dataclass_io import from_value
from elasticdenser.encoders import resolve_dtype
from elasticdenser.encoders.base import max_batch_tokens
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.kernel import paths
from elasticdenser.kernel.paths import has_fast_path

ROOT = Path(__file__).parents[2]
HAS_BFLOAT16 = resolve_dtype("auto", torch.device("cpu")) == torch.bfloat16
DTYPES = ["float32", pytest.param("bfloat16", marks=pytest.mark.skipif(not HAS_BFLOAT16, reason="CPU without bf16"))]
N_PASSAGES = 150

TOLERANCE = {"int8": 0, "float32": 2e-6, "bfloat16": 1e-3}
"""Largest difference of a component between batches; the table in elasticdenser/encoders/backends promises it."""


def passages_of(data, n: int) -> list[str]:
    with gzip.open(data / "nq" / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in islice(file, n)]
    return [f"{record['title']} {record['text']}".strip() for record in records]


def queries_of(data, n: int) -> list[str]:
    with gzip.open(data / "nq" / "queries.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line)["text"] for line in islice(file, n)]


@pytest.fixture(scope="module")
def reference(minilm):
    """The same files in sentence-transformers."""
    st = pytest.importorskip("sentence_transformers")
    return st.SentenceTransformer(str(minilm.location.path), device="cpu")


@pytest.fixture(scope="module")
def reference_vectors(reference, data):
    return reference.encode(passages_of(data, N_PASSAGES), normalize_embeddings=True)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_real_passages_equal_sentence_transformers(data, reference_vectors, dtype):
    encoder = real_encoder(PassageEncoder, dtype=dtype, device="cpu")
    vectors = encoder.encode(passages_of(data, N_PASSAGES))
    cosines = np.sum(unit(vectors.astype(np.float64)) * reference_vectors, axis=1)
    assert len(cosines) == N_PASSAGES
    assert cosines.min() >= 0.9999
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.slow
def test_real_queries_equal_sentence_transformers(data, reference, query_encoder):
    queries = queries_of(data, 300)
    cosines = np.sum(query_encoder.encode(queries) * reference.encode_query(queries), axis=1)
    assert cosines.min() >= 0.99999


def texts_of_every_length(longest: int) -> list[str]:
    words = "who wrote the first of six novels about a desert planet and its spice ?".split()  # noqa: SIM905
    chance = random.Random(7)
    lengths = [*range(1, 40), *range(40, longest + 20, 7)]
    return [" ".join(chance.choices(words, k=length)) for length in lengths]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [pytest.param("int8", marks=needs_fast_path), *DTYPES])
@pytest.mark.parametrize(
    ("threads", "every", "batch_sizes"),
    [(1, 3, (2, 8, 99)), (2, 9, (3, 99)), pytest.param(1, 1, (3, 32), marks=pytest.mark.slow)],
)
def test_a_vector_does_not_depend_on_its_neighbours(dtype, threads, every, batch_sizes):
    encoder = real_encoder(ElasticQueryEncoder, dtype=dtype, device="cpu")
    texts = texts_of_every_length(encoder.settings.max_length)[::every]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for subnet in ("w1-d6", "w0.5-d3") if threads == 1 else ("w1-d6",):
            alone = np.concatenate([encoder.encode([text], subnet) for text in texts])
            order = random.Random(1).sample(range(len(texts)), len(texts))
            for batch_size in batch_sizes:
                for start in range(0, len(texts), batch_size):
                    batch = order[start : start + batch_size]
                    together = encoder.encode([texts[position] for position in batch], subnet)
                    assert np.abs(together - alone[batch]).max() <= TOLERANCE[dtype], (subnet, batch_size)
    finally:
        torch.set_num_threads(before)


def test_copies_get_the_same_vector(query_encoder):
    vectors = query_encoder.encode(["who wrote dune"] * 50 + ["a", "what is the spice melange made of"])
    assert np.abs(vectors[:50] - vectors[0]).max() <= TOLERANCE["float32"]


def test_eight_threads_get_the_same_vectors(query_encoder):
    texts = texts_of_every_length(40)
    expected = query_encoder.encode(texts)
    with ThreadPoolExecutor(8) as pool:
        for vectors in pool.map(query_encoder.encode, [texts] * 8):
            np.testing.assert_array_equal(vectors, expected)


def test_batches_hold_every_text_once_and_a_bounded_number_of_tokens(tiny_encoder):
    chance = random.Random(3)
    sequences = [[0] * chance.randrange(1, 300) for _ in range(500)] + [[0] * 5000]
    batches = list(tiny_encoder._batches(sequences))
    assert sorted(position for batch in batches for position in batch) == list(range(501))
    assert all(
        sum(len(sequences[position]) for position in batch) <= max_batch_tokens("cpu")
        for batch in batches
        if len(batch) > 1
    )


def windows_of(texts: list[str], length: int) -> list[list[str]]:
    return [texts[start : start + length] for start in range(0, len(texts), length)]


def letters(n: int) -> list[str]:
    chance = random.Random(5)
    return ["".join(chance.choices("abcdefg ", k=chance.randrange(0, 60))) for _ in range(n)]


def encoding_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("encode", "tokenize"))]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3, None])
def test_windows_are_encoded_in_order(tiny_encoder, workers):
    windows = [*windows_of(letters(500), 64), [], ["a"]]
    vectors = list(tiny_encoder.encode_windows(iter(windows), workers=workers))
    assert [len(part) for part in vectors] == [len(window) for window in windows]
    for part, window in zip(vectors, windows, strict=True):
        np.testing.assert_allclose(part, tiny_encoder.encode(window), atol=2e-6)
    assert encoding_threads() == []


def test_no_passages_give_no_vectors(tiny_encoder):
    assert tiny_encoder.encode([]).shape == (0, 32)
    assert list(tiny_encoder.encode_windows([])) == []
    assert [part.shape for part in tiny_encoder.encode_windows([[], []])] == [(0, 32)] * 2


def test_windows_are_read_only_a_little_ahead(tiny_encoder):
    read = []

    def windows():
        for number in range(10):
            read.append(number)
            yield ["a"]

    for done, _ in enumerate(tiny_encoder.encode_windows(windows())):
        assert len(read) <= done + 3


def test_the_number_of_torch_threads_is_restored(tiny_encoder):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(tiny_encoder.encode_windows([["a"]] * 4))
        assert torch.get_num_threads() == 2
        with pytest.raises(QueryError, match="text number 1 is None"):
            list(tiny_encoder.encode_windows([[None]]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_the_number_of_torch_threads_is_restored_by_the_last_of_two_calls(tiny_encoder):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        short, long = (tiny_encoder.encode_windows([["a"]] * n) for n in (5, 9))
        next(short), next(long)
        list(short)
        assert torch.get_num_threads() == 1
        list(long)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_fault_of_the_windows_reaches_the_caller(tiny_encoder):
    def windows():
        yield from [["a"]] * 3
        raise ValueError("line 7 is bad")

    vectors = tiny_encoder.encode_windows(windows())
    with pytest.raises(ValueError, match="line 7"):
        list(vectors)
    assert encoding_threads() == []


def test_a_fault_of_a_worker_reaches_the_caller(tiny_encoder, monkeypatch):
    def fail(sequences, subnet):
        raise MemoryError("too much")

    monkeypatch.setattr(tiny_encoder._backend, "forward", fail)
    with pytest.raises(MemoryError, match="too much"):
        list(tiny_encoder.encode_windows(windows_of(letters(200), 50)))
    assert encoding_threads() == []


def test_closing_early_ends_the_threads(tiny_encoder):
    windows = iter(windows_of(letters(400), 20))
    vectors = tiny_encoder.encode_windows(windows)
    next(vectors)
    vectors.close()
    assert len(list(windows)) > 10  # those that were not read
    assert encoding_threads() == []


@pytest.mark.parametrize("empty", ["", "  \t", None, 3])
def test_empty_queries_are_refused(tiny_query_encoder, empty):
    with pytest.raises(QueryError, match=r"query number 2 is .*at least one character"):
        tiny_query_encoder.encode(["dune", empty])


def test_bytes_that_are_no_text_are_refused(tiny_query_encoder):
    with pytest.raises(QueryError, match="not UTF-8"):
        tiny_query_encoder.encode([b"\xff".decode("utf-8", "surrogateescape")])


def test_what_is_no_list_of_texts_is_refused(tiny_encoder, tiny_query_encoder):
    for texts in (None, [5], ["\ud800"]):
        with pytest.raises(QueryError, match=r"expected (a list of texts|text with)|not UTF-8"):
            tiny_encoder.encode(texts)
        with pytest.raises(QueryError, match=r"expected (a list of queries|text with)|not UTF-8"):
            tiny_query_encoder.encode(texts)


def test_one_string_is_refused(tiny_encoder, tiny_query_encoder):
    for encoder in (tiny_encoder, tiny_query_encoder):
        with pytest.raises(QueryError, match="expected a list"):
            encoder.encode("dune")


def test_subnets_are_given_by_any_spelling(tiny_query_encoder):
    assert tiny_query_encoder.full_subnet == Subnet(width=1, depth=2)
    expected = tiny_query_encoder.encode(["dune"])
    for spelling in ("w1-d2", "w1.0-d2", Subnet(width=1.0, depth=2), None):
        np.testing.assert_array_equal(tiny_query_encoder.encode(["dune"], spelling), expected)
    with pytest.raises(QueryError, match=r"got subnet w0\.5-d2, expected one of this encoder.s: w1-d2"):
        tiny_query_encoder.encode(["dune"], "w0.5-d2")


def test_dtypes_and_devices_are_chosen_or_refused(tiny_model):
    name = str(tiny_model)
    assert PassageEncoder.from_pretrained(name, device="cpu").fingerprint.dtype == (
        "bfloat16" if HAS_BFLOAT16 else "float32"
    )
    assert ElasticQueryEncoder.from_pretrained(name, dtype="float32", device="cpu").fingerprint.dtype == "float32"
    for device in ("cpu", "cpu:0"):
        fastest = ElasticQueryEncoder.from_pretrained(name, device=device)
        assert fastest.fingerprint.dtype == ("int8" if has_fast_path() else "float32")
    with pytest.raises(ModelError, match="got dtype 'int8' on cuda"):
        ElasticQueryEncoder.from_pretrained(name, dtype="int8", device="cuda")
    for dtype in ("float16", "int4"):
        with pytest.raises(ModelError, match=f"got dtype '{dtype}' on cpu, expected"):
            PassageEncoder.from_pretrained(name, dtype=dtype, device="cpu")
    with pytest.raises(ModelError, match="got device 'tpu9', expected auto, cpu, cuda"):
        PassageEncoder.from_pretrained(name, device="tpu9")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="no GPU"):
            PassageEncoder.from_pretrained(name, device="cuda:0")


@pytest.mark.parametrize(
    ("available", "import_error", "message"),
    [
        (("portable",), "", "no fast path for this processor"),
        ((), "wrong ELF class", r"not built here \(wrong ELF class\)"),
    ],
)
def test_without_a_fast_kernel_torch_computes_and_int8_is_refused(
    tiny_model, monkeypatch, available, import_error, message
):
    """The kernel's portable path is slower than float32 in torch."""
    monkeypatch.setattr(paths, "_available", available)
    monkeypatch.setattr(paths, "_IMPORT_ERROR", import_error)
    assert ElasticQueryEncoder.from_pretrained(str(tiny_model), device="cpu").dtype == "float32"
    with pytest.raises(ModelError, match=f"got dtype 'int8', but its kernel .*{message}.* or use float32"):
        ElasticQueryEncoder.from_pretrained(str(tiny_model), device="cpu", dtype="int8")


def test_passages_of_another_pooling_than_the_subnets_are_a_warning(tiny_elastic, caplog):
    PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    assert not caplog.text
    PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu", pooling="cls")
    assert "do not fit these passages (they were trained for mean pooling, and it is used with cls)" in caplog.text


@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_subnets_trained_for_another_pooling_are_left_out(tiny_elastic, tiny_model, dtype, caplog):
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_elastic), dtype=dtype, device="cpu", pooling="cls")
    assert encoder.subnets == [encoder.full_subnet]
    assert "they were trained for mean pooling, and it is used with cls" in caplog.text
    assert "queries are encoded by the full encoder alone" in caplog.text
    with pytest.raises(
        QueryError, match=r"this encoder's: w1-d2 \(its trained subnets are left out: they were trained"
    ):
        encoder.encode(["dune"], "level0")
    plain = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32", device="cpu", pooling="cls")
    assert (encoder.encode(["dune"]) * plain.encode(["dune"])).sum() > 0.98


def test_no_queries_give_no_vectors(tiny_model):
    for cache in (0, 3):
        encoder = ElasticQueryEncoder.from_pretrained(str(tiny_model), device="cpu", cache=cache)
        assert encoder.encode([]).shape == (0, 32)


def test_few_texts_have_the_same_tokens_as_many(tiny_encoder):
    texts = letters(200)
    alone = [ids for text in texts for ids in tiny_encoder._tokenize([text], "a: ")]
    assert tiny_encoder._tokenize(texts, "a: ") == alone


THREADS = """
import os, sys
from elasticdenser import ElasticQueryEncoder
encoder = ElasticQueryEncoder.from_pretrained(sys.argv[1], device="cpu")
encoder.encode(["dune"])
encoder.encode(["dune", "who wrote dune", "a"] * 10)
print(encoder.dtype, len(os.listdir("/proc/self/task")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
@needs_fast_path
def test_queries_start_no_threads(tiny_model):
    command = [sys.executable, "-c", THREADS, str(tiny_model)]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120)
    assert result.stdout.split() == ["int8", "1"], result.stderr


def test_fingerprint_says_what_differs(tiny_encoder, tiny_model):
    from elasticdenser.models.settings import EncoderFingerprint

    mine = tiny_encoder.fingerprint
    assert from_value(EncoderFingerprint, json.loads(json.dumps(mine.to_json())), "encoder") == mine
    half = PassageEncoder.from_pretrained(str(tiny_model)).fingerprint
    assert mine.differences(half) == []
    other = PassageEncoder.from_pretrained(str(tiny_model), passage_prompt="p: ").fingerprint
    assert mine.differences(other) == ["passage_prompt: '' against 'p: '"]
