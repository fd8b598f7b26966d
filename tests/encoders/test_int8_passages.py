"""Passages encoded in 8 bits by the kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from kernel_helpers import load_kernel_backend, needs_fast_path
from tiny import real_encoder

from elasticdenser import ElasticQueryEncoder, PassageEncoder
from elasticdenser.encoders.backends.kernel import can_run
from elasticdenser.errors import ModelError
from elasticdenser.models.locate import find_model
from elasticdenser.models.settings import read_settings

ROOT = Path(__file__).parents[2]
TEXTS = ["dune", "", "a desert planet", "x " * 40, "wait for several threads to finish", "?", "abc def", "who wrote it"]


@pytest.fixture(params=["tiny_model", "tiny_elastic"])
def folder(request) -> Path:
    return request.getfixturevalue(request.param)


@needs_fast_path
def test_vectors_are_those_of_the_full_subnet(folder):
    encoder = PassageEncoder.from_pretrained(str(folder), dtype="int8")
    backend = load_kernel_backend(folder)
    expected = backend.forward(encoder._tokenize(TEXTS, ""), backend.full_subnet)
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected)
    assert (encoder.dtype, encoder.fingerprint.dtype, expected.shape) == ("int8", "int8", (len(TEXTS), 32))
    queries = ElasticQueryEncoder.from_pretrained(str(folder), dtype="int8").encode(TEXTS[2:3])
    np.testing.assert_array_equal(queries, expected[2:3])


@needs_fast_path
def test_prompt_length_and_normalisation_are_the_settings(tiny_model):
    plain = PassageEncoder.from_pretrained(str(tiny_model), dtype="int8")
    prompted = PassageEncoder.from_pretrained(str(tiny_model), dtype="int8", passage_prompt="p: ", max_length=9)
    np.testing.assert_array_equal(prompted.encode(["dune"]), plain.encode(["p: dune"]))
    np.testing.assert_array_equal(prompted.encode(["dune " * 30]), prompted.encode(["dune " * 20]))
    raw = PassageEncoder.from_pretrained(str(tiny_model), dtype="int8", normalize=False).encode(["dune"])
    assert np.linalg.norm(raw) > 2
    np.testing.assert_allclose(raw / np.linalg.norm(raw), plain.encode(["dune"]), atol=1e-6)


@needs_fast_path
@pytest.mark.parametrize("workers", [1, 3, None])
def test_a_vector_depends_on_nothing_but_its_text(tiny_model, workers):
    encoder = PassageEncoder.from_pretrained(str(tiny_model), dtype="int8")
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(encoder.encode(TEXTS), alone)
    windows = [TEXTS * 30, [], TEXTS[::-1], TEXTS[:1]]
    together = np.concatenate(list(encoder.encode_windows(windows, workers=workers)))
    np.testing.assert_array_equal(together, np.concatenate([np.tile(alone, (30, 1)), alone[::-1], alone[:1]]))


@needs_fast_path
@pytest.mark.slow
def test_real_passages_are_close_to_float32(data):
    from elasticdenser import open_corpus

    passages = open_corpus([data / "nq"])
    texts = [passage.content for _, passage in zip(range(100), passages, strict=False)]
    texts += [" ".join(texts[start : start + 8]) for start in range(0, 40, 8)]
    for max_length, chosen in ((None, texts[:100]), (512, texts[80:])):
        int8, float32 = (
            real_encoder(PassageEncoder, dtype=dtype, device="cpu", max_length=max_length).encode(chosen)
            for dtype in ("int8", "float32")
        )
        cosines = (int8 * float32).sum(axis=1)
        assert cosines.mean() >= 0.999 and cosines.min() >= 0.997
        np.testing.assert_allclose(np.linalg.norm(int8, axis=1), 1, atol=1e-6)


@needs_fast_path
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_int8_on_a_gpu_is_refused(tiny_model, device):
    with pytest.raises(ModelError, match=f"got dtype 'int8' on {device}, expected a CPU"):
        PassageEncoder.from_pretrained(str(tiny_model), dtype="int8", device=device)


def test_int8_without_the_kernel_is_refused(tiny_model, monkeypatch):
    monkeypatch.setattr("elasticdenser.encoders.backends.kernel.has_fast_path", lambda: False)
    assert not can_run(find_model(str(tiny_model)), read_settings(tiny_model))
    with pytest.raises(ModelError, match=r"got dtype .int8.*kernel.* or use float32"):
        PassageEncoder.from_pretrained(str(tiny_model), dtype="int8")


def test_auto_never_chooses_int8_for_passages(tiny_model):
    assert PassageEncoder.from_pretrained(str(tiny_model), device="cpu").dtype in ("float32", "bfloat16")


INDEX = """
import sys
from elasticdenser.cli import app
try:
    app({args!r})
except SystemExit as end:
    assert not end.code, end.code
print(*({{"torch", "transformers"}} & set(sys.modules)))
"""


@pytest.mark.slow
@needs_fast_path
def test_an_index_needs_no_torch(tiny_model, tmp_path):
    (tmp_path / "lines.txt").write_text("dune is a novel\nread a csv file\n")
    args = ["index", str(tmp_path / "lines.txt"), "-o", str(tmp_path / "index"), "--encoder", str(tiny_model)]
    code = INDEX.format(args=[*args, "--format", "lines", "--precision", "int8"])
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout.split()) == (0, []), result.stderr
