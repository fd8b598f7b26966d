"""Whole trainings of tiny models of intents and slots: bodies, teacher, resumption, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from intent_helpers import LSTM, PQRNN, write_intent_recipe, write_intents
from training_helpers import Recorder

from elasticdenser.classifiers.intent_tagger import IntentTagger
from elasticdenser.errors import BadInputError, BuildError, DataMissingError, ModelError
from elasticdenser.models.intent_files import INTENT_WEIGHTS, read_intent_manifest
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.intent.data import IGNORED, IntentBatch
from elasticdenser.training.intent.intent_training import batch_loss
from elasticdenser.training.intent.settings import IntentStepSettings
from elasticdenser.training.kinds import read_any_recipe, train_model


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_intents(folder)
    return folder


def run(recipe, data_folder, output, recorder=None, **options):
    recorder = recorder or Recorder()
    settings = TrainOptions(data=data_folder, device="cpu", offline=True, **options)
    return train_model(recipe, output, settings, progress=recorder, log=recorder.messages.append)


@pytest.fixture(scope="module")
def teacher(data_folder, tiny_model, tmp_path_factory):
    """A tiny full encoder, fine-tuned."""
    recorder, output = Recorder(), tmp_path_factory.mktemp("models") / "teacher"
    return run(read_any_recipe(write_intent_recipe(data_folder, tiny_model)), data_folder, output, recorder), recorder


def test_the_full_encoder_is_fine_tuned(teacher, tiny_model):
    result, recorder = teacher
    assert {"intent accuracy", "slot F1", "exact match"} == set(result.measures)
    assert "mtop: 40 utterances, 2 intents, 4 tags; body: encoder" in recorder.messages
    manifest = read_intent_manifest(result.folder)
    assert manifest.settings.intents == ("SORT", "WAIT")
    assert manifest.settings.tags == ("B-PLACE", "B-PLACE>GET_PLACE>NAME", "I-PLACE", "O")
    assert manifest.provenance["name"] == str(tiny_model) and manifest.provenance["plan"]["train"]["steps"] == 5
    losses = [json.loads(line) for line in (result.run / "losses.jsonl").read_text().splitlines()]
    assert losses[-1]["step"] == 5 and np.isfinite(losses[-1]["loss"])


@pytest.mark.slow
@pytest.mark.parametrize("body", [PQRNN, LSTM], ids=["pqrnn", "lstm"])
def test_a_student_learns_from_labels_and_teacher(teacher, data_folder, tiny_model, tmp_path, body):
    # The teacher has hardly learnt anything in its few steps.
    changes = ("steps = 5", "steps = 5\nteacher_weight = 0.1\ndropout = 0.0"), ("rate = 3e-3", "rate = 2e-2")
    path = write_intent_recipe(data_folder, tiny_model, body, *changes)
    recipe = read_any_recipe(path).changed(teacher=str(teacher[0].folder), steps=150)
    recorder = Recorder()
    result = run(recipe, data_folder, tmp_path / "out", recorder)
    assert "Outputs of the teacher" in recorder.activities
    assert result.measures["exact match"] > 0.9
    tagger = IntentTagger.from_pretrained(result.folder, device="cpu")
    (parse,) = tagger.parse(["Wait the planet."])
    assert parse.frame == "[IN:WAIT [SL:PLACE [IN:GET_PLACE [SL:NAME planet ] ] ] ]"


def test_a_pqrnn_needs_no_tokenizer(data_folder, tiny_model, tmp_path):
    result = run(read_any_recipe(write_intent_recipe(data_folder, tiny_model, PQRNN)), data_folder, tmp_path / "out")
    assert {path.name for path in result.folder.iterdir()} == {"intent.json", "intent.safetensors"}


@pytest.mark.slow
@pytest.mark.parametrize("body", ["", PQRNN, LSTM], ids=["encoder", "pqrnn", "lstm"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(teacher, data_folder, tiny_model, tmp_path, body):
    path = write_intent_recipe(data_folder, tiny_model, body, ("steps = 5", "steps = 8\ntypo_share = 0.3"))
    recipe = read_any_recipe(path).changed(teacher=str(teacher[0].folder))
    whole = run(recipe, data_folder, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(recipe, data_folder, tmp_path / "out", Recorder(("Training", 6)), save_every_s=0)
    assert not (tmp_path / "out").exists()
    recorder = Recorder()
    run(recipe, data_folder, tmp_path / "out", recorder)
    assert ("Training", 1) not in recorder.calls and "Outputs of the teacher" not in recorder.activities
    weights = [(folder / INTENT_WEIGHTS).read_bytes() for folder in (tmp_path / "out", whole.folder)]
    assert weights[0] == weights[1]


def test_a_teachers_outputs_are_those_of_each_utterance(teacher, data_folder, tmp_path):
    from elasticdenser.datasets.intents import TASKS, load_utterances
    from elasticdenser.training.intent.data import TeacherOutputs

    tagger = IntentTagger.from_pretrained(teacher[0].folder, device="cpu")
    utterances = load_utterances(data_folder / "intent", TASKS["mtop"], "train")
    outputs = TeacherOutputs(tagger, utterances, tmp_path / "outputs.f16", lambda done, total: None)
    cut = np.concatenate([outputs._compute(slice(0, 7)), outputs._compute(slice(7, outputs._starts[-1]))])
    assert np.allclose(cut, outputs._rows, atol=1e-2)
    intents, tags = outputs.of([3, 30], 6)
    for row, number in enumerate((3, 30)):
        words = utterances[number].words
        alone_intents, alone_tags = tagger.outputs([words])
        torch.testing.assert_close(intents[row], alone_intents[0], atol=1e-2, rtol=1e-2)
        torch.testing.assert_close(tags[row, : len(words)], alone_tags[0], atol=1e-2, rtol=1e-2)
        assert not tags[row, len(words) :].any()


@pytest.mark.slow
def test_a_trained_model_can_be_trained_on(teacher, data_folder, tiny_model, tmp_path):
    recipe = read_any_recipe(write_intent_recipe(data_folder, tiny_model, PQRNN))
    first = run(recipe, data_folder, tmp_path / "first")
    still = replace(recipe, init=str(first.folder), train=replace(recipe.train, learning_rate=1e-12))
    again = run(still, data_folder, tmp_path / "again")
    assert again.measures == first.measures and again.run != first.run
    other = read_any_recipe(write_intent_recipe(data_folder, tiny_model, LSTM))
    with pytest.raises(ModelError, match="has another body, or other intents or tags"):
        run(replace(other, init=str(first.folder)), data_folder, tmp_path / "other")
    manifest = json.loads((first.folder / "intent.json").read_text())
    manifest["settings"]["intents"].reverse()  # as many, but others
    (first.folder / "intent.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="other intents or tags"):
        run(still, data_folder, tmp_path / "renamed")


@pytest.mark.slow
def test_another_seed_gives_other_weights(data_folder, tiny_model, tmp_path):
    recipe = read_any_recipe(write_intent_recipe(data_folder, tiny_model, PQRNN))
    results = [run(recipe.changed(seed=seed), data_folder, tmp_path / f"{seed}") for seed in (1, 2)]
    assert results[0].folder != results[1].folder
    weights = [(result.folder / INTENT_WEIGHTS).read_bytes() for result in results]
    assert weights[0] != weights[1]


def test_a_task_without_dev_set_has_no_measures(data_folder, tiny_model, tmp_path):
    recorder = Recorder()
    change = ('task = "mtop"', 'task = "banking77"\nlimit = 16')
    recipe = read_any_recipe(write_intent_recipe(data_folder, tiny_model, PQRNN, change))
    result = run(recipe, data_folder, tmp_path / "out", recorder)
    assert result.measures == {} and "no measures: banking77 has no dev set" in recorder.messages
    assert "banking77: 16 utterances, 2 intents, 1 tags; body: pqrnn" in recorder.messages


def test_the_teacher_counts_as_much_as_its_weight():
    settings = IntentStepSettings(steps=1, label_weight=0.0, teacher_weight=2.0)
    intents, tags = torch.tensor([[2.0, -1.0]]), torch.tensor([[[1.0, 0.0], [9.0, 9.0]]])
    batch = IntentBatch(
        inputs=None,
        intents=torch.tensor([0]),
        tags=torch.tensor([[0, IGNORED]]),
        target_intents=intents,
        target_tags=tags * torch.tensor([[[1.0], [5.0]]]),  # differs in the padding alone
    )
    assert batch_loss(intents, tags, batch, settings).item() == pytest.approx(0, abs=1e-6)
    assert batch_loss(-intents, tags, batch, settings).item() > 0.5
    labels_alone = IntentStepSettings(steps=1, teacher_weight=0.0)
    expected = -(intents.log_softmax(-1)[0, 0] + tags.log_softmax(-1)[0, 0, 0]).item()
    assert batch_loss(intents, tags, batch, labels_alone).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("body", "change", "message"),
    [
        ("", ('task = "mtop"', 'task = "atis"'), "got the task 'atis', expected one of mtop"),
        ("", ('task = "mtop"', 'task = "mtop-de"'), "which has no training data"),
        ("", ("steps = 5", "steps = 5\nlabel_weight = 0.0"), "learns from a teacher, but there is none"),
        ("", ("steps = 5", "steps = 5\nvariant_share = 0.1"), "got a variant_share"),
        ("", ("max_length = 32", "max_length = 2"), "got max_length = 2, expected at least 3 tokens"),
        (PQRNN + LSTM, ("steps = 5", "steps = 5"), "got tables pqrnn and lstm"),
        (LSTM, ("hidden = 16", "hidden = 16\nvocabulary = 9"), "those of the encoder: leave them out"),
        (PQRNN, ("n_features = 64", "n_features = 32"), "expected the same number"),
    ],
)
def test_a_wrong_recipe_is_refused(data_folder, tiny_model, body, change, message):
    with pytest.raises((BadInputError, ModelError), match=message):
        read_any_recipe(write_intent_recipe(data_folder, tiny_model, body, change))


def test_options_that_do_not_fit_are_refused(data_folder, tiny_model):
    recipe = read_any_recipe(write_intent_recipe(data_folder, tiny_model))
    for option in ({"index": "indexes/mine"}, {"space": "minilm"}, {"subnets": ("w1-d2",)}):
        with pytest.raises(BadInputError, match="which models of intents do not have"):
            recipe.changed(**option)
    with pytest.raises(BadInputError, match="got 0 steps"):
        recipe.changed(steps=0)


def test_what_is_missing_shows_at_once(teacher, data_folder, tiny_model, tmp_path):
    recipe = read_any_recipe(write_intent_recipe(data_folder, tiny_model))
    with pytest.raises(DataMissingError, match=r"there is no train.jsonl"):
        run(recipe, tmp_path, tmp_path / "out")
    with pytest.raises(ModelError, match=r"intent.json is missing"):
        run(recipe.changed(teacher=str(tmp_path / "none")), data_folder, tmp_path / "out")
    long = read_any_recipe(write_intent_recipe(data_folder, tiny_model, "", ("max_length = 32", "max_length = 99")))
    with pytest.raises(ModelError, match="got max_length = 99 for an encoder of 64 positions"):
        run(long, data_folder, tmp_path / "out")
    snips = read_any_recipe(write_intent_recipe(data_folder, tiny_model, PQRNN, ('"mtop"', '"snips"')))
    with pytest.raises(ModelError, match="a teacher of mtop lacks"):
        run(snips.changed(teacher=str(teacher[0].folder)), data_folder, tmp_path / "out")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(BuildError, match="holds something other than a model of intents"):
        run(recipe, data_folder, tmp_path / "other")
