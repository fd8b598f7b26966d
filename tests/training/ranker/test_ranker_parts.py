"""Parts of a ranker's training: losses, mixtures, labels, candidates, lists and steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from elastic_models import SHAPE, random_model
from tiny import VOCABULARY, one_thread

from elasticdenser.errors import BadInputError
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.heads import ElasticHead
from elasticdenser.models.ranker_manifest import PairSettings
from elasticdenser.models.scorer import ElasticScorer
from elasticdenser.models.scorer_init import centred, copy_trained_trunk, fit_score_exits
from elasticdenser.models.shape import ElasticShape
from elasticdenser.models.trunk import ElasticTrunk
from elasticdenser.rankers.pairs import PairTokenizer
from elasticdenser.training.loop import RunningMeans
from elasticdenser.training.ranker.candidates import make_pools
from elasticdenser.training.ranker.data import RankerBatch, RankerData, cached_passage_tokens
from elasticdenser.training.ranker.losses import gbce, listwise_kl, localized_contrastive, margin_mse, ranknet
from elasticdenser.training.ranker.queries import RankerQueries
from elasticdenser.training.ranker.ranker_training import RankerTraining
from elasticdenser.training.ranker.settings import ListSettings, RankerSettings
from elasticdenser.training.ranker.targets import labels_of, mix_scores

NAN = float("nan")
SCORES = torch.tensor([[1.0, 3.0, 2.0, 9.0], [0.5, -1.0, 7.0, 7.0]])
TARGETS = torch.tensor([[2.0, 1.0, 4.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
KNOWN = torch.tensor([[True, True, True, False], [True, True, False, False]])


def pairs_of(row: int):
    """Yield all ordered pairs of known columns."""
    columns = [column for column in range(4) if KNOWN[row, column]]
    return [(i, j) for i in columns for j in columns if i != j]


def test_margin_mse_is_the_mean_over_all_pairs():
    expected = []
    for row in range(2):
        margins = [(SCORES[row, i] - SCORES[row, j]) - (TARGETS[row, i] - TARGETS[row, j]) for i, j in pairs_of(row)]
        expected.append(float(torch.stack(margins).square().mean()))
    assert float(margin_mse(SCORES, TARGETS, KNOWN)) == pytest.approx(np.mean(expected))


def test_ranknet_counts_pairs_in_the_order_of_the_teacher():
    expected = []
    for row in range(2):
        losses = [
            float(torch.nn.functional.softplus(SCORES[row, j] - SCORES[row, i]))
            for i, j in pairs_of(row)
            if TARGETS[row, i] > TARGETS[row, j]
        ]
        expected.append(np.mean(losses))
    assert float(ranknet(SCORES, TARGETS, KNOWN)) == pytest.approx(np.mean(expected))


def test_listwise_kl_is_zero_for_the_teachers_own_scores():
    assert float(listwise_kl(TARGETS + 3, TARGETS, KNOWN)) == pytest.approx(0, abs=1e-6)
    expected = torch.nn.functional.kl_div(
        SCORES[0, :3].log_softmax(0), TARGETS[0, :3].softmax(0), reduction="sum"
    ) + torch.nn.functional.kl_div(SCORES[1, :2].log_softmax(0), TARGETS[1, :2].softmax(0), reduction="sum")
    assert float(listwise_kl(SCORES, TARGETS, KNOWN)) == pytest.approx(float(expected) / 2, rel=1e-5)


def test_localized_contrastive_compares_each_relevant_candidate_with_the_others():
    relevant = torch.tensor([[True, True, False, False], [False, False, False, False]])
    irrelevant = torch.tensor([[False, False, True, False], [True, True, False, False]])
    expected = np.mean([-float(torch.stack([SCORES[0, at], SCORES[0, 2]]).log_softmax(0)[0]) for at in (0, 1)])
    assert float(localized_contrastive(SCORES, relevant, irrelevant, 0.0)) == pytest.approx(expected)


def test_gbce_without_calibration_is_binary_cross_entropy():
    relevant = torch.tensor([[True, False, False, False]])
    irrelevant = torch.tensor([[False, True, True, False]])
    scores = SCORES[:1]
    softplus = torch.nn.functional.softplus
    expected = softplus(-scores[0, 0]) + softplus(scores[0, 1:3]).mean()
    assert float(gbce(scores, relevant, irrelevant, 0.0)) == pytest.approx(float(expected))
    # Calibrated, the relevant candidate counts for less.
    assert float(gbce(scores, relevant, irrelevant, 0.9)) < float(expected)


@pytest.mark.parametrize("loss", [margin_mse, ranknet, listwise_kl])
def test_without_known_scores_a_loss_is_zero_with_zero_gradient(loss):
    scores = SCORES.clone().requires_grad_()
    value = loss(scores, TARGETS, torch.zeros_like(KNOWN))
    torch.autograd.backward(value)
    assert float(value.detach()) == 0 and scores.grad is not None and not scores.grad.any()


@pytest.mark.parametrize("loss", [localized_contrastive, gbce])
def test_without_judgements_a_loss_is_zero_with_zero_gradient(loss):
    scores = SCORES.clone().requires_grad_()
    nothing = torch.zeros_like(KNOWN)
    value = loss(scores, nothing, nothing, 0.5)
    torch.autograd.backward(value)
    assert float(value.detach()) == 0 and scores.grad is not None and not scores.grad.any()


def test_teachers_are_mixed_within_each_pool():
    vectors = np.array([[0.2, 0.4, 0.6, NAN], [5, 5, NAN, NAN]], np.float32)
    words = np.array([[10, 0, 5, NAN], [0, 3, NAN, NAN]], np.float32)
    mixture = mix_scores([vectors, words], [1.0, 0.2])
    np.testing.assert_allclose(mixture, [[0.2, 0.5, 1.1, NAN], [0, 0.2, NAN, NAN]], atol=1e-6)


def test_unjudged_candidates_that_the_teacher_likes_are_no_negatives():
    queries = RankerQueries(texts=["a", "b"], judgements={0: {7: 1, 8: 0}}, hits={})
    pools = np.array([[7, 8, 5, 6, -1], [1, 2, 3, 4, -1]], np.int32)
    targets = np.array([[0.8, 1.0, 0.79, 0.3, NAN], [0, 0, 0, 0, NAN]], np.float32)
    assert labels_of(queries, pools, targets, 0.95).tolist() == [[1, 0, -1, 0, -1], [-1] * 5]
    assert labels_of(queries, pools, None, 0.95)[0].tolist() == [1, 0, 0, 0, -1]


class FakeIndex:
    """Index of 50 passages that finds those whose numbers follow the query's first vector component."""

    class manifest:
        vectors_sha256 = "x"

    def __len__(self) -> int:
        return 50

    def search(self, vectors, k):
        return None, (np.arange(k)[None] + vectors[:, :1].astype(int)) % 50


