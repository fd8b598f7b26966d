import pytest
import torch
import torch.nn.functional as F

from elasticdenser.training.losses import alignment, log_scores, score_divergence


def random_vectors(n, seed, dim=16):
    return F.normalize(torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)), dim=-1)


def divergence(vectors, targets, bank, temperature):
    return score_divergence(*(log_scores(side, bank, temperature) for side in (vectors, targets))).item()


def test_alignment_is_the_squared_distance():
    vectors, targets = random_vectors(5, 0), random_vectors(5, 1)
    assert alignment(targets, targets) == 0
    cosine = (vectors * targets).sum(dim=-1).mean()
    assert alignment(vectors, targets).item() == pytest.approx(2 - 2 * cosine.item(), abs=1e-6)


def test_score_divergence_is_kl_from_the_full_encoder():
    vectors, targets, bank = random_vectors(4, 0), random_vectors(4, 1), random_vectors(30, 2)
    target_scores, scores = ((side @ bank.T / 0.05).softmax(dim=-1) for side in (targets, vectors))
    expected = (target_scores * (target_scores.log() - scores.log())).sum(dim=-1).mean()
    assert divergence(vectors, targets, bank, 0.05) == pytest.approx(expected.item(), rel=1e-4)
    assert divergence(targets, targets, bank, 0.05) == pytest.approx(0, abs=1e-6)


def test_score_divergence_ignores_what_changes_no_ranking():
    """An error at right angles to all passages changes no score."""
    targets, bank = random_vectors(4, 1), random_vectors(30, 2)
    targets, bank = (F.pad(side, (0, 1)) for side in (targets, bank))
    moved = targets.clone()
    moved[:, -1] = 0.5
    assert divergence(moved, targets, bank, 0.03) == pytest.approx(0, abs=1e-6)
    assert alignment(moved, targets) > 0.2
