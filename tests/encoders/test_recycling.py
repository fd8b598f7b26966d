"""Recycled layers of the passage encoder: the same vectors from cached states, and what is refused."""

from __future__ import annotations

import pickle
import shutil

import numpy as np
import pytest
import torch
from cli_helpers import run_code
from safetensors.torch import load_file, save_file

from elasticdenser import PassageEncoder
from elasticdenser.encoders.deferred import DeferredPassageEncoder
from elasticdenser.encoders.recycling import RecyclingSettings
from elasticdenser.errors import BadInputError, ModelError, QueryError
from elasticdenser.models.bert import Bert

TEXTS = ["dune", "a novel about a desert planet", "read a csv file", "wait for threads", "x" * 200, "dune"]
TOLERANCE = {"float32": 2e-6, "float16": 2e-3, "int8": 3e-2}


def encoder_of(model, folder, *, precision="float32", **settings) -> PassageEncoder:
    recycling = RecyclingSettings(folder=folder, **settings)
    return PassageEncoder.from_pretrained(str(model), dtype=precision, device="cpu", recycling=recycling)


def with_changed_layer(model, folder, name):
    """Copy a model, with another weight `name`."""
    shutil.copytree(model, folder)
    weights = load_file(folder / "model.safetensors")
    (key,) = (key for key in weights if key.endswith(name))
    weights[key] = weights[key] + 0.3 * torch.randn(weights[key].shape, generator=torch.Generator().manual_seed(1))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def tuned(tiny_model, tmp_path_factory):
    """Copy of the tiny model whose second layer was changed."""
    return with_changed_layer(tiny_model, tmp_path_factory.mktemp("tuned") / "model", "layer.1.output.dense.weight")


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_vectors_from_cached_states_are_the_same(tiny_model, tiny_encoder, tuned, tmp_path, dtype):
    first = encoder_of(tiny_model, tmp_path, dtype=dtype)
    assert np.abs(first.encode(TEXTS) - tiny_encoder.encode(TEXTS)).max() <= TOLERANCE[dtype]
    assert first.activations.counts.computed == 6 and len(first.activations) == 5
    first.activations.flush()
    later = encoder_of(tuned, tmp_path, dtype=dtype)
    expected = PassageEncoder.from_pretrained(str(tuned), dtype="float32", device="cpu").encode(TEXTS)
    vectors = later.encode(TEXTS)
    assert np.abs(vectors - expected).max() <= TOLERANCE[dtype]
    assert np.abs(vectors - tiny_encoder.encode(TEXTS)).max() > 0.1
    assert (later.activations.counts.read, later.activations.counts.computed) == (6, 0)


def test_windows_read_and_write_the_cache(tiny_model, tiny_encoder, tmp_path):
    first = encoder_of(tiny_model, tmp_path, dtype="float32")
    texts = [f"{text} {number}" for number in range(40) for text in TEXTS]
    windows = [texts[start : start + 50] for start in range(0, len(texts), 50)]
    expected = np.concatenate([*tiny_encoder.encode_windows(windows)])
    vectors = np.concatenate([*first.encode_windows(windows, workers=3)])
    again = encoder_of(tiny_model, tmp_path, dtype="float32")
    assert np.abs(vectors - expected).max() <= TOLERANCE["float32"]
    assert np.abs(np.concatenate([*again.encode_windows(windows, workers=3)]) - expected).max() <= TOLERANCE["float32"]
    assert again.activations.counts.computed == 0


def test_many_small_calls_share_a_file(tiny_model, tmp_path):
    encoder = encoder_of(tiny_model, tmp_path)
    for text in TEXTS:
        encoder.encode([text])
    assert list(tmp_path.glob("*.activations")) == []
    del encoder
    assert len(list(tmp_path.glob("*.activations"))) == 1
    assert len(encoder_of(tiny_model, tmp_path).activations) == 5


