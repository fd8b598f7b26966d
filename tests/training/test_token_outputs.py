"""Level 0 from vectors of single tokens: their whitening, their weights, their map, and a training that uses them."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import Unigram

from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BuildError
from elasticdenser.training.batches import Batch
from elasticdenser.training.table_fit import fit_table
from elasticdenser.training.token_outputs import TokenOutputs, _probabilities, outputs_of, token_outputs, whitened

rng = np.random.default_rng(4)
PROBABILITIES = np.array([1, 0.1, 1e-3, 1e-5, 1e-7], np.float32)


def test_whitened_vectors_have_equal_variance_around_zero():
    stretched = rng.normal(size=(500, 6)) * [9, 5, 1, 1, 0.2, 0.1] + [20, 0, 0, 0, 0, 1]
    result = whitened(stretched.astype(np.float32))
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(result.T, bias=True), np.eye(6), atol=2e-3)


def test_whitening_keeps_the_axes_and_bears_directions_without_variance():
    flat = rng.normal(size=(500, 4)).astype(np.float32)
    flat[:, 3] = 0
    result = whitened(flat)
    assert np.isfinite(result).all() and np.abs(result[:, 3]).max() < 1e-3
    centred = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    for axis in range(3):
        assert np.corrcoef(result[:, axis], centred[:, axis])[0, 1] > 0.99


def test_rare_tokens_weigh_more():
    vectors = np.ones((5, 2), np.float32)
    told, counted = TokenOutputs(vectors, PROBABILITIES), TokenOutputs(vectors, None)
    np.testing.assert_array_equal(told.weighted(PROBABILITIES[::-1]), counted.weighted(PROBABILITIES))
    weights = told.weighted(PROBABILITIES)[:, 0]
    assert (np.diff(weights) > 0).all() and weights[0] < 1e-4 and weights[-1] > 0.99


def test_only_unigram_tokenizers_say_how_probable_tokens_are(tiny_model):
    tokenizer = Tokenizer(Unigram([("<s>", 0.0), ("a", math.log(0.25)), ("b", math.log(0.5))], unk_id=0))
    np.testing.assert_allclose(_probabilities(tokenizer.to_str(), 4), [1, 0.25, 0.5, 1], rtol=1e-6)
    assert _probabilities((tiny_model / "tokenizer.json").read_text(), 4) is None


def test_all_tokens_are_encoded_in_their_places():
    class Encoder:
        settings = SimpleNamespace(dim=3)

        def encode_tokens(self, token_ids: range) -> np.ndarray:
            return TABLE[token_ids.start : token_ids.stop]

    table = TABLE = rng.normal(size=(5000, 3)).astype(np.float32)
    calls = []
    result = token_outputs(Encoder(), 5000, lambda *call: calls.append(call))
    np.testing.assert_array_equal(result, whitened(table))
    assert calls == [("Encoding tokens", 4096, 5000), ("Encoding tokens", 5000, 5000)]


@pytest.mark.parametrize("prompt", ["", "query: "])
def test_a_token_is_encoded_in_the_place_of_a_query(tiny_model, prompt):
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32", query_prompt=prompt)
    letter, empty = encoder._tokenize(["z", ""], prompt)
    assert len(letter) == len(empty) + 1
    vectors = encoder.encode_tokens([letter[-2], letter[-2]])  # the last one is the separator
    np.testing.assert_allclose(vectors, np.repeat(encoder.encode(["z"]), 2, axis=0), atol=1e-6)


def batches(vectors: np.ndarray, noise: float) -> list[Batch]:
    """Return texts of four tokens, whose targets are a turned mean of the vectors."""
    turn = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    token_ids = rng.integers(0, len(vectors), (400, 4))
    targets = vectors[token_ids].mean(axis=1) @ turn + noise * rng.normal(size=(400, 8))
    return [
        Batch(
            token_ids=torch.from_numpy(token_ids),
            mask=torch.ones(400, 4, dtype=torch.bool),
            targets=torch.from_numpy(targets).float(),
            bank=torch.zeros(1, 8),
        )
    ]


def test_the_map_changes_vectors_as_much_as_its_penalty_lets_it():
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    tokens = TokenOutputs(vectors, np.full(60, 1e-9, np.float32))  # so rare that all weights are about 1
    data = batches(vectors, 0.01)
    fixed = fit_table(data, tokens, ridge_map=1e9, iterations=0).numpy()
    scale = (fixed * vectors).sum() / (vectors**2).sum()
    np.testing.assert_allclose(fixed, scale * vectors, atol=1e-3)
    free = fit_table(data, tokens, ridge_map=1e-6, iterations=0).numpy()
    corrected = fit_table(data, tokens, ridge_map=1e9, ridge=1e-3, iterations=50).numpy()
    targets, rows = data[0].targets.numpy(), data[0].token_ids.numpy()
    errors = [float(((table[rows].mean(axis=1) - targets) ** 2).mean()) for table in (fixed, free, corrected)]
    assert errors[1] < 0.01 * errors[0] and errors[2] < 0.1 * errors[0]


def test_outputs_are_computed_once_and_a_damaged_file_is_named(tiny_model, tmp_path):
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32")
    n_tokens = len(json.loads((tiny_model / "tokenizer.json").read_text())["model"]["vocab"])
    calls = []
    first = outputs_of(encoder, n_tokens, tmp_path / "work", lambda *call: calls.append(call))
    again = outputs_of(encoder, n_tokens, tmp_path / "work", lambda *call: calls.append(call))
    assert len(calls) == -(-n_tokens // 4096) and first.vectors.shape == (n_tokens, encoder.dim)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    (path,) = (tmp_path / "work").iterdir()
    path.write_bytes(b"damaged")
    with pytest.raises(BuildError, match=r"cannot be read .* remove it"):
        outputs_of(encoder, n_tokens, tmp_path / "work")
