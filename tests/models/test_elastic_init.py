"""Initial elastic transformers: the largest subnet is the full encoder, small ones have the most important parts."""

from __future__ import annotations

import gzip
import json
from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from elastic_models import TEXTS, at_all_subnets, padded, random_batch, random_model, random_sequences
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_architectures import make_transformer
from tiny import write_sentence_encoder

from elasticdenser.errors import ModelError, QueryError
from elasticdenser.models.bert import Bert
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.elastic_init import elastic_from_full, fit_exits, importance, reorder
from elasticdenser.models.settings import read_settings
from elasticdenser.models.shape import DEPTHS, WIDTHS
from elasticdenser.subnet import Subnet


def full_vectors(folder: Path, sequences: list[list[int]]) -> torch.Tensor:
    """The full encoder's vectors, L2-normalised."""
    bert = Bert.load(folder, torch.float32, torch.device("cpu"))
    return F.normalize(bert.pooled_vectors(sequences, read_settings(folder).pooling), dim=-1)


@pytest.mark.parametrize(
    ("kind", "pooling"),
    [
        ("bert", "mean"),
        ("bert", "cls"),
        ("distilbert", "mean"),
        ("distilbert", "cls"),
        ("roberta", "mean"),
        ("xlm-roberta", "mean"),
        ("camembert", "cls"),
    ],
)
def test_the_largest_subnet_is_the_full_encoder(tmp_path, kind, pooling):
    folder = make_transformer(kind, tmp_path)
    write_sentence_encoder(folder, pooling=pooling)
    model = elastic_from_full(folder, read_settings(folder))
    assert model.shape.depths == (1, 2)
    assert (model.shape.n_positions, model.shape.pooling) == (64, pooling)
    sequences = random_sequences((12, 12, 5, 1, 48, 64))
    by_subnet = at_all_subnets(model, *padded(sequences))
    expected = full_vectors(folder, sequences)
    torch.testing.assert_close(by_subnet[Subnet(1.0, 2)], expected, atol=1e-5, rtol=0)
    assert all(
        (vectors * expected).sum(dim=-1).min() < 0.999 for subnet, vectors in by_subnet.items() if subnet.width < 1
    )


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
def test_activations_give_the_vectors_of_the_full_encoder(tmp_path, activation):
    folder = make_transformer("bert", tmp_path)
    write_sentence_encoder(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": activation, "layer_norm_eps": 1e-3}))
    model = elastic_from_full(folder, read_settings(folder))
    sequences = random_sequences()
    vectors = at_all_subnets(model, *padded(sequences))[Subnet(1.0, 2)]
    torch.testing.assert_close(vectors, full_vectors(folder, sequences), atol=1e-5, rtol=0)


def test_the_largest_subnet_is_the_real_encoder(query_encoder):
    model = elastic_from_full(query_encoder.location.path, query_encoder.settings)
    assert (model.shape.widths, model.shape.depths) == (WIDTHS, DEPTHS)
    by_subnet = at_all_subnets(model, *padded(query_encoder._tokenize(TEXTS, "")))
    expected = torch.from_numpy(query_encoder.encode(TEXTS))
    assert (by_subnet[Subnet(1.0, 6)] * expected).sum(dim=-1).min() > 0.999999
    cosines = {subnet: float((vectors * expected).sum(dim=-1).mean()) for subnet, vectors in by_subnet.items()}
    assert all(cosine < 0.98 for subnet, cosine in cosines.items() if subnet != Subnet(1.0, 6))


def test_widths_and_depths_make_the_grid(tiny_model):
    model = elastic_from_full(tiny_model, read_settings(tiny_model), widths=(1.0, 0.75), depths=(2,))
    assert list(map(str, model.shape.grid)) == ["w1-d2", "w0.75-d2"]
    assert not model.training
    for wrong in ({"widths": (1.0, 0.3)}, {"depths": (1, 3)}):
        with pytest.raises(QueryError):
            elastic_from_full(tiny_model, read_settings(tiny_model), **wrong)


def test_weights_of_other_shapes_than_the_config_are_refused(tmp_path):
    folder = make_transformer("bert", tmp_path)
    write_sentence_encoder(folder)
    weights = load_file(folder / "model.safetensors")
    for name, wrong in (
        ("encoder.layer.1.intermediate.dense.weight", torch.zeros(63, 32)),
        ("encoder.layer.0.attention.self.query.weight", torch.zeros(32, 31)),
    ):
        save_file({**weights, name: wrong}, folder / "model.safetensors")
        with pytest.raises(ModelError, match=r"do not have the shapes of its config\.json.*fetch the model again"):
            elastic_from_full(folder, read_settings(folder))


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_reorder_leaves_the_full_width_as_it_is(seed):
    model = random_model()
    before = at_all_subnets(model, *random_batch())
    generator = torch.Generator().manual_seed(seed)
    reorder(model, torch.rand(6, 4, generator=generator), torch.rand(6, 64, generator=generator))
    after = at_all_subnets(model, *random_batch())
    for subnet, vectors in after.items():
        if subnet.width == 1:
            torch.testing.assert_close(vectors, before[subnet], atol=1e-5, rtol=0)


def test_small_subnets_use_the_most_important(tiny_model):
    """Width 1/4 of the reordered model is a full model in which all but the best quarter are silent."""
    model = elastic_from_full(tiny_model, read_settings(tiny_model))
    silenced = elastic_from_full(tiny_model, read_settings(tiny_model))
    generator = torch.Generator().manual_seed(5)
    heads, neurons = torch.rand(2, 4, generator=generator), torch.rand(2, 64, generator=generator)
    reorder(model, heads, neurons)
    with torch.no_grad():
        for layer, layer_heads, layer_neurons in zip(silenced.layers, heads, neurons, strict=True):
            layer.out[:, layer_heads < layer_heads.max()] = 0
            layer.down[:, layer_neurons < layer_neurons.sort().values[48]] = 0
    batch = padded(random_sequences())
    vectors, expected = at_all_subnets(model, *batch), at_all_subnets(silenced, *batch)
    for depth in (1, 2):
        torch.testing.assert_close(vectors[Subnet(0.25, depth)], expected[Subnet(1.0, depth)], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_silent_heads_and_neurons_have_no_importance():
    model = random_model()
    model.eval().requires_grad_(True)
    with torch.no_grad():
        for number, layer in enumerate(model.layers):
            layer.out[:, number % 3] = 0
            layer.down[:, 2 * number] = 0
    batches = [random_batch(seed=seed) for seed in range(3)]
    before = {name: parameter.clone() for name, parameter in model.state_dict().items()}
    heads, neurons = importance(model, batches)
    assert (heads.shape, neurons.shape) == ((6, 4), (6, 64))
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    for number in range(6):
        assert heads[number, number % 3] == neurons[number, 2 * number] == 0
        assert sorted(heads[number] > 0) == [False, True, True, True]
        assert (neurons[number] > 0).sum() == 63
    reorder(model, heads, neurons)
    for layer in model.layers:
        assert not layer.out[:, -1].any()
        assert not layer.down[:, -1].any()
    again = importance(model, batches)
    assert all(torch.equal(part, part.sort(descending=True).values) for part in again)


def test_importance_grows_with_the_head():
    model = random_model()
    with torch.no_grad():
        for layer in model.layers:
            layer.out *= torch.tensor([0.001, 1, 0.01, 0.1])[:, None]
    heads, _ = importance(model, [random_batch(seed=seed) for seed in range(4)])
    assert all(order == [1, 3, 2, 0] for order in heads.argsort(dim=1, descending=True).tolist())


def sequences_of_all_lengths(n: int):
    return [random_batch(lengths=torch.randint(1, 20, (20,)).tolist(), seed=seed) for seed in range(n)]


@pytest.mark.slow
@pytest.mark.parametrize("subnet", [Subnet(1.0, 6), Subnet(0.5, 3), Subnet(0.25, 1)], ids=str)
def test_exits_recover_a_rotation(subnet):
    """Targets that are a rotation of an exit's inputs make the exit rotate other queries' vectors too.

    Its weights may differ: the outputs of a layer norm lie in a plane, so that the bias can hold a part of a weight.
    """
    torch.manual_seed(0)
    model = random_model(dim=32)
    rotation = torch.linalg.qr(torch.randn(32, 32))[0]
    batches = sequences_of_all_lengths(20)
    with torch.no_grad():
        targets = [
            F.normalize(model.pooled_at_depths(*batch, subnet.width, [subnet.depth])[subnet.depth] @ rotation.T, dim=-1)
            for batch in batches
        ]
    fit_exits(model, [(*batch, vectors) for batch, vectors in zip(batches, targets, strict=True)], ridge=1e-9)
    token_ids, mask = random_batch(seed=99)
    with torch.no_grad():
        expected = model.pooled_at_depths(token_ids, mask, subnet.width, [subnet.depth])[subnet.depth] @ rotation.T
    vectors = at_all_subnets(model, token_ids, mask)[subnet]
    torch.testing.assert_close(vectors, F.normalize(expected, dim=-1), atol=1e-3, rtol=0)


@pytest.mark.slow
def test_exits_with_few_queries_stay_what_they_are(tiny_model):
    """The largest subnet stays the full encoder, whatever it is fitted on; a greater penalty moves the others less."""
    settings = read_settings(tiny_model)
    batch = padded(random_sequences())
    targets = full_vectors(tiny_model, random_sequences())
    moved = {}
    for ridge in (0.1, 1e6):
        model = elastic_from_full(tiny_model, settings)
        start = model.exits.clone()
        before = at_all_subnets(model, *batch)
        fit_exits(model, [(*batch, 3 * targets)], ridge=ridge)  # targets of any length
        after = at_all_subnets(model, *batch)
        torch.testing.assert_close(after[Subnet(1.0, 2)], targets, atol=1e-5, rtol=0)
        for subnet in model.shape.grid:
            gains = [(vectors[subnet] * targets).sum() for vectors in (before, after)]
            assert gains[1] > gains[0] - 1e-5
        assert model.exit_bias[-1, 0].detach().norm() > 0.05  # the bias is free of the penalty
        moved[ridge] = float((model.exits - start).detach().norm())
    assert moved[0.1] > 1e-2 and moved[1e6] < 1e-3 * moved[0.1]


@pytest.mark.slow
def test_exits_use_level0_as_far_as_it_helps(tiny_model):
    """If level 0 gives the targets, every subnet gives its vectors; else the largest subnet stays the full encoder."""
    settings = read_settings(tiny_model)
    generator = torch.Generator().manual_seed(5)
    table = torch.randn(len(elastic_from_full(tiny_model, settings).tokens), 32, generator=generator)
    sequences = [torch.randint(5, 70, (12,), generator=generator).tolist() for _ in range(400)]
    token_ids, mask = padded(sequences)
    known = F.normalize(torch.stack([table[ids].mean(dim=0) for ids in sequences]), dim=-1)
    for targets, subnets in ((known, None), (full_vectors(tiny_model, sequences), [Subnet(1.0, 2)])):
        model = elastic_from_full(tiny_model, settings, table=table)
        fit_exits(model, [(token_ids[:300], mask[:300], targets[:300])], ridge=1.0)
        by_subnet = at_all_subnets(model, token_ids[300:], mask[300:])
        for subnet in subnets or model.shape.grid:
            assert (by_subnet[subnet] * targets[300:]).sum(dim=-1).min() > (0.99 if subnets is None else 0.9999), subnet


def test_exits_do_not_depend_on_the_batches(tiny_model):
    settings = read_settings(tiny_model)
    sequences = random_sequences((4, 4, 4, 7, 7, 9))
    targets = full_vectors(tiny_model, sequences)
    together, apart = (elastic_from_full(tiny_model, settings) for _ in range(2))
    fit_exits(together, [(*padded(sequences), targets)])
    fit_exits(apart, ((*padded(sequences[start : start + 2]), targets[start : start + 2]) for start in (4, 0, 2)))
    torch.testing.assert_close(together.exits, apart.exits, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_fitted_exits_are_better_on_real_queries(data, query_encoder):
    with gzip.open(data / "queries" / "train.txt.gz", "rt", encoding="utf-8") as file:
        queries = [line.strip() for line in islice(file, 600)]
    vectors = torch.from_numpy(query_encoder.encode(queries))
    sequences = query_encoder._tokenize(queries, "")

    def batches(first, last, batch_size=50):
        order = sorted(range(first, last), key=lambda position: len(sequences[position]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield *padded([sequences[position] for position in rows]), vectors[rows]

    def cosines(model: ElasticBert):
        sums = dict.fromkeys(model.shape.grid, 0.0)
        with torch.no_grad():
            for token_ids, mask, targets in batches(500, 600):
                for width in model.shape.widths:
                    for depth, vectors in model.at_depths(token_ids, mask, width, model.shape.depths).items():
                        sums[Subnet(width, depth)] += float((F.normalize(vectors, dim=-1) * targets).sum())
        return {subnet: total / 100 for subnet, total in sums.items()}

    model = elastic_from_full(query_encoder.location.path, query_encoder.settings)
    before = cosines(model)
    fit_exits(model, batches(0, 500))
    after = cosines(model)
    full = Subnet(1.0, 6)
    assert min(before.pop(full), after.pop(full)) > 0.99999
    assert all(after[subnet] > before[subnet] + 0.01 for subnet in before)
    # Measured: w1-d4 .884 (from .868), w1-d3 .807 (.770), w1-d1 .563 (.273), w0.5-d6 .698 (.561), w0.25-d6 .572 (.359).
    for spelling, bound in (("w1-d4", 0.88), ("w1-d3", 0.8), ("w1-d1", 0.55), ("w0.5-d6", 0.68), ("w0.25-d6", 0.56)):
        assert after[Subnet.parse(spelling)] > bound
