import json
import random

import pytest
import torch
import torch.nn.functional as F

from elasticdenser.dataclass_io import from_value
from elasticdenser.errors import BadInputError, QueryError
from elasticdenser.models.elastic import ElasticBert
from elasticdenser.models.shape import ElasticShape
from elasticdenser.subnet import Subnet
from elasticdenser.training.batches import Batch
from elasticdenser.training.checkpoints import CHECKPOINT, LOG
from elasticdenser.training.distil import Distillation
from elasticdenser.training.settings import DistilSettings

SHAPE = ElasticShape(
    n_layers=3,
    n_heads=4,
    hidden=32,
    n_neurons=64,
    vocabulary=50,
    n_positions=16,
    dim=32,
    widths=(1.0, 0.5),
    depths=(1, 2, 3),
)


def random_model(seed: int = 0) -> ElasticBert:
    generator = torch.Generator().manual_seed(seed)
    model = ElasticBert(SHAPE)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.select(-2, 0).fill_(1.0)
            elif "bias" not in name:
                parameter.normal_(std=0.2, generator=generator)
    return model


class FewQueries:
    """Sixty-four sequences with the vectors of another random model as targets."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(7)
        self.token_ids = torch.randint(0, SHAPE.vocabulary, (64, 8), generator=generator)
        self.mask = torch.ones(64, 8, dtype=torch.bool)
        with torch.no_grad():
            self.targets = F.normalize(random_model(1)(self.token_ids, self.mask, Subnet(1.0, 3)), dim=-1)
        self.bank = F.normalize(torch.randn(40, SHAPE.dim, generator=generator), dim=-1)
        self.read_steps: list[int] = []

    def batch(
        self, step: int, size: int, *, seed: int, typo_share: float, variant_share: float, n_random: int, order: None
    ) -> Batch:
        self.read_steps.append(step)
        rows = random.Random(f"{seed} {step}").sample(range(64), size)
        return Batch(token_ids=self.token_ids[rows], mask=self.mask[rows], targets=self.targets[rows], bank=self.bank)


def settings(**changes) -> DistilSettings:
    few = {"steps": 60, "batch": 16, "learning_rate": 3e-3, "exit_learning_rate": 3e-3, "warm_up": 5}
    return from_value(DistilSettings, {**few, "bfloat16": False, **changes}, "distil")


def cosines(model: ElasticBert, data: FewQueries) -> dict[str, float]:
    with torch.no_grad():
        return {
            str(subnet): F.cosine_similarity(model(data.token_ids, data.mask, subnet), data.targets).mean().item()
            for subnet in SHAPE.grid
        }


@pytest.mark.slow
@pytest.mark.parametrize("bfloat16", [False, True])
def test_every_subnet_comes_nearer_to_the_targets(tmp_path, bfloat16):
    model, data = random_model(), FewQueries()
    before = cosines(model, data)
    Distillation(model, data, settings(bfloat16=bfloat16), tmp_path).run()
    after = cosines(model, data)
    assert all(after[name] > before[name] + 0.3 for name in before), (before, after)


@pytest.mark.slow
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path):
    whole, data = random_model(), FewQueries()
    Distillation(whole, data, settings(steps=20), tmp_path / "whole").run()

    interrupted = random_model()
    Distillation(interrupted, data, settings(steps=20), tmp_path / "interrupted").run(until=8)
    resumed_model = random_model(seed=3)  # other weights, which the checkpoint replaces
    data.read_steps.clear()
    resumed = Distillation(resumed_model, data, settings(steps=20), tmp_path / "interrupted")
    assert resumed.step == 8
    resumed.run()
    assert data.read_steps == list(range(8, 20))
    for name, parameter in whole.state_dict().items():
        torch.testing.assert_close(resumed_model.state_dict()[name], parameter, rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_an_interruption_costs_the_steps_after_the_last_checkpoint(tmp_path):
    data = FewQueries()

    def interrupt(activity, done, total):
        if done == 11:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Distillation(random_model(), data, settings(steps=20), tmp_path).run(save_every_s=-1, progress=interrupt)
    assert Distillation(random_model(), data, settings(steps=20), tmp_path).step == 10


@pytest.mark.slow
def test_token_vectors_are_trained_only_with_tune_tokens(tmp_path):
    data = FewQueries()
    for tune, name in ((False, "frozen"), (True, "tuned")):
        model = random_model()
        before = model.tokens.clone()
        Distillation(model, data, settings(steps=3, tune_tokens=tune), tmp_path / name).run()
        assert torch.equal(model.tokens, before) is not tune


def test_other_settings_and_damaged_checkpoints_are_refused(tmp_path):
    data = FewQueries()
    Distillation(random_model(), data, settings(steps=2), tmp_path).run()
    with pytest.raises(BadInputError, match=r"other settings \(steps, temperature\)"):
        Distillation(random_model(), data, settings(steps=4, temperature=0.05), tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"nothing")
    with pytest.raises(BadInputError, match="this checkpoint cannot be used"):
        Distillation(random_model(), data, settings(steps=2), tmp_path)


def test_losses_are_logged_by_subnet(tmp_path):
    Distillation(random_model(), FewQueries(), settings(steps=3), tmp_path).run()
    (line,) = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert line["step"] == 3
    assert set(line["cosine"]) == {str(subnet) for subnet in SHAPE.grid}


def test_the_learning_rate_warms_up_and_falls():
    schedule = settings(steps=100, warm_up=10, final_share=0.1)
    shares = [schedule.learning_rate_share(step) for step in range(100)]
    assert shares[0] == 0.1 and shares[9] == 1.0
    assert shares[9:] == sorted(shares[9:], reverse=True)
    assert shares[-1] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    "changes",
    [{"steps": -1}, {"batch": 0}, {"typo_share": 1.5}, {"clip": 0}, {"n_sampled_subnets": -1}, {"subnets": ["small"]}],
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises((BadInputError, QueryError), match="expected"):
        settings(**changes)


def test_a_checkpoint_with_settings_that_no_longer_exist_is_refused(tmp_path):
    Distillation(random_model(), FewQueries(), settings(steps=2), tmp_path).run()
    checkpoint = torch.load(tmp_path / CHECKPOINT)
    checkpoint["settings"]["removed"] = 1
    torch.save(checkpoint, tmp_path / CHECKPOINT)
    with pytest.raises(BadInputError, match=r"other settings \(removed\)"):
        Distillation(random_model(), FewQueries(), settings(steps=2), tmp_path)
