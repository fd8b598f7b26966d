"""Whole mirror trainings of a tiny transformer: what is written, resumption, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from training_helpers import WORDS, Recorder

from elasticdenser import ElasticQueryEncoder, PassageEncoder
from elasticdenser.errors import BadInputError, BuildError, DataMissingError, MissingExtraError, ModelError
from elasticdenser.models.sentence_files import save_sentence_encoder
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.kinds import read_any_recipe, train_model
from elasticdenser.training.mirror import train as mirror_train
from elasticdenser.training.mirror.data import MirrorData, with_masked_span
from elasticdenser.training.mirror.mirror_training import mirror_loss
from elasticdenser.training.mirror.recipe import MirrorRecipe, MirrorSettings, default_mirror_recipe

RECIPE = """
trains = "mirror"
seed = 1
encoder = "{encoder}"
pooling = "cls"
max_length = 24
[[texts]]
path = "texts.txt"
kind = "queries"
[train]
steps = 6
batch = 8
learning_rate = 1e-3
"""


@pytest.fixture(scope="module")
def plain(tiny_model, tmp_path_factory) -> Path:
    """Folder of the tiny BERT without the files that make it a sentence encoder."""
    folder = tmp_path_factory.mktemp("plain") / "bert"
    shutil.copytree(tiny_model, folder)
    for name in ("modules.json", "sentence_bert_config.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "1_Pooling")
    shutil.rmtree(folder / "2_Normalize")
    return folder


@pytest.fixture(scope="module")
def data_folder(plain, tmp_path_factory) -> Path:
    folder, random = tmp_path_factory.mktemp("data"), Random(0)
    texts = [" ".join(random.choices(WORDS, k=random.randint(3, 12))) for _ in range(40)]
    (folder / "texts.txt").write_text("\n".join(texts) + "\n")
    return folder


def recipe_of(folder: Path, encoder: Path, *changes: tuple[str, str]) -> MirrorRecipe:
    text = RECIPE.format(encoder=encoder)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "recipe.toml").write_text(text)
    recipe = read_any_recipe(folder / "recipe.toml")
    assert isinstance(recipe, MirrorRecipe)
    return recipe


def run(recipe, data_folder, output, recorder=None, **options):
    recorder = recorder or Recorder()
    settings = TrainOptions(data=data_folder, device="cpu", offline=True, **options)
    return train_model(recipe, output, settings, progress=recorder, log=recorder.messages.append)


@pytest.fixture(scope="module")
def trained(data_folder, plain, tmp_path_factory):
    recorder, output = Recorder(), tmp_path_factory.mktemp("models") / "mirror"
    return run(recipe_of(data_folder, plain), data_folder, output, recorder), recorder


def test_a_plain_transformer_becomes_a_sentence_encoder(trained, plain):
    result, recorder = trained
    encoder = ElasticQueryEncoder.from_pretrained(str(result.folder), dtype="float32", device="cpu")
    settings = encoder.settings
    assert (settings.pooling, settings.normalize, settings.max_length) == ("cls", True, 64)
    vectors = encoder.encode(["dune desert", "csv file"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    before = PassageEncoder.from_pretrained(str(plain), dtype="float32", device="cpu", pooling="cls", normalize=True)
    assert not np.allclose(vectors, before.encode(["dune desert", "csv file"]), atol=1e-3)
    provenance = json.loads((result.folder / "made_by.json").read_text())
    assert provenance["name"] == str(plain) and provenance["plan"]["texts"]["n"] == result.n_texts
    assert recorder.activities == {"Training"} and (result.run / "losses.jsonl").exists()


@pytest.mark.slow
def test_sentence_transformers_reads_what_is_written(trained):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    result, _ = trained
    texts = ["dune desert planet", "csv"]
    theirs = sentence_transformers.SentenceTransformer(str(result.folder), device="cpu").encode(texts)
    ours = PassageEncoder.from_pretrained(str(result.folder), dtype="float32", device="cpu").encode(texts)
    assert np.allclose(theirs, ours, atol=1e-5)


@pytest.mark.slow
def test_an_interrupted_training_ends_as_an_uninterrupted_one(trained, data_folder, plain, tmp_path):
    result, _ = trained
    recipe = recipe_of(data_folder, plain)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, data_folder, tmp_path / "out", Recorder(("Training", 4)), save_every_s=0)
    assert not (tmp_path / "out").exists()
    recorder = Recorder()
    run(recipe, data_folder, tmp_path / "out", recorder)
    assert ("Training", 1) not in recorder.calls and ("Training", 6) in recorder.calls
    assert any("resumes in" in message for message in recorder.messages)
    weights = [(folder / "model.safetensors").read_bytes() for folder in (tmp_path / "out", result.folder)]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_what_is_finished_is_not_repeated_and_another_seed_is_another_training(trained, data_folder, plain):
    result, _ = trained
    weights, recorder = (result.folder / "model.safetensors").read_bytes(), Recorder()
    assert run(recipe_of(data_folder, plain), data_folder, result.folder, recorder).run == result.run
    assert not recorder.activities and (result.folder / "model.safetensors").read_bytes() == weights
    other = run(recipe_of(data_folder, plain).changed(seed=2), data_folder, result.folder.with_name("other"))
    assert (other.folder / "model.safetensors").read_bytes() != weights


@pytest.mark.slow
def test_training_draws_both_readings_together_and_other_texts_apart(data_folder, plain, tmp_path):
    changes = (('pooling = "cls"', 'pooling = "mean"'), ("steps = 6", "steps = 30\ntypo_share = 0.5"))
    result = run(recipe_of(data_folder, plain, *changes), data_folder, tmp_path / "out")
    random = Random(1)
    texts = (data_folder / "texts.txt").read_text().splitlines()
    settings = MirrorSettings(span=5)
    readings = [MirrorData(texts, plain, 24, settings).second_reading(text, random) for text in texts]

    def margin_of(folder: Path) -> float:
        encoder = PassageEncoder.from_pretrained(
            str(folder), dtype="float32", device="cpu", pooling="mean", normalize=True
        )
        cosines = encoder.encode(texts) @ encoder.encode(readings).T
        margin = np.diag(cosines) - (cosines - 2 * np.eye(len(texts))).max(axis=1)
        return float(margin.mean())

    assert margin_of(result.folder) > margin_of(plain) + 0.015


def test_an_encoder_whose_weights_are_not_finite_is_not_written(plain, tmp_path):
    provenance = {"name": "x", "weights_sha256": "0" * 64}
    weights = {"a": torch.ones(2), "b": torch.tensor([1.0, torch.nan])}
    with pytest.raises(ModelError, match="b holds numbers that are not finite: train again with a lower learning rate"):
        save_sentence_encoder(tmp_path / "out", base=plain, weights=weights, pooling="cls", provenance=provenance)
    assert not list(tmp_path.iterdir())


def test_the_loss_is_least_where_readings_agree_and_texts_differ():
    vectors = torch.eye(4)
    agree = mirror_loss(torch.cat([vectors, vectors]), 0.05)
    assert agree.item() < 1e-6
    assert mirror_loss(torch.cat([vectors, vectors.roll(1, 0)]), 0.05).item() > 10
    alike = mirror_loss(torch.ones(8, 4), 0.05)
    assert alike.item() == pytest.approx(np.log(7))  # seven others, none nearer than another


def test_a_span_of_characters_is_masked():
    text, random = "the planet of the desert has a spice", Random(0)
    masked = with_masked_span(text, 5, "[MASK]", random)
    before, after = masked.split(" [MASK] ")
    assert text.startswith(before) and text.endswith(after) and len(before) + len(after) == len(text) - 5
    assert with_masked_span(text, 0, "[MASK]", random) == text
    assert with_masked_span("too short", 5, "[MASK]", random) == "too short"
    masks = {with_masked_span(text, 5, "[MASK]", random) for _ in range(50)}
    assert len(masks) > 10


def test_the_mask_is_one_token_and_every_epoch_reads_every_text_once(data_folder, plain):
    texts = (data_folder / "texts.txt").read_text().splitlines()
    data = MirrorData(texts, plain, 64, MirrorSettings(batch=16, span=5, seed=3))
    batches = [data.batch(step) for step in range(3)]
    assert sum(map(len, batches)) == 2 * len(texts)
    firsts = [tuple(row) for batch in batches for row in batch[: len(batch) // 2]]
    assert len(set(firsts)) == len(set(texts))
    mask_id = data._tokenizer.token_to_id("[MASK]")
    counts = [row.count(mask_id) for batch in batches for row in batch[len(batch) // 2 :]]
    assert set(counts) == {0, 1} and sum(counts) == sum(len(text) >= 30 for text in texts)
    assert data.batch(1) == batches[1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (('pooling = "cls"', 'pooling = "best"'), BadInputError, "got pooling = 'best'"),
        (("steps = 6", "steps = 6\nspan = 0\ndropout = 0.0"), BadInputError, "both readings would be the same"),
        (("steps = 6", "steps = 6\ndropout = 1.0"), BadInputError, "got dropout = 1"),
        (("batch = 8", "batch = 1"), BadInputError, "batch"),
        (("max_length = 24", "max_length = 65"), BadInputError, "got max_length = 65, expected at most 64"),
        (('encoder = "', 'encoder = "/none'), ModelError, "there is no folder"),
        (('path = "texts.txt"', 'path = "none.txt"'), (BadInputError, DataMissingError), "none.txt"),
    ],
)
def test_bad_settings_are_refused(data_folder, plain, tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        run(recipe_of(data_folder, plain, change), data_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_trained_is_refused(data_folder, plain, tiny_model, tmp_path, monkeypatch):
    recipe = recipe_of(data_folder, plain)
    with pytest.raises(BuildError, match="something other than a sentence encoder"):
        run(recipe, data_folder, tiny_model)
    (tmp_path / "texts.txt").write_text("one text\n")
    with pytest.raises(BadInputError, match="expected at least two"):
        run(recipe, tmp_path, tmp_path / "out")
    with pytest.raises(BadInputError, match="name it with --encoder"):
        run(recipe_of(data_folder, plain, (f'encoder = "{plain}"', "")), data_folder, tmp_path / "out")
    with pytest.raises(BadInputError, match="which learns from raw text"):
        recipe.changed(teacher="models/other")
    with pytest.raises(BadInputError, match="got 0 steps"):
        recipe.changed(steps=0)
    with pytest.raises(BadInputError, match="got no texts"):
        default_mirror_recipe(str(plain), [], [])
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(BadInputError, match="got 2 processes, expected one"):
        run(recipe, data_folder, tmp_path / "out")
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr(mirror_train, "is_installed", lambda *packages: False)
    with pytest.raises(MissingExtraError, match="extra 'transformers'"):
        run(recipe, data_folder, tmp_path / "out")


def test_a_tokenizer_without_a_mask_token_needs_no_span(plain, tmp_path):
    folder = tmp_path / "without-mask"
    shutil.copytree(plain, folder)
    (folder / "tokenizer.json").unlink()
    vocabulary = (folder / "vocab.txt").read_text().replace("[MASK]", "[NONE]")
    (folder / "vocab.txt").write_text(vocabulary)
    with pytest.raises(BadInputError, match=r"without a mask token.*set span = 0"):
        MirrorData(["one", "two"], folder, 24, MirrorSettings())
    assert len(MirrorData(["one", "two"], folder, 24, MirrorSettings(span=0)).batch(0)) == 4


def test_passages_give_their_sentences(tmp_path):
    passages = [
        {"_id": "1", "title": "", "text": "Dune is a planet. It has few trees, and much sand. Why so?"},
        {"_id": "2", "title": "", "text": "沙丘是一颗遥远的沙漠星球,没有树。那里有很多很多很多很多的沙子。"},
    ]  # fmt: skip
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in passages))
    recipe = default_mirror_recipe("bert", [], [str(tmp_path / "corpus.jsonl")])
    found = mirror_train.training_texts(recipe.texts, data=tmp_path, seed=0)
    english = ["Dune is a planet.", "It has few trees, and much sand."]
    assert found == [*english, "沙丘是一颗遥远的沙漠星球,没有树。", "那里有很多很多很多很多的沙子。"]
