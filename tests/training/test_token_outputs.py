"""Level 0 from vectors of single tokens: their whitening, their weights, their map, and a training that uses them."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, Unigram
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing

from elasticdenser.encoders import ElasticQueryEncoder
from elasticdenser.errors import BadInputError, BuildError, QueryError
from elasticdenser.training.batches import Batch
from elasticdenser.training.table_fit import fit_table
from elasticdenser.training.token_outputs import TokenOutputs, _probabilities, outputs_of, token_outputs, whitened

PROBABILITIES = np.array([1, 0.1, 1e-3, 1e-5, 1e-7], np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def test_whitened_vectors_have_equal_variance_around_zero(rng):
    stretched = rng.normal(size=(500, 6)) * [9, 5, 1, 1, 0.2, 0.1] + [20, 0, 0, 0, 0, 1]
    weights = rng.random(500).astype(np.float32)
    result = whitened(stretched.astype(np.float32), weights)
    np.testing.assert_allclose(np.average(result, axis=0, weights=weights), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(result.T, aweights=weights, bias=True), np.eye(6), atol=2e-3)


def test_whitening_keeps_the_axes_and_bears_directions_without_variance(rng):
    flat = rng.normal(size=(500, 4)).astype(np.float32)
    flat[:, 3] = 0
    result = whitened(flat, np.ones(500, np.float32))
    assert np.isfinite(result).all() and np.abs(result[:, 3]).max() < 1e-3
    for axis in range(3):
        assert np.corrcoef(result[:, axis], flat[:, axis])[0, 1] > 0.99
    np.testing.assert_allclose(whitened(np.ones((3, 2), np.float32), np.ones(3, np.float32)), 0, atol=1e-3)


def test_rare_tokens_weigh_more():
    vectors = np.eye(5, dtype=np.float32)
    weighted = TokenOutputs(vectors, PROBABILITIES).weighted(np.ones(5), 1)
    weights = np.linalg.norm(weighted, axis=1) / np.linalg.norm(
        whitened(vectors, PROBABILITIES * [0, 1, 1, 1, 1]), axis=1
    )
    np.testing.assert_allclose(weights, 3e-5 / (3e-5 + PROBABILITIES), rtol=1e-4)


@pytest.mark.parametrize(("n_texts", "least", "most"), [(10, 0, 0.001), (10**9, 0.99, 1)])
def test_texts_count_the_more_the_more_there_are(n_texts, least, most):
    counts = np.r_[np.zeros(5000), np.full(5000, n_texts / 5000)]  # against the rank: only the last ones occur
    vectors = np.tile(np.float32([[1], [-1]]), (5000, 1))
    weighted = TokenOutputs(vectors, None).weighted(counts, n_texts)
    prior = 1 / (np.arange(1, 10_001) * np.sum(1 / np.arange(1, 10_001)))
    expected = 3e-5 / (3e-5 + (counts + 1000 * prior) / (n_texts + 1000))
    weights = np.abs(weighted[:, 0]) / np.abs(whitened(vectors, 3e-5 / expected - 3e-5)[:, 0])
    np.testing.assert_allclose(weights, expected, rtol=1e-3)
    assert least < weights[0] < most  # the first token never occurs, which only many texts show


def test_only_unigram_tokenizers_say_how_probable_tokens_are(tiny_model):
    tokenizer = Tokenizer(Unigram([("<s>", 0.0), ("a", math.log(0.25)), ("b", math.log(0.5))], unk_id=0))
    np.testing.assert_allclose(_probabilities(tokenizer.to_str(), 4), [1, 0.25, 0.5, 1], rtol=1e-6)
    assert _probabilities((tiny_model / "tokenizer.json").read_text(), 4) is None


def test_all_tokens_are_encoded_in_their_places(rng):
    table = rng.normal(size=(5000, 3)).astype(np.float32)
    encoder = SimpleNamespace(settings=SimpleNamespace(dim=3), encode_tokens=lambda ids: table[ids.start : ids.stop])
    calls = []
    result = token_outputs(encoder, 5000, lambda *call: calls.append(call))
    np.testing.assert_allclose(result, table / np.linalg.norm(table, axis=1, keepdims=True), rtol=1e-6)
    assert calls == [("Encoding tokens", 4096, 5000), ("Encoding tokens", 5000, 5000)]


@pytest.mark.parametrize("prompt", ["", "query: "])
def test_a_token_is_encoded_in_the_place_of_a_query(tiny_model, prompt):
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32", query_prompt=prompt)
    letter, empty = encoder._tokenize(["z", ""], prompt)
    assert len(letter) == len(empty) + 1
    vectors = encoder.encode_tokens([letter[-2], letter[-2]])  # the last one is the separator
    np.testing.assert_allclose(vectors, np.repeat(encoder.encode(["z"]), 2, axis=0), atol=1e-6)


def test_a_token_takes_the_place_of_a_letter_with_its_space(tiny_model):
    """In byte-level tokenizers, a letter behind a space is one token with it."""
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32", query_prompt="q: ")
    vocabulary = {token: number for number, token in enumerate(["<s>", "</s>", "q", ":", "Ġ", "Ġa", "Ġb", "a", "b"])}
    tokenizer = Tokenizer(BPE(vocabulary, [("Ġ", "a"), ("Ġ", "b")]))
    tokenizer.pre_tokenizer, tokenizer.decoder = ByteLevel(add_prefix_space=False), ByteLevelDecoder()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    read = []
    encoder._tokenize = lambda texts, prompt: [tokenizer.encode(prompt + text).ids for text in texts]
    encoder._forward = lambda sequences, subnet: read.extend(sequences)
    encoder.encode_tokens([5, 7])
    assert read == [[0, 2, 3, 5, 1], [0, 2, 3, 7, 1]]


def test_a_prompt_that_leaves_no_room_for_a_token_is_refused(tiny_model):
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32", query_prompt="many " * 100)
    with pytest.raises(QueryError, match="got the same tokens for the queries 'a' and 'b'"):
        encoder.encode_tokens([3])


def batches(vectors: np.ndarray, map_: np.ndarray) -> list[Batch]:
    """Return texts of four tokens, whose targets are a mapped mean of the vectors, and some noise."""
    rng = np.random.default_rng(7)
    token_ids = rng.integers(0, len(vectors), (400, 4))
    targets = vectors[token_ids].mean(axis=1) @ map_ + 0.01 * rng.normal(size=(400, 8))
    return [
        Batch(
            token_ids=torch.from_numpy(token_ids),
            mask=torch.ones(400, 4, dtype=torch.bool),
            targets=torch.from_numpy(targets).float(),
            bank=torch.zeros(1, 8),
        )
    ]


def test_the_map_changes_vectors_as_much_as_its_penalty_lets_it(rng):
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    tokens = TokenOutputs(vectors, np.full(60, 1e-9, np.float32))  # so rare that all weights are about 1
    vectors = whitened(vectors, np.ones(60, np.float32))
    data = batches(vectors, 0.5 * np.eye(8) + 0.1 * rng.normal(size=(8, 8)))
    fixed = fit_table(data, tokens, ridge_map=1e9, iterations=0).numpy()
    means = vectors[data[0].token_ids.numpy()].mean(axis=1)
    scale = np.linalg.lstsq(means.reshape(-1, 1), data[0].targets.numpy().ravel())[0]
    assert 0.3 < scale < 0.7
    np.testing.assert_allclose(fixed, scale * vectors, rtol=0.02, atol=1e-3)
    free = fit_table(data, tokens, ridge_map=1e-6, iterations=0).numpy()
    corrected = fit_table(data, tokens, ridge_map=1e9, ridge=1e-3, iterations=50).numpy()
    targets, rows = data[0].targets.numpy(), data[0].token_ids.numpy()
    errors = [float(((table[rows].mean(axis=1) - targets) ** 2).mean()) for table in (fixed, free, corrected)]
    assert errors[1] < 0.05 * errors[0] and errors[2] < 0.1 * errors[0]


def test_weights_come_from_the_texts_where_the_tokenizer_has_none(rng):
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    data = batches(vectors, np.eye(8))
    data[0].token_ids[:, 0] = 59  # in every text
    fitted = fit_table(data, TokenOutputs(vectors, None), ridge_map=1e9, iterations=0).numpy()
    lengths = np.linalg.norm(fitted, axis=1) / np.linalg.norm(vectors, axis=1)
    assert lengths[59] < 0.5 * lengths[58]


def test_vectors_that_point_the_other_way_are_refused(rng):
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    data = batches(vectors, -np.eye(8))
    with pytest.raises(BadInputError, match="say nothing of its vectors of texts"):
        fit_table(data, TokenOutputs(vectors, None), ridge_map=1.0)


def test_outputs_are_computed_once_and_a_damaged_file_is_named(tiny_model, tmp_path):
    encoder = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32")
    n_tokens = len(json.loads((tiny_model / "tokenizer.json").read_text())["model"]["vocab"])
    calls = []
    first = outputs_of(encoder, n_tokens, tmp_path / "work", progress=lambda *call: calls.append(call))
    again = outputs_of(encoder, n_tokens, tmp_path / "work", progress=lambda *call: calls.append(call))
    assert len(calls) == -(-n_tokens // 4096) and first.vectors.shape == (n_tokens, encoder.dim)
    np.testing.assert_array_equal(first.vectors, again.vectors)
    (path,) = (tmp_path / "work").iterdir()
    np.save(path, first.vectors[:5])
    with pytest.raises(BuildError, match=r"cannot be read \(got numbers of the shape \(5, 32\).* remove it"):
        outputs_of(encoder, n_tokens, tmp_path / "work")
    path.write_bytes(b"damaged")
    with pytest.raises(BuildError, match=r"cannot be read .* remove it"):
        outputs_of(encoder, n_tokens, tmp_path / "work")
