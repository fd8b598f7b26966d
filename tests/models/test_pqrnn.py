from __future__ import annotations

import pytest
import torch
from torch import Tensor

from elasticdenser.models.pqrnn import PQRNN, BidirectionalQRNN, PQRNNSettings, word_features
from elasticdenser.models.projection import ProjectionSettings, WordProjection

PROJECTION = WordProjection(ProjectionSettings(n_features=64))
TEXTS = [["who", "wrote", "dune"], ["dune"], ["the", "capital", "of", "france", "?"]]


def tiny(**changes: object) -> PQRNN:
    torch.manual_seed(0)
    shape = {"n_features": 64, "bottleneck": 16, "hidden": 8, "n_layers": 2} | changes
    return PQRNN(PQRNNSettings(**shape)).eval()  # type: ignore[arg-type]


def encode(model: PQRNN, texts: list[list[str]]) -> tuple[Tensor, Tensor]:
    features, mask = word_features(texts, PROJECTION)
    states = model(features, mask)
    return states, model.pool(states, mask)


def test_features_of_a_batch_are_those_of_its_words() -> None:
    features, mask = word_features(TEXTS, PROJECTION)
    assert features.shape == (3, 5, 64) and mask.sum(dim=1).tolist() == [3, 1, 5]
    assert torch.equal(features[1, 0], torch.from_numpy(PROJECTION(["dune"])[0]))
    assert torch.equal(features[0, 2], features[1, 0])
    assert not features[~mask].any()


@pytest.mark.parametrize("pooling", ["attention", "mean"])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_text_has_the_same_states_alone_and_in_a_batch(pooling: str, kernel: int) -> None:
    model = tiny(pooling=pooling, kernel=kernel)
    states, vectors = encode(model, TEXTS)
    assert states.shape == (3, 5, model.dim) and vectors.shape == (3, model.dim)
    for number, words in enumerate(TEXTS):
        alone, vector = encode(model, [words])
        torch.testing.assert_close(states[number, : len(words)], alone[0])
        torch.testing.assert_close(vectors[number], vector[0])
        assert not states[number, len(words) :].any()


def test_states_depend_on_the_words_on_both_sides() -> None:
    model = tiny(n_layers=1)
    states, _ = encode(model, [["who", "wrote", "dune"], ["who", "wrote", "emma"], ["who", "sold", "dune"]])
    left, right = states[..., :8], states[..., 8:]
    assert torch.equal(left[0, :2], left[1, :2]) and not torch.equal(right[0, 0], right[1, 0])
    assert not torch.equal(left[0, 2], left[2, 2]) and torch.equal(right[0, 2], right[2, 2])


def test_a_layer_is_the_recurrence_of_the_paper() -> None:
    model = tiny(n_layers=1, kernel=1)
    features, mask = word_features(TEXTS[:1], PROJECTION)
    states = torch.relu(model.bottleneck(features.float()))[0]
    layer = model.layers[0]
    assert isinstance(layer, BidirectionalQRNN)
    candidate, forget, output = layer.forwards(states).chunk(3, dim=-1)
    cell = torch.zeros(8)
    for place in range(3):
        gate = forget[place].sigmoid()
        cell = gate * cell + (1 - gate) * candidate[place].tanh()
        torch.testing.assert_close(model(features, mask)[0, place, :8], output[place].sigmoid() * cell)


def test_zoneout_and_dropout_act_in_training_alone() -> None:
    model = tiny(dropout=0.5, zoneout=0.5)
    assert torch.equal(encode(model, TEXTS)[1], encode(model, TEXTS)[1])
    model.train()
    assert not torch.equal(encode(model, TEXTS)[1], encode(model, TEXTS)[1])


@pytest.mark.slow
def test_a_tiny_model_learns_which_word_comes_first() -> None:
    model, head = tiny(dropout=0.0, zoneout=0.0), torch.nn.Linear(16, 2)
    texts, labels = [["dog", "cat"], ["cat", "dog"]], torch.tensor([0, 1])
    optimiser = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(60):
        loss = torch.nn.functional.cross_entropy(head(encode(model, texts)[1]), labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(loss.detach()) < 0.1
