import json
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import BadInputError
from elasticdenser.training.batches import Batch
from elasticdenser.training.checkpoints import CHECKPOINT, LOG
from elasticdenser.training.losses import alignment, log_scores, score_divergence
from elasticdenser.training.settings import TableSettings
from elasticdenser.training.table_fit import fit_table
from elasticdenser.training.table_tuning import TableTuning

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
        self.read_steps: list[int] = []

    def batch(self, step: int, size: int, *, seed: int, **options: float | None) -> Batch:
        self.read_steps.append(step)
        return self.batch_of(random.Random(f"{seed} {step}").sample(range(96), size))

    def batch_of(self, rows: list[int]) -> Batch:
        return Batch(token_ids=self.token_ids[rows], mask=self.mask[rows], targets=self.targets[rows], bank=self.bank)

    def batches(self) -> list[Batch]:
        return [self.batch_of(list(range(start, start + 32))) for start in range(0, 96, 32)]


def counts(data: FewQueries) -> torch.Tensor:
    """Return float64, (n, N_TOKENS): how often each sequence has each token, over its length."""
    onehot = F.one_hot(data.token_ids, N_TOKENS) * data.mask[..., None]
    return onehot.sum(dim=1).double() / data.mask.sum(dim=1, keepdim=True)


def means(vectors: torch.Tensor, data: FewQueries) -> torch.Tensor:
    return (counts(data) @ vectors.double()).float()


def mapped(data: FewQueries, ridge_map: float) -> torch.Tensor:
    frequencies, embedded = counts(data), torch.cat([TOKENS, torch.ones(N_TOKENS, 1)], dim=1).double()
    pooled = frequencies @ embedded
    penalty = torch.tensor([ridge_map] * HIDDEN + [1e-6]).double().diag()
    return embedded @ torch.linalg.solve(pooled.T @ pooled + penalty, pooled.T @ data.targets.double())


def settings(**changes) -> TableSettings:
    few = {"steps": 60, "batch": 32, "learning_rate": 0.03, "warm_up": 5}
    return from_value(TableSettings, {**few, **changes}, "table")


def test_the_fit_is_the_closed_form_of_both_regressions():
    data = FewQueries()
    frequencies, start = counts(data), mapped(data, 2.0)
    residual = data.targets.double() - frequencies @ start
    gram = frequencies.T @ frequencies
    change = torch.linalg.solve(gram + 0.05 * torch.eye(N_TOKENS).double(), frequencies.T @ residual)
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


def test_the_fit_reports_progress():
    data, calls = FewQueries(), []
    fit_table(data.batches(), TOKENS, iterations=3, progress=lambda *call: calls.append(call))
    assert [call for call in calls if call[0] == "Fitting token vectors"] == [
        ("Fitting token vectors", done, 3) for done in range(4)
    ]
    assert {"Reading texts for level 0", "Mapping word embeddings"} < {activity for activity, _, _ in calls}


@pytest.mark.parametrize("score_weight", [0.0, 0.3])
def test_tuning_brings_vectors_nearer_and_lowers_the_loss(tmp_path, score_weight):
    data = FewQueries()
    start = mapped(data, 2.0).float()
    tuning_settings = settings(score_weight=score_weight)
    tuning = TableTuning(start, data, tuning_settings, tmp_path)
    tuning.run()

    def quality(vectors: torch.Tensor) -> tuple[float, float]:
        query_vectors = F.normalize(means(vectors, data), dim=-1)
        temperature = tuning_settings.temperature
        scores = [log_scores(side, data.bank, temperature) for side in (query_vectors, data.targets)]
        cosine = (query_vectors * data.targets).sum(dim=-1).mean()
        loss = alignment(query_vectors, data.targets) + score_weight * score_divergence(*scores)
        return float(cosine), float(loss)

    (cosine_before, loss_before), (cosine, loss) = quality(start), quality(tuning.vectors)
    assert cosine > cosine_before + 0.1 and loss < loss_before - 0.2
    assert torch.equal(tuning.vectors[N_SEEN:], start[N_SEEN:])
    assert torch.equal(start, mapped(data, 2.0).float())


def test_the_first_step_is_that_of_adam(tmp_path):
    data, one_step = FewQueries(), settings(steps=1, warm_up=0)
    start = mapped(data, 2.0).float()
    batch = data.batch(0, one_step.batch, seed=0)
    reference = start.clone().requires_grad_()
    pooled = F.embedding(batch.token_ids, reference) * batch.mask[..., None]
    query_vectors = F.normalize(pooled.sum(dim=1) / batch.mask.sum(dim=1, keepdim=True), dim=-1)
    scores = (log_scores(side, batch.bank, 0.03) for side in (query_vectors, batch.targets))
    loss = alignment(query_vectors, batch.targets) + 0.3 * score_divergence(*scores)
    torch.autograd.backward(loss)
    torch.optim.Adam([reference], lr=one_step.learning_rate, eps=1e-12).step()
    tuning = TableTuning(start, data, one_step, tmp_path)
    tuning.run()
    large = reference.grad.abs() > 1e-5  # smaller gradients have a random sign
    torch.testing.assert_close(tuning.vectors[large], reference.detach()[large], rtol=0, atol=1e-5)


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    data, start = FewQueries(), mapped(FewQueries(), 2.0).float()
    whole = TableTuning(start, data, settings(steps=20), tmp_path / "whole")
    whole.run()
    TableTuning(start, data, settings(steps=20), tmp_path / "interrupted").run(until=8)
    data.read_steps.clear()
    resumed = TableTuning(start + 1, data, settings(steps=20), tmp_path / "interrupted")  # the checkpoint replaces it
    assert resumed.step == 8
    resumed.run()
    assert data.read_steps == list(range(8, 20))
    assert torch.equal(resumed.vectors, whole.vectors)
    last, last_of_whole = ((tmp_path / name / LOG).read_text().splitlines()[-1] for name in ("interrupted", "whole"))
    assert last == last_of_whole
    assert set(json.loads(last)) == {"step", "loss", "cosine"}


def test_other_settings_and_damaged_checkpoints_are_refused(tmp_path):
    data, start = FewQueries(), mapped(FewQueries(), 2.0).float()
    TableTuning(start, data, settings(steps=2), tmp_path).run()
    with pytest.raises(BadInputError, match=r"other settings \(steps, temperature\)"):
        TableTuning(start, data, settings(steps=4, temperature=0.05), tmp_path)
    with pytest.raises(BadInputError, match="this checkpoint cannot be used"):
        TableTuning(start[:-1], data, settings(steps=2), tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(BadInputError, match="this checkpoint cannot be used"):
        TableTuning(start, data, settings(steps=2), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": -1}, "table.steps: got -1, expected"),
        ({"typo_share": 1.5}, "table.typo_share: got 1.5, expected"),
        ({"temperature": 0.0}, "table.temperature: got 0.0, expected"),
        ({"learning_rate": float("nan")}, "table.learning_rate: got nan, expected"),
        ({"ridge": 0}, "table.ridge: got 0, expected"),
        ({"score_weight": -1.0}, "table.score_weight: got -1.0, expected"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(BadInputError, match=message):
        settings(**changes)


def test_a_fit_to_no_batches_is_refused():
    with pytest.raises(BadInputError, match="no batches to fit token vectors to, expected at least one"):
        fit_table([], TOKENS)
