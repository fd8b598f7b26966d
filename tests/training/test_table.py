import json
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from elasticdenser.errors import BadInputError
from elasticdenser.training.data import Batch
from elasticdenser.training.losses import alignment, log_scores, score_distribution
from elasticdenser.training.steps import CHECKPOINT, LOG
from elasticdenser.training.table import TableSettings, TableTuning
from elasticdenser.training.table_fit import fit_table

N_TOKENS, N_SEEN, HIDDEN, DIM = 40, 30, 12, 16
generator = torch.Generator().manual_seed(5)
TOKENS = torch.randn(N_TOKENS, HIDDEN, generator=generator)


class FewQueries:
    """Ninety-six sequences of the first tokens, whose targets are the means of hidden vectors, and some noise."""

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        lengths = rng.integers(2, 9, 96)
        self.mask = torch.from_numpy(np.arange(8) < lengths[:, None])
        self.token_ids = torch.from_numpy(rng.integers(0, N_SEEN, (96, 8))) * self.mask
        hidden = torch.from_numpy(rng.normal(size=(N_TOKENS, DIM))).float()
        noise = torch.from_numpy(rng.normal(size=(96, DIM))).float() * 0.3
        self.targets = F.normalize(means(hidden, self) + noise, dim=-1)
        self.bank = F.normalize(torch.from_numpy(rng.normal(size=(50, DIM))).float(), dim=-1)
        self.asked: list[int] = []

    def batch(self, step: int, size: int, *, seed: int, typo_share: float = 0.0, n_random: int = 0) -> Batch:
        self.asked.append(step)
        return self.of(random.Random(f"{seed} {step}").sample(range(96), size))

    def of(self, at: list[int]) -> Batch:
        return Batch(token_ids=self.token_ids[at], mask=self.mask[at], targets=self.targets[at], bank=self.bank)

    def batches(self) -> list[Batch]:
        return [self.of(list(range(start, start + 32))) for start in range(0, 96, 32)]


def counts(data: FewQueries) -> torch.Tensor:
    """Return float64, (n, N_TOKENS): how often each sequence has each token, over its length."""
    onehot = F.one_hot(data.token_ids, N_TOKENS) * data.mask[..., None]
    return onehot.sum(dim=1).double() / data.mask.sum(dim=1, keepdim=True)


def means(vectors: torch.Tensor, data: FewQueries) -> torch.Tensor:
    return (counts(data) @ vectors.double()).float()


def mapped(data: FewQueries, ridge_map: float) -> torch.Tensor:
    given, embedded = counts(data), torch.cat([TOKENS, torch.ones(N_TOKENS, 1)], dim=1).double()
    pooled = given @ embedded
    penalty = torch.tensor([ridge_map] * HIDDEN + [1e-6]).double().diag()
    return embedded @ torch.linalg.solve(pooled.T @ pooled + penalty, pooled.T @ data.targets.double())


def settings(**changes) -> TableSettings:
    return TableSettings(**{"steps": 60, "batch": 32, "learning_rate": 0.03, "warm_up": 5, **changes})


def test_the_fit_is_the_closed_form_of_both_regressions():
    data = FewQueries()
    given, start = counts(data), mapped(data, 2.0)
    left = data.targets.double() - given @ start
    change = torch.linalg.solve(given.T @ given + 0.05 * torch.eye(N_TOKENS).double(), given.T @ left)
    fitted = fit_table(data.batches(), TOKENS, ridge_map=2.0, ridge=0.05, iterations=100)
    assert (fitted.dtype, fitted.shape) == (torch.float32, (N_TOKENS, DIM))
    torch.testing.assert_close(fitted, (start + change).float(), rtol=0, atol=2e-5)
    assert (change[:N_SEEN].norm(dim=1) > 0.01).all()


def test_tokens_of_no_text_get_mapped_word_embeddings():
    data = FewQueries()
    fitted = fit_table(data.batches(), TOKENS, ridge_map=2.0, ridge=0.05)
    torch.testing.assert_close(fitted[N_SEEN:], mapped(data, 2.0)[N_SEEN:].float(), rtol=0, atol=1e-6)
    alone = fit_table(data.batches(), TOKENS, ridge_map=2.0, iterations=0)
    torch.testing.assert_close(alone, mapped(data, 2.0).float(), rtol=0, atol=1e-6)


def test_few_iterations_tell_how_far_they_are():
    data, told = FewQueries(), []
    fit_table(data.batches(), TOKENS, iterations=3, progress=lambda *what: told.append(what))
    assert told == [("Fitting token vectors", done, 3) for done in range(4)]