class FakeEncoder:
    class fingerprint:
        @staticmethod
        def to_json():
            return {"weights_sha256": "w", "settings": {}, "dtype": "float32"}

    calls = 0

    def encode(self, texts):
        self.calls += 1
        return np.array([[int(text)] for text in texts], np.float32)


def test_pools_hold_each_source_once(tmp_path):
    queries = RankerQueries(
        texts=[str(number) for number in range(6)], judgements={1: {2: 0, 30: 2}}, hits={2: {3: 9.0, 44: 8.0}}
    )
    encoder, settings = FakeEncoder(), ListSettings(n_hard=6, hard_depth=12, n_run=5, n_random=3, n_judged=4)

    def make():
        return make_pools(queries, FakeIndex(), encoder, None, settings, seed=3, folder=tmp_path)

    pools = np.array(make())
    assert pools.shape == (6, 2 + 2 + 6 + 3)  # no wider than the most judgements and hits of a query
    assert pools[1, :2].tolist() == [30, 2] and pools[0, :4].tolist() == [-1] * 4
    assert pools[2, 2:4].tolist() == [3, 44]
    assert pools[0, 4:7].tolist() == [0, 1, 2]  # the nearest ones, then drawn ones
    assert all(3 <= position < 12 for position in pools[0, 7:10])
    for pool in pools:
        present = pool[pool >= 0]
        assert len(set(present.tolist())) == len(present)
    assert np.array_equal(make(), pools) and encoder.calls == 1


