"""Steps of the training of a classifier's subnets."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from elasticdenser.classifiers.inputs import InputTokenizer
from elasticdenser.datasets.glue import Example
from elasticdenser.models.scorer_init import logits_from_full
from elasticdenser.models.settings import read_settings
from elasticdenser.training.classifier.classifier_training import ClassifierTraining
from elasticdenser.training.classifier.data import ExampleData
from elasticdenser.training.classifier.settings import ClassifierSettings


@pytest.mark.parametrize(("layers", "equal"), [((0,), {"w1-d1", "w1-d2"}), ((1,), {"w1-d2"})])
def test_the_states_of_a_depth_are_matched_with_those_after_the_same_layer(tiny_model, tmp_path, layers, equal):
    make = partial(logits_from_full, tiny_model, read_settings(tiny_model), n_outputs=2, widths=(1.0,))
    model, teacher = make(depths=(1, 2)), make(depths=(2,))
    model.shape = replace(model.shape, layers=(layers, (0, 1)))
    examples = [Example((f"dune {word}", "desert planet"), 1.0) for word in ("novel", "lock", "file", "wait")]
    data = ExampleData(examples, InputTokenizer(tiny_model, model.shape.vocabulary, 32), 0.0)
    settings = ClassifierSettings(steps=2, state_steps=1, batch=4, bfloat16=False)
    training = ClassifierTraining(model, data, settings, tmp_path, teacher=teacher)
    training.train_step(training.read_batch(0))
    losses = training.running_losses()["loss"]
    assert {name for name, loss in losses.items() if loss < 1e-9} == equal and set(losses) == {"w1-d1", "w1-d2"}