@pytest.mark.parametrize("score_weight", [0.0, 0.3])
def test_tuning_brings_vectors_nearer_and_lowers_the_loss(tmp_path, score_weight):
    data = FewQueries()
    start = mapped(data, 2.0).float()
    plan = settings(score_weight=score_weight)
    tuning = TableTuning(start, data, plan, tmp_path)
    tuning.run()

    def quality(vectors: torch.Tensor) -> tuple[float, float]:
        found = F.normalize(means(vectors, data), dim=-1)
        scores = score_distribution(*(log_scores(side, data.bank, plan.temperature) for side in (found, data.targets)))
        cosine = (found * data.targets).sum(dim=-1).mean()
        return float(cosine), float(alignment(found, data.targets) + score_weight * scores)

    (cosine_before, loss_before), (cosine, loss) = quality(start), quality(tuning.vectors)
    assert cosine > cosine_before + 0.1 and loss < loss_before - 0.2
    assert torch.equal(tuning.vectors[N_SEEN:], start[N_SEEN:])
    assert torch.equal(start, mapped(data, 2.0).float())


def test_the_first_step_is_one_of_adam_with_the_gradient_of_the_losses(tmp_path):
    data, plan = FewQueries(), settings(steps=1, warm_up=0)
    start = mapped(data, 2.0).float()
    batch = data.batch(0, plan.batch, seed=0)
    reference = start.clone().requires_grad_()
    pooled = F.embedding(batch.token_ids, reference) * batch.mask[..., None]
    found = F.normalize(pooled.sum(dim=1) / batch.mask.sum(dim=1, keepdim=True), dim=-1)
    scores = (log_scores(side, batch.bank, 0.03) for side in (found, batch.targets))
    loss = alignment(found, batch.targets) + 0.3 * score_distribution(*scores)
    torch.autograd.backward(loss)
    torch.optim.Adam([reference], lr=plan.learning_rate, eps=1e-12).step()
    tuning = TableTuning(start, data, plan, tmp_path)
    tuning.run()
    large = reference.grad.abs() > 1e-5  # the sign of the others is chance
    torch.testing.assert_close(tuning.vectors[large], reference.detach()[large], rtol=0, atol=1e-5)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    data, start = FewQueries(), mapped(FewQueries(), 2.0).float()
    whole = TableTuning(start, data, settings(steps=20), tmp_path / "whole")
    whole.run()
    TableTuning(start, data, settings(steps=20), tmp_path / "parted").run(until=8)
    data.asked.clear()
    resumed = TableTuning(start + 1, data, settings(steps=20), tmp_path / "parted")  # the checkpoint counts
    assert resumed.step == 8
    resumed.run()
    assert data.asked == list(range(8, 20))
    assert torch.equal(resumed.vectors, whole.vectors)
    last, last_of_whole = ((tmp_path / name / LOG).read_text().splitlines()[-1] for name in ("parted", "whole"))
    assert last == last_of_whole
    assert set(json.loads(last)) == {"step", "loss", "cosine"}


def test_other_settings_and_damaged_checkpoints_are_refused(tmp_path):
    data, start = FewQueries(), mapped(FewQueries(), 2.0).float()
    TableTuning(start, data, settings(steps=2), tmp_path).run()
    with pytest.raises(BadInputError, match="another steps, temperature stands here"):
        TableTuning(start, data, settings(steps=4, temperature=0.05), tmp_path)
    with pytest.raises(BadInputError, match="this checkpoint cannot be used"):
        TableTuning(start[:-1], data, settings(steps=2), tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(BadInputError, match="this checkpoint cannot be used"):
        TableTuning(start, data, settings(steps=2), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "got 0 steps of 32 queries; expected at least 1"),
        ({"typo_share": 1.5}, "got typo_share = 1.5; expected a number from 0 to 1"),
        ({"temperature": 0.0}, "got temperature = 0.0; expected a number above 0"),
        ({"learning_rate": float("nan")}, "got learning_rate = nan; expected a number above 0"),
        ({"score_weight": -1.0}, "got score_weight = -1.0; expected 0 or more"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(BadInputError, match=message):
        settings(**changes)


def test_fits_that_cannot_be():
    batches = FewQueries().batches()
    with pytest.raises(BadInputError, match="no batches to fit token vectors to; expected at least one"):
        fit_table([], TOKENS)
    with pytest.raises(BadInputError, match=r"got ridge_map = 10.0, ridge = 0.0 and 15 iterations; expected"):
        fit_table(batches, TOKENS, ridge=0.0)
