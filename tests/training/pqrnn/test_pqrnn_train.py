"""Trainings of pQRNNs: recipes, interruptions, and the command line up to a search."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import run
from recipe_scripts import RECIPES
from training_helpers import Recorder, write_data

from elasticdenser import ElasticQueryEncoder
from elasticdenser.cli.encoder_check import check_encoder
from elasticdenser.errors import BadInputError, BuildError
from elasticdenser.models.pqrnn_manifest import PQRNNManifest
from elasticdenser.models.projection import ProjectionSettings, WordProjection
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.kinds import read_any_recipe, train_model
from elasticdenser.training.pqrnn.recipe import PQRNNRecipe
from elasticdenser.training.pqrnn.words import WordReader

RECIPE = """
trains = "pqrnn"
title = "tiny"
seed = 1
teacher = "{teacher}"
target_dtype = "float32"
passages = ["corpus.jsonl"]
n_neighbours = 2
max_length = 60
[[texts]]
path = "queries.txt"
kind = "queries"
[projection]
n_features = 64
[model]
bottleneck = 32
hidden = 24
n_layers = 1
[distil]
steps = 30
batch = 16
learning_rate = 1e-2
warm_up = 3
n_random = 8
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_model) -> Path:
    write_data(tmp_path)
    (tmp_path / "recipe.toml").write_text(RECIPE.format(teacher=tiny_model))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe_of(folder: Path) -> PQRNNRecipe:
    recipe = read_any_recipe(folder / "recipe.toml")
    assert isinstance(recipe, PQRNNRecipe)
    return recipe


@pytest.mark.slow
def test_the_command_line_leads_from_a_recipe_to_a_search(folder, tiny_model):
    trained = run("train", "recipe.toml", "-o", "small", "--device", "cpu", "--offline")
    assert trained.exit_code == 0, trained.output
    assert "small: a pQRNN of" in trained.stderr and "now try:  elasticdenser search" in trained.stderr
    losses = [json.loads(line) for line in next(Path("small.work").glob("run-*/losses.jsonl")).read_text().splitlines()]
    assert losses[-1]["step"] == 30 and losses[-1]["loss"] < losses[0]["loss"]
    built = run("index", "corpus.jsonl", "-o", "index", "--encoder", str(tiny_model), "--precision", "fp32")
    assert built.exit_code == 0, built.output
    hits = run("search", "index", "dune desert planet", "--encoder", "small", "-k", "5", "--json")
    assert hits.exit_code == 0, hits.output
    assert len(hits.stdout.splitlines()) > 0
    refused = run("index", "corpus.jsonl", "-o", "index2", "--encoder", "small")
    assert refused.exit_code == 1 and "which encodes queries only" in refused.stderr
    report = str(check_encoder("small", download=False, trust_remote_code=False))
    assert "a student, for queries only" in report and "a pQRNN" in report and "up to 60 bytes" in report


@pytest.mark.slow
def test_vectors_come_closer_to_the_teachers(folder, tiny_query_encoder):
    queries = Path("queries.txt").read_text().splitlines()
    expected = tiny_query_encoder.encode(queries)
    cosines = []
    for steps in (1, 120):
        train_model(recipe_of(folder).changed(steps=steps), folder / f"after-{steps}", TrainOptions(data=folder))
        vectors = ElasticQueryEncoder.from_pretrained(str(folder / f"after-{steps}")).encode(queries)
        cosines.append(float((vectors * expected).sum(axis=1).mean()))
    assert cosines[1] > cosines[0] + 0.2 and cosines[1] > 0.7


@pytest.mark.slow
def test_an_interrupted_training_ends_as_an_uninterrupted_one(folder):
    recipe, options = recipe_of(folder), TrainOptions(data=folder, save_every_s=0)
    recipe = replace(recipe, model=replace(recipe.model, dropout=0.2, zoneout=0.2))
    train_model(recipe, folder / "whole", options)
    with pytest.raises(KeyboardInterrupt):
        train_model(recipe, folder / "cut", options, progress=Recorder(stop_at=("Training", 20)))
    recorder = Recorder()
    train_model(recipe, folder / "cut", options, progress=recorder)
    assert min(done for activity, done in recorder.calls if activity == "Training") >= 19
    for name in ("model.safetensors", "pqrnn.json"):
        assert (folder / "whole" / name).read_bytes() == (folder / "cut" / name).read_bytes()


def test_features_of_padded_batches_are_those_of_the_words():
    projection = WordProjection(ProjectionSettings(n_features=64))
    settings = EncoderSettings(pooling="mean", normalize=True, max_length=12, dim=4)
    reader = WordReader(projection, settings)
    first, second = reader._tokenize(["Who wrote dune", "dune?"], "")
    assert first == [0, 1, 2] and second == [3, 4]  # "dune" is cut to "du" at 12 bytes
    more = reader._tokenize([f"w{number}" for number in range(2000)], "")
    numbers = torch.tensor([[*second, 0], [more[-1][0], 0, 0]])
    np.testing.assert_array_equal(reader.features(numbers)[1, 0], projection(["w1999"])[0])
    np.testing.assert_array_equal(reader.features(numbers)[0, 1], projection(["?"])[0])


def test_unusable_recipes_and_options_are_refused(folder):
    recipe = recipe_of(folder)
    assert recipe.model.n_features == 64 and recipe.distil.seed == 1
    text = (folder / "recipe.toml").read_text()
    for old, new, message in (
        ("[model]", "[model]\nn_features = 32", "leave out the first"),
        ("max_length = 60", "max_length = 2", "expected at least 3 bytes"),
        ('kind = "queries"', 'kind = "queries"\n[table]\nsteps = 1', "table"),
        ("steps = 30", "steps = 0", "steps"),
    ):
        (folder / "recipe.toml").write_text(text.replace(old, new))
        with pytest.raises(BadInputError, match=message):
            read_any_recipe(folder / "recipe.toml")
    with pytest.raises(BadInputError, match="a pQRNN starts from random weights"):
        recipe.changed(encoder="x")
    with pytest.raises(BadInputError, match="expected at least 1"):
        recipe.changed(steps=0)
    with pytest.raises(BadInputError, match="the recipe names sources that are missing"):
        train_model(recipe, folder / "small", TrainOptions(data=folder / "nowhere"))
    with pytest.raises(BuildError, match="it holds something other than a pQRNN"):
        train_model(recipe, folder, TrainOptions(data=folder))


def test_the_recipe_makes_a_model_of_at_most_two_megabytes():
    recipe = read_any_recipe(RECIPES / "pqrnn-queries.toml")
    assert isinstance(recipe, PQRNNRecipe) and recipe.distil.typo_share > 0
    manifest = PQRNNManifest(
        projection=recipe.projection, shape=recipe.model, dim=384, max_length=recipe.max_length, provenance={}
    )
    assert sum(int(np.prod(shape)) for shape in manifest.tensor_shapes().values()) < 2e6
