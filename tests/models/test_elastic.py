"""The elastic transformer: the part of the weights that a subnet uses, and that nothing else changes its vectors."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from elastic_models import SHAPE, at_all_subnets, random_batch, random_model
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import QueryError
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.shape import DEPTHS, WIDTHS, ElasticShape, default_layers
from elasticdenser.models.trunk import padding_bias_of
from elasticdenser.subnet import Subnet

GRID = ElasticShape(**SHAPE).grid


@pytest.fixture(scope="module", params=["mean", "cls", "mean with level 0"])
def model(request) -> ElasticBert:
    pooling, _, level0 = request.param.partition(" ")
    return random_model(pooling=pooling, level0=bool(level0))


def test_exits_add_level0_to_the_pooled_vector():
    """A subnet's vector is its exit of the pooled vector plus its shortcut of the mean token vector."""
    model = random_model(level0=True)
    token_ids, mask = random_batch()
    means = torch.stack(
        [model.table[ids[:length]].mean(dim=0) for ids, length in zip(token_ids, mask.sum(1), strict=True)]
    )
    for subnet in model.shape.grid:
        with torch.no_grad():
            pooled = model.pooled_at_depths(token_ids, mask, subnet.width, [subnet.depth])[subnet.depth]
            expected = F.linear(pooled, *model.exit_of(subnet)) + means @ model.shortcut_of(subnet).T
            torch.testing.assert_close(model(token_ids, mask, subnet), expected)


def test_at_depths_equals_single_forwards(model):
    single = at_all_subnets(model, *random_batch())
    assert len(single) == len(WIDTHS) * len(DEPTHS)
    for width in WIDTHS:
        for depths in (DEPTHS, (6, 1), (3,), iter([2, 4, 2])):
            with torch.no_grad():
                by_depth = model.at_depths(*random_batch(), width, depths)
            assert list(by_depth) == sorted(by_depth)
            for depth, vectors in by_depth.items():
                expected = single[Subnet(width, depth)]
                torch.testing.assert_close(F.normalize(vectors, dim=-1), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("n_layers", range(7))
def test_later_layers_go_on_from_the_states_of_the_first_ones(n_layers):
    model, (token_ids, mask) = random_model(), random_batch()
    for width in WIDTHS:
        # Depth d has the first d - 2 layers and the last two, so that depth 6 alone has all of the first 3 to 6.
        depths = [depth for depth in DEPTHS if depth == 6 or n_layers <= max(1, depth - 2)]
        with torch.no_grad():
            expected = model.states_at_depths(token_ids, mask, width, depths)
            lower = model.lower_states(token_ids, mask, width, n_layers)
            resumed = model.states_at_depths(token_ids, mask, width, depths, lower)
        assert list(resumed) == depths
        for depth in depths:
            torch.testing.assert_close(resumed[depth], expected[depth], atol=1e-6, rtol=0)
    if n_layers > 1:
        with pytest.raises(QueryError, match=f"w0.5-d3.*expected one with the first {n_layers} layers"):
            model.states_at_depths(token_ids, mask, 0.5, [3, 6], lower)


def test_all_subnets_differ(model):
    by_subnet = list(at_all_subnets(model, *random_batch()).values())
    assert all(vectors.shape == (4, 16) for vectors in by_subnet)
    for number, vectors in enumerate(by_subnet):
        assert all((vectors - others).abs().max() > 1e-3 for others in by_subnet[:number])


@pytest.mark.slow
def test_neither_padding_nor_neighbours_change_a_vector(model):
    token_ids, mask = random_batch()
    together = at_all_subnets(model, token_ids, mask)
    longer = torch.cat([token_ids, torch.full((4, 7), 49)], dim=1)
    padded = at_all_subnets(model, longer, torch.cat([mask, torch.zeros(4, 7, dtype=torch.bool)], dim=1))
    other = torch.where(mask, token_ids, (token_ids + 1) % 50)
    refilled = at_all_subnets(model, other, mask)
    for subnet, vectors in together.items():
        torch.testing.assert_close(padded[subnet], vectors, atol=1e-6, rtol=0)
        torch.testing.assert_close(refilled[subnet], vectors, atol=1e-6, rtol=0)
    for row, length in enumerate((3, 9, 1, 5)):
        alone = at_all_subnets(model, token_ids[row : row + 1, :length], mask[row : row + 1, :length])
        for subnet, vectors in together.items():
            torch.testing.assert_close(alone[subnet], vectors[row : row + 1], atol=1e-6, rtol=0)


def without_all_but(model: ElasticBert, subnet: Subnet) -> ElasticBert:
    """A copy that has NaN in all weights that the subnet must not use."""
    model = copy.deepcopy(model)
    n_heads, n_neurons = int(4 * subnet.width), int(64 * subnet.width)
    layers_used = {1: {0}, 2: {0, 5}, 3: {0, 4, 5}, 4: {0, 1, 4, 5}, 6: {0, 1, 2, 3, 4, 5}}[subnet.depth]
    other_widths = torch.tensor([width != subnet.width for width in WIDTHS])
    other_depths = torch.tensor([depth != subnet.depth for depth in DEPTHS])
    with torch.no_grad():
        for number, layer in enumerate(model.layers):
            for tensor, dimension, n_used in (
                (layer.qkv, 1, n_heads),
                (layer.qkv_bias, 1, n_heads),
                (layer.out, 1, n_heads),
                (layer.up, 0, n_neurons),
                (layer.up_bias, 0, n_neurons),
                (layer.down, 1, n_neurons),
            ):
                tensor.narrow(dimension, n_used, tensor.shape[dimension] - n_used).fill_(torch.nan)
            layer.norms[other_widths] = torch.nan
            if number not in layers_used:
                for parameter in layer.parameters():
                    parameter.fill_(torch.nan)
        model.norm[other_widths] = torch.nan
        for tensor in (model.exits, model.exit_bias):
            tensor[other_widths] = torch.nan
            tensor[:, other_depths] = torch.nan
    return model


@pytest.mark.parametrize("subnet", GRID, ids=str)
def test_a_subnet_uses_nothing_beyond_its_slice(model, subnet):
    batch = random_batch()
    with torch.no_grad():
        vectors = without_all_but(model, subnet)(*batch, subnet)
        assert vectors.isfinite().all()
        torch.testing.assert_close(vectors, model(*batch, subnet), atol=0, rtol=0)


@pytest.mark.slow
def test_threads_compute_several_subnets_at_once(model):
    batches = [random_batch(lengths, seed) for seed, lengths in enumerate([(3, 9, 1, 5), (2,), (7, 7), (9, 1, 1)])]
    work = [(batch, subnet) for subnet in model.shape.grid for batch in batches] * 3
    expected = [model(*batch, subnet).detach() for batch, subnet in work]

    def compute(batch_and_subnet):
        batch, subnet = batch_and_subnet
        with torch.inference_mode():
            return model(*batch, subnet)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(compute, work))
    for vectors, expected_vectors in zip(results, expected, strict=True):
        torch.testing.assert_close(vectors, expected_vectors, atol=1e-6, rtol=0)