@pytest.fixture(scope="module")
def lists(tiny_model, tmp_path_factory) -> RankerData:
    """Twelve queries over 30 passages; the teacher prefers passages that repeat the query's word."""
    tokenizer = PairTokenizer(tiny_model, len(VOCABULARY), PairSettings(max_length=32, max_query_length=8))
    words = ["dune", "sand", "book", "file", "lock", "sort"]
    contents = [f"{words[number % 6]} {number}" for number in range(30)]
    queries = RankerQueries(texts=[words[number % 6] for number in range(12)], judgements={0: {6: 1}}, hits={})
    rng = np.random.default_rng(0)
    pools = np.array([rng.permutation(30)[:7] for _ in range(12)], np.int32)
    pools[0, 0], pools[:, -1] = 6, -1
    targets = np.array([[position % 6 == row % 6 for position in pools[row]] for row in range(12)], np.float32)
    targets[pools < 0] = NAN
    path = tmp_path_factory.mktemp("tokens") / "tokens.bin"
    tokens = cached_passage_tokens(lambda rows: contents[rows], 30, tokenizer, len(VOCABULARY), path)
    assert tokens(4) == tokenizer.passage_tokens([contents[4]])[0]
    return RankerData(queries, pools, targets, labels_of(queries, pools, targets, 9.0), tokens, tokenizer)


def test_a_batch_depends_on_its_step_alone(lists):
    first = [lists.batch(step, 4, 3, seed=5, typo_share=0.5) for step in range(4)]
    again = [lists.batch(step, 4, 3, seed=5, typo_share=0.5) for step in reversed(range(4))][::-1]
    for one, other in zip(first, again, strict=True):
        assert one.pairs == other.pairs and torch.equal(one.labels, other.labels)
        assert torch.equal(one.targets.nan_to_num(), other.targets.nan_to_num())
    assert first[0].pairs != first[3].pairs  # the second epoch has another order
    for batch in first[:3]:
        assert len(batch) == 4 and all(len(pairs) == 3 for pairs in batch.pairs)
        relevant = (batch.labels == 1).sum(dim=1)
        assert set(relevant.tolist()) <= {0, 1}
    assert sum(int((batch.labels == 1).sum()) for batch in first[:3]) == 1  # drawn whenever there is one


def test_fewer_candidates_than_the_list_has_places(lists):
    batch = lists.batch(0, 12, 10, seed=5)
    assert {len(pairs) for pairs in batch.pairs} <= {5, 6} and batch.targets.shape == (12, 10)
    assert batch.targets[:, 6:].isnan().all() and (batch.labels[:, 6:] == -1).all()


def scorer(seed: int = 0, **changed) -> ElasticScorer:
    """Return a scorer of random weights."""
    one_thread()
    shape = ElasticShape(**{**SHAPE, "vocabulary": len(VOCABULARY), "n_positions": 32, "dim": 1, **changed})
    model = ElasticScorer(shape)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
            if "norm" in name:
                parameter.select(-2, 0).add_(1)
    return model


def training(model, lists, folder: Path, **changed) -> RankerTraining:
    settings = {"steps": 60, "batch": 4, "list_size": 6, "learning_rate": 3e-3, "exit_learning_rate": 1e-2}
    values = {**settings, "warm_up": 2, "typo_share": 0.0, "bfloat16": False, **changed}
    return RankerTraining(model, lists, RankerSettings(**values), folder)


