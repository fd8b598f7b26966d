"""Cost of a training, in words, and where it resumes."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

from elasticdenser.progress import silent
from elasticdenser.training import cost
from elasticdenser.training.cost import duration, estimated_hours, last_step, time_steps


@dataclass
class Steps:
    """Stand-in for a distillation."""

    step: int
    settings: SimpleNamespace
    stops: list[int] = field(default_factory=list)

    def run(self, *, until, progress):
        self.stops.append(until)
        self.step = until


@pytest.mark.parametrize(("step", "stops"), [(0, [1, 4]), (7, [8, 11]), (20, []), (17, []), (96, []), (100, [])])
def test_some_steps_are_timed_but_no_snapshot_is_skipped(step, stops):
    steps = Steps(step, SimpleNamespace(steps=100))
    message = time_steps(steps, 20, silent)
    assert steps.stops == stops
    assert bool(message) is bool(stops)
    if stops:
        assert message.endswith(f"for the other {100 - stops[-1]} steps")


def test_larger_encoders_take_longer():
    small, base = SimpleNamespace(n_layers=6, hidden=384), SimpleNamespace(n_layers=12, hidden=768)
    assert estimated_hours(small, 2000, 128) == pytest.approx(1)
    assert estimated_hours(base, 2000, 128) == pytest.approx(8)
    assert estimated_hours(small, 500, 256) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("computes", "wanted", "time"), [(True, True, "60 min"), (False, True, "2.5 h"), (True, False, "2.5 h")]
)
def test_a_training_in_float32_takes_longer(monkeypatch, computes, wanted, time):
    monkeypatch.setattr(cost, "supports_bfloat16", lambda device: computes)
    monkeypatch.setattr(cost, "trained_subnets", lambda model, settings: ["w1-d6", "w1-d3"])
    distil = SimpleNamespace(steps=2000, batch=128, n_sampled_subnets=0, bfloat16=wanted)
    recipe = SimpleNamespace(table=None, init=SimpleNamespace(model="trained"), distil=distil, dev_sets=())
    model = SimpleNamespace(shape=SimpleNamespace(n_layers=6, hidden=384))
    assert f"takes about {time} on two cores" in cost.planned_work(recipe, model, 10, torch.device("cpu"))
    assert "takes about" not in cost.planned_work(recipe, model, 10, torch.device("cuda"))


def test_the_last_step_is_that_of_the_log(tmp_path):
    assert last_step(tmp_path) == 0
    (tmp_path / "losses.jsonl").write_text('{"step": 3}\n{"step": 12}\n')
    assert last_step(tmp_path) == 12
    (tmp_path / "losses.jsonl").write_text('{"step": 3}\n{"st')
    assert last_step(tmp_path) == 0


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (720, "12 min"), (12600, "3.5 h")])
def test_durations_in_words(seconds, words):
    assert duration(seconds) == words
