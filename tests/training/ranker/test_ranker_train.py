"""Whole trainings of a tiny ranker: the model, the caches, resumption, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ranker_helpers import write_ranker_recipe, write_train_set
from training_helpers import Recorder, write_data, write_recipe

from elasticdenser.errors import BadInputError, BuildError, ModelError
from elasticdenser.models.calibration import Calibration
from elasticdenser.models.ranker_manifest import read_ranker_manifest
from elasticdenser.rankers import ElasticRanker
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.kinds import read_any_recipe, train_model
from elasticdenser.training.ranker.recipe import RankerRecipe
from elasticdenser.training.recipe import Recipe


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    write_train_set(folder)
    return folder


def run(recipe, data_folder: Path, output: Path, recorder: Recorder | None = None, **options):
    recorder = recorder or Recorder()
    settings = TrainOptions(data=data_folder, device="cpu", offline=True, workers=1, **options)
    return train_model(recipe, output, settings, progress=recorder, log=recorder.messages.append)


@pytest.fixture(scope="module")
def trained(data_folder, tiny_model, tmp_path_factory):
    """Result of a finished training, and its recorder."""
    recorder, output = Recorder(), tmp_path_factory.mktemp("models") / "whole"
    return run(read_any_recipe(write_ranker_recipe(data_folder, tiny_model)), data_folder, output, recorder), recorder


@pytest.mark.slow
def test_a_training_makes_a_ranker(trained, tiny_model):
    result, recorder = trained
    ranker = ElasticRanker.from_pretrained(result.folder)
    assert [*map(str, ranker.subnets)] == ["w1-d2", "w0.5-d2", "w1-d1", "w0.25-d2", "w0.5-d1", "w0.25-d1"]
    assert [*result.subnets] == ranker.subnets
    scores = ranker.score("dune", ["dune desert", "csv file"], "w0.5-d1")
    assert scores.shape == (2,) and np.isfinite(scores).all()
    provenance = read_ranker_manifest(result.folder).provenance
    assert provenance["name"] == str(tiny_model) and provenance["step"] == result.step in (8, 10)
    assert provenance["plan"]["train"]["steps"] == 10
    assert 0 < provenance["first_stage"]["dev dev nDCG@10"] <= 1
    assert set(provenance["measures"]["dev dev nDCG@10"]) == {*map(str, result.subnets)}
    assert set(read_ranker_manifest(result.folder).calibration) == {*map(str, result.subnets)}
    assert ranker.calibration("w0.5-d1") != Calibration()
    assert any("50 training queries, 20 of them with judgements; 40 passages" in text for text in recorder.messages)
    assert {
        "Finding candidates",
        "Encoding candidates with the teacher",
        "Scoring candidates by encoder",
        "Tokenising passages",
        "Fitting the exits",
        "Training",
        "Measuring snapshots",
    } <= recorder.activities
    losses = [json.loads(line) for line in (result.run / "losses.jsonl").read_text().splitlines()]
    assert losses[-1]["step"] == 10 and set(losses[-1]["loss"]) == {*map(str, result.subnets)}
    assert all(np.isfinite(loss) for loss in losses[-1]["loss"].values())


def test_what_is_finished_is_not_repeated(trained, data_folder, tiny_model):
    result, _ = trained
    again = Recorder()
    recipe = read_any_recipe(write_ranker_recipe(data_folder, tiny_model))
    assert run(recipe, data_folder, result.folder, again).step == result.step
    assert not again.activities & {"Finding candidates", "Encoding candidates with the teacher", "Tokenising passages"}
    assert not again.activities & {"Fitting the exits", "Training"}
    assert f"resumes in {result.run} at step 10 of 10" in again.messages


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [("Fitting the exits", 2), ("Training", 7), ("Training", 8)])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(trained, data_folder, tiny_model, tmp_path, stop_at):
    result, _ = trained
    recipe, output = read_any_recipe(write_ranker_recipe(data_folder, tiny_model)), tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        run(recipe, data_folder, output, Recorder(stop_at))
    assert not output.exists()
    recorder = Recorder()
    resumed = run(recipe, data_folder, output, recorder)
    assert ("Training", 3) not in recorder.calls or stop_at[0] != "Training"
    assert (output / "ranker.safetensors").read_bytes() == (result.folder / "ranker.safetensors").read_bytes()
    assert resumed.selection == result.selection


def test_labels_alone_are_enough(data_folder, tiny_model, tmp_path):
    text = (
        ('[[texts]]\npath = "queries.txt"\nkind = "queries"\nlimit = 30\n', ""),
        (f'[[teachers]]\nkind = "encoder"\npath = "{tiny_model}"\n', ""),
        ("steps = 10", 'steps = 2\nlabel_loss = "gbce"\nn_sampled_subnets = 1'),
        ("warm_up = 2", "warm_up = 1"),
    )
    recipe = read_any_recipe(write_ranker_recipe(data_folder, tiny_model, *text))
    result = run(recipe, data_folder, tmp_path / "labels")
    assert result.step == 2 and result.selection.selected == 2


def test_a_run_is_a_teacher_and_a_source_of_candidates(data_folder, tiny_model, tmp_path):
    lines = [f"q{query} Q0 p{(query + at) % 40} {at + 1} {9 - at} x" for query in range(20) for at in range(5)]
    (data_folder / "teacher.trec").write_text("\n".join(lines) + "\n")
    changes = (
        ('[[texts]]\npath = "queries.txt"\nkind = "queries"\nlimit = 30\n', ""),
        ('path = "train"\nsplit = "train"', 'path = "train"\nrun = "teacher.trec"'),
        (f'kind = "encoder"\npath = "{tiny_model}"', 'kind = "run"'),
        ("steps = 10", 'steps = 2\nteacher_loss = "ranknet"'),
        ("warm_up = 2", "warm_up = 1"),
        ("k = 10", 'k = 10\nrun = "teacher.trec"'),
    )
    result = run(read_any_recipe(write_ranker_recipe(data_folder, tiny_model, *changes)), data_folder, tmp_path / "run")
    # The run has the relevant passage first: nothing is better than the first stage.
    assert dict(result.selection.full) == {"dev dev nDCG@10 teacher.trec": 1.0}


def test_a_ranker_starts_from_trained_subnets(data_folder, tiny_model, tiny_elastic, tmp_path):
    changes = (
        ("[init]", f'[init]\nmodel = "{tiny_elastic}"'),
        ("steps = 10", 'steps = 2\nteacher_loss = "listwise-kl"'),
        ("warm_up = 2", "warm_up = 1"),
        ("[[dev_lists]]", "[[dev_lists]]\nlimit = 3"),
    )
    recipe = read_any_recipe(write_ranker_recipe(data_folder, tiny_model, *changes))
    result = run(recipe, data_folder, tmp_path / "started")
    plan = read_ranker_manifest(result.folder).provenance["plan"]
    assert plan["start"]["model"] == str(tiny_elastic) and len(plan["start"]["weights_sha256"]) == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('kind = "encoder"', 'kind = "oracle"'), "got a teacher of kind 'oracle', expected one of encoder, bm25, run"),
        (("list_size = 4", "list_size = 1"), "expected at least 2"),
        (("steps = 10", 'steps = 10\nteacher_loss = "hinge"'), "expected one of margin-mse, ranknet, listwise-kl"),
        (('split = "train"', 'split = "dev"'), "expected one to train on, such as train"),
        (('trains = "ranker"', 'trains = "poodle"'), "got trains = 'poodle', expected one of encoder, ranker"),
        (('trains = "ranker"', 'trains = ["ranker"]'), "got trains = ['ranker'], expected one of"),
        (("seed = 1", "seed = 1\nspeed = 2"), "speed"),
        (('passages = ["corpus.jsonl"]', ""), "give either 'index' or 'passages'"),
        (("max_length = 48", 'max_length = 48\npooling = "max"'), "expected one of mean, cls"),
        (("[[teachers]]", "[teachers]"), "teachers is a single table"),
    ],
)
def test_bad_recipes_are_refused(data_folder, tiny_model, change, message):
    with pytest.raises(BadInputError, match=message.replace("[", r"\[")):
        read_any_recipe(write_ranker_recipe(data_folder, tiny_model, change))


def test_recipes_say_what_they_train(data_folder, tiny_model):
    assert isinstance(read_any_recipe(write_ranker_recipe(data_folder, tiny_model)), RankerRecipe)
    path = write_recipe(data_folder, tiny_model)
    assert isinstance(read_any_recipe(path), Recipe)
    path.write_text('trains = "encoder"\n' + path.read_text())
    assert isinstance(read_any_recipe(path), Recipe)


def test_faults_of_the_data_are_named(data_folder, tiny_model, tmp_path):
    (data_folder / "other").mkdir(exist_ok=True)
    (data_folder / "other" / "corpus.jsonl").write_text('{"_id": "x1", "title": "", "text": "another corpus"}\n')
    changes = ('passages = ["corpus.jsonl"]', 'passages = ["other/corpus.jsonl"]')
    recipe = read_any_recipe(write_ranker_recipe(data_folder, tiny_model, changes))
    with pytest.raises(BadInputError, match="add its corpus to 'passages'"):
        run(recipe, data_folder, tmp_path / "a")
    recipe = read_any_recipe(write_ranker_recipe(data_folder, tiny_model, ("max_length = 48", "max_length = 400")))
    with pytest.raises(ModelError, match="got max_length = 400 for an encoder of 64 positions: lower it"):
        run(recipe, data_folder, tmp_path / "b")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "thesis.txt").write_text("mine")
    with pytest.raises(BuildError, match="something other than an elastic ranker"):
        run(recipe, data_folder, tmp_path / "c")
