"""Early exits: the rules, and that a batch which shrinks gives what the exits alone give."""

from __future__ import annotations

import pytest
import torch
from elastic_models import SHAPE, random_batch
from tiny import one_thread

from elasticdenser.classifiers.exits import ExitRule, exit_steps, flops_at_exits, normalised_entropy, run_until_exit
from elasticdenser.errors import QueryError
from elasticdenser.models.flops import layer_flops, layers_run
from elasticdenser.models.logits import ElasticLogits
from elasticdenser.models.shape import ElasticShape, default_layers

DEPTHS = (1, 2, 3, 4, 6)


def random_classifier(layers: str, n_outputs: int = 3) -> ElasticLogits:
    one_thread()
    generator = torch.Generator().manual_seed(0)
    model = ElasticLogits(ElasticShape(**{**SHAPE, "dim": n_outputs}), layers).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
            if "norm" in name:
                parameter.select(-2, 0).add_(1)
    return model


@pytest.mark.parametrize("layers", ["first", "first-and-last"])
@pytest.mark.parametrize("rule", [ExitRule(entropy=0.5), ExitRule(patience=1), ExitRule()])
def test_a_shrinking_batch_gives_what_each_exit_gives(layers, rule):
    model, (token_ids, mask) = random_classifier(layers), random_batch((3, 9, 1, 5, 7, 2))
    with torch.inference_mode():
        at_depths = list(model.at_depths(token_ids, mask, 0.5, DEPTHS).values())
    outputs, left_at = run_until_exit(model, token_ids, mask, 0.5, DEPTHS, rule)
    assert left_at.tolist() == exit_steps(at_depths, rule).tolist()
    expected = torch.stack([at_depths[step][row] for row, step in enumerate(left_at.tolist())])
    torch.testing.assert_close(outputs, expected, atol=1e-5, rtol=1e-4)
    n_exits = len(set(left_at.tolist()))
    assert n_exits > 1 if rule != ExitRule() else left_at.tolist() == [4] * 6


def test_depths_are_the_first_layers_or_the_first_and_the_last():
    assert random_classifier("first").layers_of(3) == ((0, 1, 2), ())
    assert random_classifier("first-and-last").layers_of(3) == default_layers(3, 6)
    with pytest.raises(QueryError, match="got layers = 'last'"):
        ElasticLogits(ElasticShape(**SHAPE), "last")


def test_an_exit_answers_where_the_entropy_is_low():
    logits = torch.tensor([[0.0, 0.0], [9.0, 0.0]])
    assert normalised_entropy(logits)[0].item() == pytest.approx(1)
    assert ExitRule(entropy=0.5).answers([logits]).tolist() == [False, True]
    assert ExitRule(entropy=0).answers([logits]).tolist() == [False, False]
    assert ExitRule(entropy=1).answers([logits]).tolist() == [True, True]


def test_patience_waits_until_exits_agree():
    first, second = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    rule = ExitRule(patience=1)
    assert rule.answers([first]).tolist() == [False, False]
    assert rule.answers([first, second]).tolist() == [True, False]
    assert ExitRule(patience=2).answers([first, second]).tolist() == [False, False]
    assert ExitRule(patience=2).answers([first, second, second]).tolist() == [True, False]
    numbers = [torch.tensor([[0.5], [0.5]]), torch.tensor([[0.52], [0.9]])]
    assert ExitRule(patience=1, difference=0.05).answers(numbers).tolist() == [True, False]


def test_layers_that_run_again_are_counted():
    assert layers_run(random_classifier("first").layers_of, DEPTHS) == [1, 2, 3, 4, 6]
    # First layers run once: 1, 1, 1, 2, 4; the last ones of depth 2, 3, 4 and 6 for each of them: 1, 2, 2, 2.
    assert layers_run(random_classifier("first-and-last").layers_of, DEPTHS) == [1, 2, 4, 7, 11]
    assert layers_run(random_classifier("first-and-last").layers_of, (6,)) == [6]


def test_operations_grow_with_width_layers_and_length():
    model = random_classifier("first")
    shape = model.shape
    # Per token 4 matrices of 32 x 16 and 2 of 32 x 32, two operations a weight; scores and sums of the attention.
    assert layer_flops(shape, 0.5, 10) == 2 * 10 * (4 * 32 * 16 + 2 * 32 * 32) + 4 * 10 * 10 * 16
    costs = flops_at_exits(model, 0.5, (1, 3), 10)
    assert costs[1] - costs[0] == 2 * layer_flops(shape, 0.5, 10) + 2 * 32 * 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"entropy": 1.5}, "got the exit threshold 1.5, expected 0"),
        ({"patience": -1}, "got patience -1"),
        ({"patience": 1, "entropy": 0.5}, "got both an entropy and a patience"),
    ],
)
def test_a_rule_out_of_range_is_refused(settings, message):
    with pytest.raises(QueryError, match=message):
        ExitRule(**settings)


def test_a_regression_has_no_entropy():
    with pytest.raises(QueryError, match="got an entropy for a regression, expected patience"):
        ExitRule(entropy=0.5).check(1)