@pytest.mark.slow
def test_states_are_written_at_the_end_of_the_process(tiny_model, tmp_path):
    code = (
        "from pathlib import Path\n"
        "from elasticdenser import PassageEncoder\n"
        "from elasticdenser.encoders.recycling import RecyclingSettings\n"
        f"recycling = RecyclingSettings(folder=Path({str(tmp_path)!r}))\n"
        "encoder = PassageEncoder.from_pretrained("
        f"{str(tiny_model)!r}, dtype='float32', device='cpu', recycling=recycling)\n"
        "encoder.encode(['dune'])\n"
        "encoder.me = encoder  # a cycle\n"
    )
    ended = run_code(code)
    assert ended.returncode == 0, ended.stderr
    assert len(encoder_of(tiny_model, tmp_path).activations) == 1


def test_a_full_disk_at_the_end_is_a_warning(tiny_model, tmp_path, caplog):
    encoder = encoder_of(tiny_model, tmp_path / "cache")
    encoder.encode(["dune"])
    (tmp_path / "cache").write_text("not a folder")
    del encoder
    assert "states of recycled layers were not written" in caplog.text


@pytest.mark.parametrize("name", ["embeddings.LayerNorm.bias", "layer.0.output.dense.weight"])
def test_a_model_with_other_lower_layers_is_refused(tiny_model, tmp_path, name):
    encoder_of(tiny_model, tmp_path / "cache").encode(TEXTS)
    other = with_changed_layer(tiny_model, tmp_path / "model", name)
    with pytest.raises(BadInputError, match="another key: choose another folder"):
        encoder_of(other, tmp_path / "cache")


def test_another_arithmetic_has_another_cache(tiny_model, tmp_path):
    encoder_of(tiny_model, tmp_path).encode(TEXTS)
    with pytest.raises(BadInputError, match="another key"):
        encoder_of(tiny_model, tmp_path, precision="bfloat16")


def test_what_cannot_be_recycled_is_refused(tiny_model, tmp_path):
    with pytest.raises(ModelError, match="got 2 recycled layers of a model of 2, expected 1 to 1"):
        encoder_of(tiny_model, tmp_path, layers=2)
    with pytest.raises(ModelError, match="in 8 bits or without torch"):
        encoder_of(tiny_model, tmp_path, precision="int8")
    with pytest.raises(QueryError, match="got -1 recycled layers"):
        RecyclingSettings(folder=tmp_path, layers=-1)
    with pytest.raises(QueryError, match="got states in 'int4'"):
        RecyclingSettings(folder=tmp_path, dtype="int4")
    recycling = RecyclingSettings(folder=tmp_path, layers=7)
    with pytest.raises(ModelError, match="got 7 recycled layers"):  # before anything is loaded
        DeferredPassageEncoder(str(tiny_model), dtype="float32", device="cpu", recycling=recycling)


def test_a_deferred_encoder_takes_its_cache_to_another_folder(tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recycling = RecyclingSettings(folder=tmp_path.relative_to(tmp_path) / "cache")
    deferred = DeferredPassageEncoder(str(tiny_model), dtype="float32", device="cpu", recycling=recycling)
    assert deferred.activations is None
    deferred.load()
    assert deferred.activations is not None
    sent = pickle.loads(pickle.dumps(deferred))
    monkeypatch.chdir("/")
    sent.load().encode(TEXTS)
    assert len(deferred.load().activations) == 5 and (tmp_path / "cache" / "cache.json").exists()


def test_the_layers_above_complete_those_below(tiny_model):
    bert = Bert.load(tiny_model, torch.float32, torch.device("cpu"))
    sequences = [[2, 9, 10, 3], [2, 11, 3], [2, 12, 3]]
    for n_layers in (0, 1, 2):
        states = bert.states_after(sequences, n_layers)
        assert states.shape == (10, 32)
        vectors = bert.pooled_from_states(sequences, states, n_layers, "mean")
        assert torch.allclose(vectors, bert.pooled_vectors(sequences, "mean"), atol=1e-6)