@pytest.mark.slow
@given(st.integers(1, 48).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_layers_of_a_depth_are_the_first_and_the_last(depth_and_layers):
    depth, n_layers = depth_and_layers
    first, last = default_layers(depth, n_layers)
    layers = first + last
    assert len(layers) == depth == len(set(layers))
    assert list(layers) == sorted(layers)
    assert first == tuple(range(len(first)))
    assert (layers[0], set(layers) <= set(range(n_layers))) == (0, True)
    if depth >= 2:
        assert layers[-1] == n_layers - 1
    assert last == tuple(range(n_layers - min(2, depth - 1), n_layers))


def test_layers_of_each_depth_of_six_layers():
    joined = {depth: sum(default_layers(depth, 6), ()) for depth in DEPTHS}
    assert joined == {1: (0,), 2: (0, 5), 3: (0, 4, 5), 4: (0, 1, 4, 5), 6: (0, 1, 2, 3, 4, 5)}


CHOSEN = ((3,), (0, 1), (0, 1, 5), (0, 2, 3, 4), (0, 1, 2, 3, 4, 5))


def test_chosen_layers_of_each_depth():
    shape = random_model(layers=CHOSEN).shape
    assert {depth: sum(shape.layers_of(depth), ()) for depth in DEPTHS} == dict(zip(DEPTHS, CHOSEN, strict=True))
    n_first = [len(shape.layers_of(depth)[0]) for depth in DEPTHS]
    assert n_first == [0, 1, 1, 1, 6]  # what all greater depths begin with too


def test_depths_of_chosen_layers_at_once_equal_each_alone():
    model, (token_ids, mask) = random_model(layers=CHOSEN), random_batch()
    together = model.states_at_depths(token_ids, mask, 0.5, DEPTHS)
    lower = model.lower_states(token_ids, mask, 0.5, 1)
    recycled = model.states_at_depths(token_ids, mask, 0.5, DEPTHS[1:], lower)
    for depth, layers in zip(DEPTHS, CHOSEN, strict=True):
        state = model.run_layers(layers, model.embedded(token_ids, 0.5), padding_bias_of(mask), 0.5)
        torch.testing.assert_close(together[depth], state)
        if depth > 1:
            torch.testing.assert_close(recycled[depth], state)
    with pytest.raises(QueryError, match=r"got subnet w0\.5-d1, which has the layers 3"):
        model.states_at_depths(token_ids, mask, 0.5, [1], lower)


def test_only_chosen_layers_are_part_of_a_manifest():
    assert "layers" not in random_model().shape.to_json()
    shape = random_model(layers=CHOSEN).shape
    assert from_value(ElasticShape, json.loads(json.dumps(shape.to_json())), "shape") == shape


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (CHOSEN[:-1], "got 4 lists of layers of the depths"),
        (((0,), (0, 1), (0, 1, 2), (0, 1, 2), (0, 1, 2, 3, 4, 5)), "got 5 lists of layers of the depths"),
        (((0,), (1, 0), *CHOSEN[2:]), "got the layers 1, 0, expected them to rise, from 0 to 5 at most"),
        (((0,), (0, 6), *CHOSEN[2:]), "got the layers 0, 6, expected them to rise"),
        (((-1,), *CHOSEN[1:]), "got the layers -1, expected them to rise"),
    ],
)
def test_layers_that_are_not_those_of_the_depths_are_refused(layers, message):
    with pytest.raises(QueryError, match=message):
        random_model(layers=layers)


