"""Encoders of tokens: their states and vectors are those that the encoder itself gives."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from kernel_helpers import needs_fast_path
from transformer_models import save_sentence_encoder

from elasticdenser import ElasticQueryEncoder, PassageEncoder
from elasticdenser.encoders.token_encoder import load_token_encoder
from elasticdenser.errors import ModelError, QueryError
from elasticdenser.kernel.elastic_weights import read_trained_subnets
from elasticdenser.kernel.weights import read_full_encoder
from elasticdenser.models.locate import find_model
from elasticdenser.models.settings import read_settings
from elasticdenser.rankers.pairs import SeparateTokenizer
from elasticdenser.subnet import LEVEL_0, Subnet

SEQUENCES = [[2, 7, 9, 3], [2, 3], [2, *range(5, 40), 3]]
OTHERS = {
    "deberta-v2": ("deberta-v2", "mean", ["Normalize"]),
    "modernbert": ("modernbert", "cls", []),
    "gemma3": ("gemma3_text", "mean", ["Dense", "Normalize"]),
    "qwen3": ("qwen3", "lasttoken", ["Normalize"]),
}


def projection(hidden, dim=5):
    random = np.random.default_rng(1)
    return random.normal(size=(dim, hidden)).astype(np.float32), random.normal(size=dim).astype(np.float32)


@needs_fast_path
def test_states_are_those_of_the_full_encoder(tiny_model):
    from transformers import BertModel

    encoder = load_token_encoder(find_model(str(tiny_model)), dtype="float32")
    states = encoder.states(encoder.full_subnet, SEQUENCES)
    model = BertModel.from_pretrained(tiny_model).eval()
    with torch.inference_mode():
        expected = torch.cat([model(torch.tensor([sequence])).last_hidden_state[0] for sequence in SEQUENCES])
    assert np.allclose(states, expected.numpy(), atol=1e-4)


@needs_fast_path
def test_the_mean_of_a_subnets_states_is_what_its_exit_takes(tiny_elastic):
    location = find_model(str(tiny_elastic))
    encoder = load_token_encoder(location, dtype="float32")
    subnet = Subnet.parse("w0.5-d1")
    weights = read_trained_subnets(location.path, read_full_encoder(location.path))
    weight, bias = weights.exit_of(subnet)
    vectors, scale = weights.token_table
    states = encoder.states(subnet, SEQUENCES[:1])
    level0 = (vectors[SEQUENCES[0]] * scale[SEQUENCES[0], None]).mean(axis=0)
    expected = weight @ np.concatenate([states.mean(axis=0), level0]) + bias
    _, (vector,) = encoder.projector(subnet, *projection(encoder.state_dim(subnet)))(SEQUENCES[:1])
    assert np.allclose(vector, expected / np.linalg.norm(expected), atol=2e-3)  # exits are packed in float16


@needs_fast_path
def test_states_of_level_0_are_its_vectors_of_the_tokens(tiny_elastic):
    location = find_model(str(tiny_elastic))
    encoder = load_token_encoder(location)
    vectors, scale = read_trained_subnets(location.path, read_full_encoder(location.path)).token_table
    tokens = np.concatenate(SEQUENCES)
    states = encoder.states(LEVEL_0, SEQUENCES)
    assert states.shape == (len(tokens), encoder.state_dim(LEVEL_0))
    assert np.array_equal(states, vectors[tokens] * scale[tokens, None])
    for wrong in ([[2, 10**6, 3]], [[2, -1, 3]], [[]]):
        with pytest.raises(QueryError, match="cannot be encoded"):
            encoder.states(LEVEL_0, wrong)


@needs_fast_path
def test_tokens_are_projected_states_and_texts_the_vectors_of_a_search(tiny_elastic):
    folder = str(tiny_elastic)
    encoder = load_token_encoder(find_model(folder), dtype="float32")
    queries = ElasticQueryEncoder.from_pretrained(folder, dtype="float32", device="cpu")
    texts = ["who wrote dune", "a", "the sand of the dune"]
    sequences = SeparateTokenizer(tiny_elastic, 24, 24).queries(texts)
    for subnet in encoder.subnets:
        weight, bias = projection(encoder.state_dim(subnet))
        tokens, vectors = encoder.projector(subnet, weight, bias)(sequences)
        assert tokens.shape == (sum(map(len, sequences)), 5)
        assert np.allclose(tokens, encoder.states(subnet, sequences) @ weight.T + bias, atol=2e-2)
        assert np.allclose(vectors, queries.encode(texts, subnet), atol=5e-3)


@needs_fast_path
def test_vectors_of_texts_are_normalised_where_those_of_a_search_are_not(tiny_elastic, tmp_path):
    folder = tmp_path / "dot"
    shutil.copytree(tiny_elastic, folder)
    modules = json.loads((folder / "modules.json").read_text())
    kept = [module for module in modules if "Normalize" not in module["type"]]
    (folder / "modules.json").write_text(json.dumps(kept))
    (folder / "config_sentence_transformers.json").write_text('{"similarity_fn_name": "dot"}')
    assert not read_settings(folder).normalize
    encoder = load_token_encoder(find_model(str(folder)), dtype="float32")
    for subnet in encoder.subnets:
        _, vectors = encoder.projector(subnet, *projection(encoder.state_dim(subnet)))(SEQUENCES)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@needs_fast_path
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_vectors_are_the_same_in_any_batch_to_the_bit(tiny_elastic, dtype):
    encoder = load_token_encoder(find_model(str(tiny_elastic)), dtype=dtype)
    for subnet in encoder.subnets:
        encode = encoder.projector(subnet, *projection(encoder.state_dim(subnet)))
        tokens, vectors = encode(SEQUENCES)
        alone = [encode([sequence]) for sequence in SEQUENCES]
        assert np.array_equal(tokens, np.concatenate([own.tokens for own in alone]))
        assert np.array_equal(vectors, np.concatenate([own.texts for own in alone]))


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_transformers_give_the_vectors_of_a_search_too(tmp_path, name):
    folder = save_sentence_encoder(OTHERS[name][0], tmp_path / "encoder", *OTHERS[name][1:])
    encoder = load_token_encoder(find_model(str(folder)), dtype="float32", device="cpu")
    texts = ["who wrote dune", "a", "Frank HERBERT, 1965"]
    sequences = SeparateTokenizer(folder, 48, 48).passages(texts)
    weight, bias = projection(encoder.state_dim(encoder.full_subnet))
    tokens, vectors = encoder.projector(encoder.full_subnet, weight, bias)(sequences)
    states = encoder.states(encoder.full_subnet, sequences)
    assert states.shape == (sum(map(len, sequences)), encoder.state_dim(encoder.full_subnet))
    assert np.allclose(tokens, states @ weight.T + bias, atol=1e-4)
    expected = PassageEncoder.from_pretrained(str(folder), dtype="float32", device="cpu").encode(texts)
    assert vectors.shape == (3, encoder.vector_dim) == expected.shape
    assert np.allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-5)
    if read_settings(folder).pooling == "cls":
        assert np.allclose(vectors[1], states[len(sequences[0])] / np.linalg.norm(states[len(sequences[0])]), atol=1e-5)


@needs_fast_path
def test_what_has_no_tokens_here_is_refused(tiny_model, tmp_path):
    with pytest.raises(ModelError, match="expected int8 or float32"):
        load_token_encoder(find_model(str(tiny_model)), dtype="bfloat16")
    with pytest.raises(ModelError, match="got device 'tpu'"):
        load_token_encoder(find_model(str(tiny_model)), device="tpu")