@pytest.mark.slow
def test_training_lowers_the_loss_of_every_subnet(lists, tmp_path):
    model = scorer(n_layers=2, depths=(1, 2), widths=(1.0, 0.5))
    run = training(model, lists, tmp_path)
    run.run(until=1)
    before = dict(run.optimiser.losses.values)
    run.run(until=59)
    run.optimiser.losses = RunningMeans()  # of the last step alone
    run.run(until=60)
    after = run.optimiser.losses.values
    assert set(after) == {*map(str, model.shape.grid)}
    assert all(after[name] < 0.7 * before[name] for name in before), (before, after)


@pytest.mark.slow
def test_parts_of_a_batch_have_the_gradient_of_the_whole(lists, tmp_path, monkeypatch):
    from elasticdenser.training.ranker import ranker_training

    weights = []
    for max_tokens in (10**6, 1):
        monkeypatch.setitem(ranker_training._PART_TOKENS, "cpu", max_tokens)
        model = scorer(n_layers=2, depths=(1, 2), widths=(1.0,))
        training(model, lists, tmp_path / str(max_tokens), label_weight=0.0, inplace_share=0.0).run(until=3)
        weights.append(model.blocks[0].up.detach())
    torch.testing.assert_close(*weights, atol=1e-4, rtol=1e-3)


def test_the_largest_subnet_is_trained_at_every_step(lists, tmp_path):
    run = training(scorer(n_layers=2, depths=(1, 2), widths=(1.0, 0.5)), lists, tmp_path, n_sampled_subnets=1)
    for step in range(8):
        depths = run.optimiser.depths_by_width(step, always=run.model.shape.grid[0])
        assert 2 in depths[1.0] and 1 <= sum(map(len, depths.values())) <= 2


def test_losses_of_unknown_names_are_refused():
    with pytest.raises(BadInputError, match="got label_loss = 'hinge', expected one of lce, gbce"):
        RankerSettings(steps=1, label_loss="hinge")


def test_rows_of_a_batch():
    batch = RankerBatch(pairs=[[[1]], [[2], [3]]], targets=torch.zeros(2, 2), labels=torch.zeros(2, 2))
    assert batch.rows([1]).pairs == [[[2], [3]]]


def test_exits_are_fitted_within_lists(tmp_path):
    model = scorer(n_layers=2, depths=(1, 2), widths=(1.0, 0.5))
    generator = torch.Generator().manual_seed(1)
    token_ids = torch.randint(0, len(VOCABULARY), (200, 8), generator=generator)
    mask, lists = torch.ones(200, 8, dtype=torch.bool), torch.arange(200) // 8
    with torch.no_grad():
        # An exit that exists, and an offset of each list, which no exit could give.
        wanted = model(token_ids, mask, model.shape.grid[0])[:, 0] + 10 * lists
    fit_score_exits(model, [(token_ids, mask, wanted, lists)], ridge=1e-3)
    with torch.no_grad():
        fitted = model(token_ids, mask, model.shape.grid[0])[:, 0]
    torch.testing.assert_close(centred(fitted, lists), centred(wanted, lists), atol=0.02, rtol=0.02)


def test_heads_share_the_trunk():
    layers = ((0,), (0, 5), (0, 2, 5), (1, 2, 4, 5), (0, 1, 2, 3, 4, 5))
    encoder, ranker = random_model(layers=layers), scorer(vocabulary=50, n_positions=24)
    for kind in (ElasticBert, ElasticScorer):
        assert issubclass(kind, ElasticHead) and issubclass(kind, ElasticTrunk)
    assert set(ranker.state_dict()) - set(encoder.state_dict()) == {"segment"}
    copy_trained_trunk(ranker, encoder)
    token_ids, mask = torch.randint(0, 50, (3, 7)), torch.ones(3, 7, dtype=torch.bool)
    for depth in (1, 4, 6):
        states = [model.states_at_depths(token_ids, mask, 0.5, [depth])[depth] for model in (encoder, ranker)]
        torch.testing.assert_close(*states)