@pytest.mark.parametrize("subnet", GRID, ids=str)
def test_gradients_reach_what_a_subnet_uses(subnet):
    model = random_model()
    torch.autograd.backward(model(*random_batch(), subnet).square().sum())
    cell = WIDTHS.index(subnet.width), DEPTHS.index(subnet.depth)
    touched = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    used = [number for number in range(6) if f"blocks.{number}.up" in touched]
    assert used == list(sum(default_layers(subnet.depth, 6), ()))
    assert {"tokens", "positions", "norm", "exits", "exit_bias"} <= set(touched)
    for name in ("exits", "exit_bias"):
        assert nonzero_rows(touched[name], 2) == {cell}
    assert nonzero_rows(touched["norm"], 1) == {(cell[0],)}
    for number in used:
        layer = {name.rsplit(".", 1)[-1]: grad for name, grad in touched.items() if name.startswith(f"blocks.{number}")}
        assert nonzero_rows(layer["norms"], 1) == {(cell[0],)}
        n_heads, n_neurons = int(4 * subnet.width), int(64 * subnet.width)
        for name in ("qkv", "out"):
            assert nonzero_rows(layer[name].movedim(1, 0), 1) == {(head,) for head in range(n_heads)}
        assert nonzero_rows(layer["down"].T, 1) == {(neuron,) for neuron in range(n_neurons)}


def nonzero_rows(grad, n_dimensions):
    """Indices of the first dimensions under which anything is not zero."""
    return {tuple(index) for index in grad.flatten(n_dimensions).any(dim=-1).nonzero().tolist()}


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
def test_activations_differ(activation):
    vectors = random_model(activation=activation)(*random_batch(), Subnet(1.0, 6))
    others = [
        random_model(activation=other)(*random_batch(), Subnet(1.0, 6))
        for other in ("gelu", "gelu_tanh", "relu")
        if other != activation
    ]
    assert vectors.isfinite().all()
    assert all((vectors - other).abs().max() > 1e-6 for other in others)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"widths": (1.0, 0.3)}, "width 0.3 of 4 heads and 64 neurons, expected one that leaves whole numbers"),
        ({"widths": (1.0, 0.25), "n_heads": 2}, "width 0.25 of 2 heads"),
        ({"widths": (1.0, 0.25), "n_neurons": 66}, "66 neurons"),
        ({"widths": (1.0, 0.0)}, "width 0 of"),
        ({"widths": (0.5,)}, "to fall from 1"),
        ({"widths": (0.5, 1.0)}, "to fall from 1"),
        ({"widths": (1.0, 1.0)}, "to fall from 1"),
        ({"widths": ()}, "to fall from 1"),
        ({"depths": (1, 7)}, "depth 7 of 6 layers, expected 1 to 6"),
        ({"depths": (0, 1)}, "depth 0 of 6 layers"),
        ({"depths": (2, 1)}, "expected them to rise"),
        ({"depths": (2, 2)}, "expected them to rise"),
        ({"depths": ()}, "expected them to rise"),
        ({"n_heads": 5, "widths": (1.0,)}, "5 heads of a hidden size of 32"),
        ({"pooling": "max"}, "'max' pooling"),
        ({"activation": "swish"}, "'swish'"),
        ({"n_layers": 0}, "got n_layers = 0, expected a number above 0"),
        ({"norm_eps": -1.0}, "got norm_eps = -1.0, expected a number above 0"),
        ({"norm_eps": float("nan")}, "got norm_eps = nan, expected a number above 0"),
    ],
)
def test_impossible_shapes_are_refused(changed, message):
    with pytest.raises(QueryError) as caught:
        ElasticShape(**{**SHAPE, **changed})
    assert message in str(caught.value)


@pytest.mark.parametrize("subnet", [Subnet(0.5, 5), Subnet(0.75, 6)], ids=str)
def test_subnets_off_the_grid_are_refused(model, subnet):
    for call in (
        lambda: model(*random_batch(), subnet),
        lambda: model.at_depths(*random_batch(), subnet.width, [subnet.depth]),
        lambda: model.shape.check(subnet),
    ):
        with pytest.raises(QueryError, match=f"got subnet {subnet}, expected one of this encoder.s: w1-d6, w1-d4"):
            call()


def test_grid_goes_from_large_to_small():
    costs = [subnet.width * subnet.depth for subnet in GRID]
    assert costs == sorted(costs, reverse=True)
    assert (GRID[0], GRID[-1]) == (Subnet(1.0, 6), Subnet(0.25, 1))
