"""Sampling by difficulty."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_distil import SHAPE, FewQueries, random_model, settings
from training_helpers import write_data, write_recipe

from elasticdenser.errors import BuildError, QueryError
from elasticdenser.subnet import Subnet
from elasticdenser.training import difficulty
from elasticdenser.training.batches import Batch
from elasticdenser.training.difficulty import DifficultySampling, subnet_cosines, systematic_sample
from elasticdenser.training.distil import Distillation
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.recipe import read_recipe
from elasticdenser.training.train import train

N = 64


class DrawnQueries:
    """The sequences of `FewQueries`; a batch takes those that the order names, and they are recorded by step."""

    def __init__(self) -> None:
        self.source = FewQueries()
        self.drawn: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return N

    def token_ids(self, rows):
        return self.source.token_ids[rows].tolist()

    def normalised_targets(self, rows):
        return self.source.targets[rows]

    def batch(self, step, size, *, order, **options) -> Batch:
        start = (step - order.first_step) * size
        rows = self.drawn[step] = order.rows[start : start + size].tolist()
        source = self.source
        return Batch(
            token_ids=source.token_ids[rows], mask=source.mask[rows], targets=source.targets[rows], bank=source.bank
        )


def by_difficulty(**changes):
    return settings(
        **{"steps": 20, "difficulty": 1.0, "difficulty_every": 8, "difficulty_subnet": "w0.5-d2", **changes}
    )


@pytest.mark.slow
def test_systematic_samples_are_proportional_to_their_weights():
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    for n in (1, 7, 10, 1000):
        positions = systematic_sample(weights, n, np.random.default_rng(n))
        counts = np.bincount(positions, minlength=4)
        assert counts.sum() == n and (np.abs(counts - n * weights / 10) < 1).all()
    means = np.mean([systematic_sample(weights, 1, np.random.default_rng(seed)) == 3 for seed in range(2000)])
    assert means == pytest.approx(0.4, abs=0.04)
    equal = systematic_sample(np.ones(50), 50, np.random.default_rng(0))
    assert sorted(equal) == list(range(50)) and equal.tolist() != sorted(equal)


def test_cosines_are_those_of_the_subnet(monkeypatch):
    monkeypatch.setattr(difficulty, "_CHUNK_TEXTS", 30)
    monkeypatch.setattr(difficulty, "_BATCH_TOKENS", 40)
    model, data, calls = random_model(), DrawnQueries(), []
    rows = np.arange(3, 60)
    found = subnet_cosines(model, Subnet(0.5, 2), data, rows, lambda *call: calls.append(call))
    with torch.no_grad():
        vectors = model(data.source.token_ids, data.source.mask, Subnet(0.5, 2))
    expected = F.cosine_similarity(vectors, data.source.targets)[3:60].numpy()
    assert found == pytest.approx(expected, abs=1e-5)
    assert [done for _, done, _ in calls] == [0, 30, 57] and calls[0][0] == "Estimating difficulty by w0.5-d2"


def test_batches_of_similar_length_have_a_bound():
    lengths = [9000, 3, 5000, 4, 5000, 2, 2000]
    batches = difficulty._length_batches(lengths)
    assert [[lengths[number] for number in batch] for batch in batches] == [[2, 3, 4, 2000], [5000], [5000], [9000]]


def test_texts_are_drawn_in_proportion_to_their_distance(tmp_path):
    # Cosines of .9 and .5: distances of 1 and 5.
    cosines = np.where(np.arange(N) < 32, 0.9, 0.5).astype(np.float32)
    for exponent, share in ((1.0, 1 / 6), (2.0, 1 / 26), (0.001, 1 / 2)):
        sampling = DifficultySampling(N, by_difficulty(difficulty=exponent), tmp_path / str(exponent))
        order = sampling.order(10, lambda rows, progress: cosines[rows])
        assert (order.number, order.first_step, order.n_batches, len(order.rows)) == (1, 8, 8, 8 * 16)
        assert (order.rows < 32).mean() == pytest.approx(share, abs=0.02)
    # The last period is shorter.
    assert sampling.order(19, lambda rows, progress: cosines[rows]).n_batches == 4


def test_at_most_difficulty_texts_are_estimated_and_texts_of_cosine_1_stay(tmp_path):
    pools = []

    def cosines(rows, progress):
        pools.append(set(rows.tolist()))
        return np.ones(len(rows), np.float32)

    sampling = DifficultySampling(N, by_difficulty(difficulty_texts=20), tmp_path)
    orders = [sampling.order(step, cosines) for step in (0, 8)]
    assert [len(pool) for pool in pools] == [20, 20] and pools[0] != pools[1]
    assert [set(order.rows.tolist()) for order in orders] == pools


def test_saved_texts_are_read_again_and_damage_is_refused(tmp_path):
    sampling = DifficultySampling(N, by_difficulty(), tmp_path)
    first = sampling.order(8, lambda rows, progress: np.zeros(len(rows), np.float32))
    assert sampling.order(12, None).rows.tolist() == first.rows.tolist()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BuildError, match=r"step-000008\.i32 is damaged: remove it"):
        sampling.order(8, None)


@pytest.mark.slow
def test_an_interrupted_training_draws_the_same_texts(tmp_path):
    whole, data = random_model(), DrawnQueries()
    Distillation(whole, data, by_difficulty(), tmp_path / "whole").run()
    assert sorted(data.drawn) == list(range(20))

    model, again = random_model(), DrawnQueries()
    for until in (3, 8, 13, 16, 20):
        Distillation(model, again, by_difficulty(), tmp_path / "interrupted").run(until=until)
        model = random_model(seed=3)  # other weights, which the checkpoint replaces
    assert again.drawn == data.drawn
    resumed = Distillation(model, again, by_difficulty(), tmp_path / "interrupted")
    for name, weights in whole.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], weights, rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_weights_at_the_start_of_a_period_decide(tmp_path):
    model, data = random_model(), DrawnQueries()
    distillation = Distillation(model, data, by_difficulty(difficulty=4.0), tmp_path)
    distillation.run(until=8)
    rows = np.arange(N)
    distances = 1 - subnet_cosines(model, Subnet(0.5, 2), data, rows)
    distillation.run(until=16)
    counts = np.bincount(np.concatenate([data.drawn[step] for step in range(8, 16)]), minlength=N)
    expected = 8 * 16 * distances**4 / (distances**4).sum()
    assert (np.abs(counts - expected) < 1.01).all()


def test_the_subnet_in_the_middle_estimates_unless_another_is_named(tmp_path):
    chosen = {
        name: Distillation(random_model(), DrawnQueries(), by_difficulty(difficulty_subnet=name), tmp_path / f"m{name}")
        for name in ("", "w1-d1")
    }
    assert str(chosen[""]._difficulty_subnet) == str(sorted(SHAPE.grid)[3])
    assert str(chosen["w1-d1"]._difficulty_subnet) == "w1-d1"
    with pytest.raises(QueryError, match="d9"):
        Distillation(random_model(), DrawnQueries(), by_difficulty(difficulty_subnet="w1-d9"), tmp_path / "none")


@pytest.mark.slow
def test_a_whole_training_by_difficulty_and_with_variants(tiny_model, tmp_path):
    write_data(tmp_path)
    options = (
        'bfloat16 = false\nvariant_share = 0.5\ndifficulty = 1.0\ndifficulty_every = 4\ndifficulty_subnet = "w0.5-d1"'
    )
    recipe = read_recipe(write_recipe(tmp_path, tiny_model, ("bfloat16 = false", options)))
    activities = []
    result = train(
        recipe,
        tmp_path / "model",
        TrainOptions(data=tmp_path, device="cpu", offline=True),
        progress=lambda activity, done, total: activities.append(activity),
    )
    files = sorted(path.name for path in (result.run / "difficulty").iterdir())
    assert files == ["step-000000.i32", "step-000004.i32", "step-000008.i32"]
    assert "Estimating difficulty by w0.5-d1" in activities and result.step in (8, 10)
