"""Training of a classifier whose lower layers are frozen and recycled."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from classifier_helpers import write_classifier_recipe, write_glue
from safetensors.torch import load_file
from training_helpers import Recorder

from elasticdenser.errors import BadInputError, QueryError
from elasticdenser.training.classifier import recycled_layers
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.kinds import read_any_recipe, train_model

TEACHER = ("steps = 3", "steps = 8\nrecycled_layers = 1")
FULL = ("steps = 5", 'steps = 5\nsubnets = ["w1-d2"]')


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_glue(folder)
    return folder


def run(recipe, data_folder, output, recorder=None, **options):
    settings = TrainOptions(data=data_folder, device="cpu", offline=True, **options)
    return train_model(recipe, output, settings, progress=recorder or Recorder())


def teacher_of(work):
    (folder,) = work.glob("teacher-*")
    return folder, torch.load(folder / "checkpoint.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def recycled(data_folder, tiny_model, tmp_path_factory):
    output = tmp_path_factory.mktemp("recycled") / "out"
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, TEACHER, FULL))
    return run(recipe, data_folder, output)


def test_lower_layers_stay_and_their_states_are_kept(recycled, tiny_model):
    work = recycled.run.parent
    folder, weights = teacher_of(work)
    start = load_file(tiny_model / "model.safetensors")
    assert torch.equal(weights["tokens"], next(start[name] for name in start if "word_embeddings" in name))
    lower = next(name for name in start if name.endswith("layer.0.output.dense.weight"))
    upper = lower.replace("layer.0", "layer.1")
    assert torch.equal(weights["blocks.0.down"], start[lower])
    assert not torch.equal(weights["blocks.1.down"], start[upper])
    (cache,) = work.glob("activations-*-float16")
    assert json.loads((cache / "cache.json").read_text())["layer"] == 1
    assert len([*cache.glob("*.activations")]) == 1
    assert json.loads((folder / "plan.json").read_text())["steps"]["recycled_layers"] == 1


def test_cached_states_train_as_computed_ones_do(recycled, data_folder, tiny_model, tmp_path):
    change = (TEACHER[0], TEACHER[1] + "\nrecycled_gb = 0.0")
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, change, FULL))
    run(recipe, data_folder, tmp_path / "out", work=tmp_path / "work")
    assert not [*(tmp_path / "work").glob("activations-*")]
    (_, cached), (_, computed) = teacher_of(recycled.run.parent), teacher_of(tmp_path / "work")
    assert all(torch.allclose(cached[name], computed[name], atol=1e-4) for name in cached)


def test_another_training_finds_the_states(recycled, data_folder, tiny_model, tmp_path, monkeypatch):
    (cache,) = recycled.run.parent.glob("activations-*")
    shutil.copytree(cache, tmp_path / "work" / cache.name)
    opened = []
    original = recycled_layers.ActivationCache
    monkeypatch.setattr(
        recycled_layers, "ActivationCache", lambda *args, **kw: opened.append(original(*args, **kw)) or opened[-1]
    )
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, TEACHER, FULL)).changed(seed=2)
    run(recipe, data_folder, tmp_path / "out", work=tmp_path / "work")
    assert opened[0].counts.read == 64 and opened[0].counts.computed == 0  # 8 steps of 8


def test_an_interrupted_training_ends_as_an_uninterrupted_one(recycled, data_folder, tiny_model, tmp_path):
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, TEACHER, FULL))
    with pytest.raises(KeyboardInterrupt):
        stop = Recorder(("Fine-tuning the full encoder", 4))
        run(recipe, data_folder, tmp_path / "out", stop, save_every_s=0, work=tmp_path / "work")
    run(recipe, data_folder, tmp_path / "out", work=tmp_path / "work")
    (_, whole), (_, resumed) = teacher_of(recycled.run.parent), teacher_of(tmp_path / "work")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_subnets_of_one_width_are_trained_on_recycled_layers(data_folder, tiny_model, tmp_path):
    change = ("steps = 5", 'steps = 5\nrecycled_layers = 1\nrecycled_dtype = "int8"\nsubnets = ["w1-d1", "w1-d2"]')
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, change))
    result = run(recipe, data_folder, tmp_path / "out", work=tmp_path / "work")
    assert len(result.measures) == 2 and len([*(tmp_path / "work").glob("activations-*-int8")]) == 1
    with pytest.raises(BadInputError, match=r"subnets of the widths 1.0, 0.5.*name 'subnets' of one width"):
        run(recipe.changed(subnets=("w1-d2", "w0.5-d2")), data_folder, tmp_path / "widths")
    with pytest.raises(QueryError, match="got subnet w1-d1, which has the layers 0, expected one with the first 2"):
        change = ("steps = 5", "steps = 5\nrecycled_layers = 2\nsubnets = ['w1-d1']")
        run(read_any_recipe(write_classifier_recipe(data_folder, tiny_model, change)), data_folder, tmp_path / "deep")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("recycled_layers = 1\ntypo_share = 0.1", "got recycled_layers = 1 with typo_share or tune_tokens"),
        ("recycled_layers = 1\ntune_tokens = true", "leave them out"),
        ('recycled_dtype = "int4"', "got recycled_dtype = 'int4'"),
        ("recycled_layers = -1", "recycled_layers"),
    ],
)
def test_what_would_change_the_states_is_refused(data_folder, tiny_model, settings, message):
    with pytest.raises(BadInputError, match=message):
        read_any_recipe(write_classifier_recipe(data_folder, tiny_model, ("steps = 3", f"steps = 3\n{settings}")))
