"""Whole trainings of a tiny classifier: the teacher, the subnets, resumption, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from classifier_helpers import write_classifier_recipe, write_glue
from training_helpers import Recorder

from elasticdenser import ElasticClassifier, ElasticQueryEncoder, Subnet
from elasticdenser.errors import BadInputError, DataMissingError, ModelError
from elasticdenser.models.classifier_manifest import read_classifier_manifest
from elasticdenser.models.elastic_files import save_elastic
from elasticdenser.models.elastic_init import elastic_from_full
from elasticdenser.models.locate import find_model
from elasticdenser.models.settings import read_settings
from elasticdenser.training.classifier.initialisation import new_classifier
from elasticdenser.training.classifier.losses import label_loss, output_loss, state_loss
from elasticdenser.training.classifier.recipe import ClassifierRecipe
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.kinds import read_any_recipe, train_model


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_glue(folder)
    return folder


def run(recipe, data_folder, output, recorder=None, **options):
    recorder = recorder or Recorder()
    settings = TrainOptions(data=data_folder, device="cpu", offline=True, **options)
    return train_model(recipe, output, settings, progress=recorder, log=recorder.messages.append)


@pytest.fixture(scope="module")
def trained(data_folder, tiny_model, tmp_path_factory):
    recorder, output = Recorder(), tmp_path_factory.mktemp("models") / "whole"
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model))
    return run(recipe, data_folder, output, recorder), recorder


def test_a_training_makes_a_classifier(trained, tiny_model):
    result, recorder = trained
    classifier = ElasticClassifier.from_pretrained(result.folder)
    assert classifier.task == "RTE" and classifier.labels == ("entailment", "not_entailment")
    assert [*result.measures] == classifier.subnets and len(classifier.subnets) == 6
    assert all(0 <= measures["accuracy"] <= 1 for measures in result.measures.values())
    provenance = read_classifier_manifest(result.folder).provenance
    assert provenance["name"] == str(tiny_model) and provenance["teacher"] == result.teacher
    assert provenance["plan"]["steps"]["steps"] == 5 and provenance["seed"] == 1
    assert {"Fine-tuning the full encoder", "Outputs of the full encoder", "Training"} <= recorder.activities
    assert "RTE: 24 training examples, 6 subnets" in recorder.messages
    losses = [json.loads(line) for line in (result.run / "losses.jsonl").read_text().splitlines()]
    assert losses[-1]["step"] == 5 and set(losses[-1]["loss"]) == set(map(str, classifier.subnets))
    assert all(np.isfinite(loss) for loss in losses[-1]["loss"].values())


def test_what_is_finished_is_not_repeated(trained, data_folder, tiny_model):
    result, _ = trained
    again = Recorder()
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model))
    assert run(recipe, data_folder, result.folder, again).measures == result.measures
    assert not again.activities & {"Fine-tuning the full encoder", "Outputs of the full encoder", "Training"}


@pytest.mark.parametrize("stop_at", [("Fine-tuning the full encoder", 2), ("Training", 3)])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(trained, data_folder, tiny_model, tmp_path, stop_at):
    result, _ = trained
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model))
    with pytest.raises(KeyboardInterrupt):
        run(recipe, data_folder, tmp_path / "out", Recorder(stop_at), save_every_s=0)
    assert not (tmp_path / "out").exists()
    recorder = Recorder()
    run(recipe, data_folder, tmp_path / "out", recorder)
    assert (stop_at[0], 1) not in recorder.calls
    weights = [(folder / "classifier.safetensors").read_bytes() for folder in (tmp_path / "out", result.folder)]
    assert weights[0] == weights[1]


def test_a_subnet_alone_shares_the_teacher(trained, data_folder, tiny_model, tmp_path):
    result, _ = trained
    recorder = Recorder()
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model)).changed(subnets=("w0.5-d1",))
    alone = run(recipe, data_folder, tmp_path / "alone", recorder, work=result.run.parent)
    assert [*alone.measures] == [Subnet(0.5, 1)] and alone.teacher == result.teacher
    assert "Fine-tuning the full encoder" not in recorder.activities and alone.run != result.run


def test_another_seed_gives_another_teacher_and_other_weights(trained, data_folder, tiny_model, tmp_path):
    result, _ = trained
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model)).changed(seed=2)
    assert (recipe.seed, recipe.train.seed, recipe.teacher.seed) == (2, 2, 2)
    other = run(recipe, data_folder, tmp_path / "other", work=result.run.parent)
    assert len([*result.run.parent.glob("teacher-*/model")]) == 2
    weights = [(folder / "classifier.safetensors").read_bytes() for folder in (other.folder, result.folder)]
    assert weights[0] != weights[1]


def test_fewer_steps_match_states_for_the_same_share(data_folder, tiny_model):
    change = ("steps = 5", "steps = 8\nstate_steps = 4")
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, change))
    assert [recipe.changed(steps=steps).train.state_steps for steps in (1, 4, 16)] == [0, 2, 4]


def test_states_inplace_distillation_and_a_trained_start(data_folder, tiny_model, tiny_elastic, tmp_path):
    changes = (
        ("importance_batches = 1", f'model = "{tiny_elastic}"'),
        ('task = "RTE"', 'task = "SST-2"\nlayers = "first"\ndepths = [1, 2]\nlimit = 16'),
        ("steps = 5", "steps = 5\nstate_steps = 2\ninplace_share = 0.5\ntypo_share = 0.5\nn_sampled_subnets = 1"),
        ("bfloat16 = false", "bfloat16 = true"),
    )
    recorder = Recorder()
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, *changes))
    result = run(recipe, data_folder, tmp_path / "out", recorder)
    assert "SST-2: 16 training examples, 6 subnets" in recorder.messages
    assert read_classifier_manifest(result.folder).settings.layers == "first"


@pytest.fixture
def with_chosen_layers(tiny_model, tmp_path) -> Path:
    model = elastic_from_full(tiny_model, read_settings(tiny_model), widths=(1.0, 0.5), layers=((1,), (0, 1)))
    provenance = {"name": str(tiny_model), "weights_sha256": find_model(str(tiny_model)).sha256}
    save_elastic(tmp_path / "elastic", base=tiny_model, model=model, provenance=provenance)
    return tmp_path / "elastic"


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ("", {1: (1,), 2: (0, 1)}),
        ('layers = "first"', {1: (0,), 2: (0, 1)}),
        ('layers = "first"\ndepths = [2]', {2: (0, 1)}),
    ],
)
def test_a_start_with_chosen_layers(with_chosen_layers, data_folder, tiny_model, changes, layers):
    start = ("importance_batches = 1", f'model = "{with_chosen_layers}"')
    recipe = read_any_recipe(
        write_classifier_recipe(data_folder, tiny_model, start, ('task = "RTE"', f'task = "RTE"\n{changes}'))
    )
    model = new_classifier(recipe, ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32"))
    assert {depth: sum(model.layers_of(depth), ()) for depth in model.shape.depths} == layers
    assert bool(model.shape.layers) == (changes == "")


def test_chosen_layers_have_their_depths(with_chosen_layers, data_folder, tiny_model):
    start = ("importance_batches = 1", f'model = "{with_chosen_layers}"')
    recipe = read_any_recipe(
        write_classifier_recipe(data_folder, tiny_model, start, ('task = "RTE"', 'task = "RTE"\ndepths = [2]'))
    )
    with pytest.raises(BadInputError, match="other depths than its own, whose layers were chosen"):
        new_classifier(recipe, ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32"))


def test_a_regression_needs_no_teacher(data_folder, tiny_model, tmp_path):
    text = write_classifier_recipe(data_folder, tiny_model, ('task = "RTE"', 'task = "STS-B"')).read_text()
    before, _, rest = text.partition("[teacher]")
    (tmp_path / "recipe.toml").write_text(before + "[train]" + rest.partition("[train]")[2])
    result = run(read_any_recipe(tmp_path / "recipe.toml"), data_folder, tmp_path / "out")
    assert result.teacher is None and set(result.measures[Subnet(1.0, 2)]) == {"pearson", "spearman"}


@pytest.mark.slow
def test_training_learns_what_can_be_learnt(data_folder, tiny_model, tmp_path):
    glue = tmp_path / "glue" / "SST-2"
    glue.mkdir(parents=True)
    lines = [f"{'good' if i % 2 else 'zzz'} {'dune' if i % 3 else 'csv'}\t{i % 2}" for i in range(24)]
    for split in ("train", "dev"):
        (glue / f"{split}.tsv").write_text("sentence\tlabel\n" + "\n".join(lines) + "\n")
    changes = (('task = "RTE"', 'task = "SST-2"'), ("steps = 3", "steps = 40\nlearning_rate = 1e-3"))
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, *changes)).changed(steps=60)
    result = run(recipe, tmp_path, tmp_path / "out")
    assert result.teacher == {"accuracy": 1.0}
    assert all(measures["accuracy"] == 1 for measures in result.measures.values())


def test_losses_are_zero_where_nothing_differs():
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.0]])
    assert output_loss(logits, logits, 2.0).item() == pytest.approx(0, abs=1e-6)
    assert output_loss(logits, -logits, 2.0).item() > 0.1
    assert label_loss(torch.tensor([[9.0, -9.0]]), torch.tensor([0.0])).item() < 1e-6
    assert label_loss(torch.tensor([[0.5]]), torch.tensor([1.0])).item() == pytest.approx(0.25)
    states, mask = torch.ones(1, 2, 4), torch.tensor([[True, False]])
    other = torch.stack([torch.ones(4), torch.zeros(4)])[None]
    assert state_loss(states, other, mask).item() == 0  # they differ in the padding alone
    assert state_loss(states, other, ~mask).item() == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('task = "RTE"', 'task = "WSC"'), "got the task 'WSC', expected one of CoLA"),
        (('task = "RTE"', 'task = "RTE"\nlayers = "last"'), "got layers = 'last'"),
        (("steps = 5", "steps = 5\nstate_steps = 5"), "got state_steps = 5, expected fewer than steps = 5"),
        (("steps = 5", "steps = 5\nlabel_weight = 0.0\nteacher_weight = 0.0"), "expected one above 0"),
        (("steps = 5", "steps = 5\nvariant_share = 0.1"), "got a variant_share"),
        (("steps = 3", 'steps = 3\nsubnets = ["w1-d2"]'), "got teacher.subnets, expected none"),
    ],
)
def test_a_wrong_recipe_is_refused(data_folder, tiny_model, change, message):
    with pytest.raises(BadInputError, match=message):
        read_any_recipe(write_classifier_recipe(data_folder, tiny_model, change))


def test_what_is_missing_shows_at_once(data_folder, tiny_model, tmp_path):
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, ('task = "RTE"', 'task = "CoLA"')))
    assert isinstance(recipe, ClassifierRecipe)
    with pytest.raises(DataMissingError, match=r"there is no train.tsv"):
        run(recipe, data_folder, tmp_path / "out")
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, ("max_length = 48", "max_length = 999")))
    with pytest.raises(ModelError, match="got max_length = 999 for an encoder of 64 positions"):
        run(recipe, data_folder, tmp_path / "out")
    with pytest.raises(BadInputError, match="a classifier searches no passages"):
        recipe.changed(index="indexes/mine")
