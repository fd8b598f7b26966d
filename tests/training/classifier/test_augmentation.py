"""Augmentation of the examples of a classifier: similar words, copies, and trainings on them."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from classifier_helpers import write_classifier_recipe
from tokenizers import BertWordPieceTokenizer
from training_helpers import Recorder

from elasticdenser.classifiers.inputs import InputTokenizer
from elasticdenser.datasets.glue import Example
from elasticdenser.errors import BadInputError
from elasticdenser.models.scorer_init import logits_from_full
from elasticdenser.models.settings import read_settings
from elasticdenser.models.tokenizer import load_encoder_tokenizer
from elasticdenser.subnet import Subnet
from elasticdenser.training.classifier import teacher
from elasticdenser.training.classifier.augmentation import Augmentation, similar_words
from elasticdenser.training.classifier.data import ExampleData
from elasticdenser.training.classifier.losses import label_loss
from elasticdenser.training.classifier.settings import AugmentationSettings
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.kinds import read_any_recipe, train_model

ANGLES = {"one": 0, "two": 10, "three": 25, "red": 90, "blue": 97, "[UNK]": 5, "sing": 3, "##s": 1, "unread": 2}
"""Directions of word embeddings: numbers are near each other, and colours."""

LETTERS = "abcdefgh"
"""Words of the tiny encoder's vocabulary, which has single letters."""


def augmentation(letters=LETTERS, *, seed=1, **settings):
    candidates = {letter: tuple(other for other in letters if other != letter) for letter in letters}
    return Augmentation(settings=AugmentationSettings(**settings), candidates=candidates, seed=seed)


@pytest.fixture(scope="module")
def tokenizer():
    return BertWordPieceTokenizer(
        {token: i for i, token in enumerate([*ANGLES, "'", "t", "[CLS]", "[SEP]"])}, lowercase=True
    )._tokenizer


@pytest.fixture(scope="module")
def embeddings():
    angles = np.radians([*ANGLES.values(), 4, 5, 6, 7])
    lengths = np.where(np.arange(len(angles)) == 2, 50, 1)  # "three" has the highest inner products
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) * lengths[:, None]


def test_similar_words_are_those_of_the_texts_with_the_nearest_embeddings(tokenizer, embeddings):
    calls = []
    texts = ["One two, three.", "one red sings", "blue 宇 ᚠ sing's one't"]
    found = similar_words(texts, tokenizer, embeddings, 2, lambda *call: calls.append(call))
    # Not "sings" and "one't", of several tokens, nor unknown characters, nor "unread", which is in no text.
    assert found == {
        "One": ("two", "three"),
        "one": ("two", "three"),
        "two": ("one", "three"),
        "three": ("two", "one"),
        "red": ("blue", "three"),
        "blue": ("red", "three"),
    }
    assert calls == [("Similar words", 5, 5)]


def test_few_words_have_few_similar_ones(tokenizer, embeddings):
    assert similar_words(["red blue"], tokenizer, embeddings, 15) == {"red": ("blue",), "blue": ("red",)}
    assert similar_words(["red 宇"], tokenizer, embeddings, 15) == similar_words([], tokenizer, embeddings, 15) == {}


def test_many_words_are_compared_in_parts(tokenizer, embeddings, monkeypatch):
    texts = ["one two three red blue"]
    whole = similar_words(texts, tokenizer, embeddings, 3)
    monkeypatch.setattr("elasticdenser.training.classifier.augmentation._AT_ONCE", 2)
    assert similar_words(texts, tokenizer, embeddings, 3) == whole


def test_words_are_similar_that_can_take_each_others_place(query_encoder):
    model = logits_from_full(query_encoder.location.path, query_encoder.settings, n_outputs=2, widths=(1.0,))
    tokenizer = load_encoder_tokenizer(query_encoder.location.path, 64)
    groups = ["seven eight nine", "john mary susan", "the a this", "red blue green", "gave took brought"]
    similar = similar_words(groups, tokenizer, model.tokens.detach().numpy(), 1)
    assert len(similar) == 15
    assert all(similar[word][0] in group.split() for group in groups for word in group.split())


def test_a_copy_replaces_a_share_of_the_words():
    text = " ".join(random.Random(0).choices(LETTERS, k=4000))
    (copy,) = augmentation(share=0.3).copy((text,), 7)
    changed = [(old, new) for old, new in zip(text.split(), copy.split(), strict=True) if old != new]
    assert 0.27 < len(changed) / 4000 < 0.33
    assert {new for _, new in changed} == set(LETTERS)
    assert augmentation(share=0.3).copy((text,), 7) == (copy,)
    assert augmentation(share=0.3).copy((text,), 8) != (copy,) != augmentation(share=0.3, seed=2).copy((text,), 7)


def test_a_copy_keeps_the_rest_of_its_texts():
    first, second = augmentation("ab", share=1.0).copy(("a, b-a! don't xa", "b (zzz) A_a (a)"), 1)
    assert (first, second) == ("b, a-b! don't xa", "a (zzz) A_a (b)")
    kept = ("a 's z'a c.b. 2.b a.c. n’a b’s",)  # no words of their own
    assert augmentation("ab", share=1.0).copy(("a b. a.", *kept), 1) == ("b a. b.", "b" + kept[0][1:])


def test_the_key_tells_copies_apart():
    others = [
        *(augmentation(share=0.5), augmentation(copies=3), augmentation(candidates=4)),
        *(augmentation(seed=2), augmentation("abcdefg")),
    ]
    keys = {copies.key for copies in (augmentation(), *others)}
    assert len(keys) == 6 and augmentation().key in keys


@pytest.fixture(scope="module")
def examples():
    rng = random.Random(0)
    return [Example((" ".join(rng.choices(LETTERS, k=6)), f"zz{i}"), float(i % 2)) for i in range(10)]


@pytest.fixture
def augmented(examples, tiny_model):
    tokenizer = InputTokenizer(tiny_model, 200, 32)
    return ExampleData(examples, tokenizer, 0.0, augmentation(copies=3, share=0.5))


def test_copies_follow_the_examples_without_labels(augmented, examples, tiny_model):
    plain = ExampleData(examples, InputTokenizer(tiny_model, 200, 32), 0.0)
    assert (len(augmented), len(plain)) == (40, 10)
    whole, originals = augmented.in_order(0, 99), plain.in_order(0, 99)
    assert len(whole) == 40 and torch.equal(whole.token_ids[:10], originals.token_ids)
    assert torch.equal(whole.labels[:10], originals.labels) and whole.labels[10:].isnan().all()
    copies = whole.token_ids[10:].reshape(3, 10, -1)
    assert len({tuple(copy.flatten().tolist()) for copy in copies}) == 3
    changed = (copies != originals.token_ids).float()  # at most the six letters of the first text
    assert changed[..., 1:7].mean(dim=(0, 1)).min() > 0.1 and changed[..., 7:].sum() == changed[..., 0].sum() == 0


def test_an_epoch_has_each_example_and_copy_once(augmented, examples):
    whole = augmented.in_order(0, 40)
    augmented.targets = np.arange(40, dtype=np.float32)[:, None]
    batches = [augmented.batch(step, 16, seed=3) for step in range(3)]
    rows = torch.cat([batch.targets[:, 0].long() for batch in batches])
    assert sorted(rows.tolist()) == [*range(40)] and rows.tolist() != [*range(40)]
    # A row has the same text in each epoch, the one that the teacher read.
    again = [augmented.batch(step, 16, seed=3) for step in range(3, 6)]
    for batch in (*batches, *again):
        assert torch.equal(batch.token_ids, whole.token_ids[batch.targets[:, 0].long()])
        assert torch.equal(batch.labels.isnan(), batch.targets[:, 0] >= 10)


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [
        ([[2.0, -1.0], [0.5, 0.0], [3.0, 1.0], [0.0, 0.0]], [0.0, 1.0, 1.0, 0.0]),
        ([[0.3], [0.1], [0.9], [0.2]], [0.5] * 4),
    ],
)
def test_what_has_no_label_has_no_loss(outputs, labels):
    outputs, labels = torch.tensor(outputs, requires_grad=True), torch.tensor(labels)
    halved = torch.where(torch.tensor([True, False, True, False]), labels, torch.nan)
    assert label_loss(outputs, halved).item() == pytest.approx(label_loss(outputs[::2], labels[::2]).item() / 2)
    loss = label_loss(outputs, torch.full((4,), torch.nan))
    loss.backward()
    assert loss.item() == 0 and torch.equal(outputs.grad, torch.zeros_like(outputs))


def test_the_teachers_outputs_are_those_of_each_copy(augmented, tiny_model):
    model = logits_from_full(tiny_model, read_settings(tiny_model), n_outputs=2, widths=(1.0,), depths=(2,)).eval()
    torch.nn.init.normal_(model.exits, generator=torch.Generator().manual_seed(0))
    augmented._tokenizer._vocabulary = model.shape.vocabulary
    outputs = teacher._outputs(model, augmented, torch.device("cpu"), slice(5, 40))
    alone = [augmented.in_order(row, row + 1) for row in range(5, 40)]
    with torch.inference_mode():
        expected = [model(batch.token_ids, batch.mask, Subnet(1.0, 2)) for batch in alone]
    assert outputs.dtype == np.float32 and np.allclose(outputs, torch.cat(expected), atol=1e-5)


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    """RTE of single letters, with texts of different lengths."""
    folder, rng = tmp_path_factory.mktemp("data"), random.Random(0)
    (folder / "glue" / "RTE").mkdir(parents=True)
    for split in ("train", "dev"):
        lines = ["index\tsentence1\tsentence2\tlabel"]
        for i in range(24):
            first, second = (" ".join(rng.choices(LETTERS, k=rng.randint(2, 9))) for _ in range(2))
            lines.append(f"{i}\t{first}\t{second}\t{('entailment', 'not_entailment')[i % 2]}")
        (folder / "glue" / "RTE" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def recipe_of(data_folder, tiny_model, table="[augmentation]\ncopies = 100\nshare = 0.5", **changes):
    # 2,424 examples and copies, as an interruption costs up to 1,024 outputs of the teacher.
    recipe = read_any_recipe(write_classifier_recipe(data_folder, tiny_model, ("[train]", f"{table}\n[train]")))
    return recipe.changed(**changes)


def run(recipe, data_folder, output, recorder=None, **options):
    recorder = recorder or Recorder()
    settings = TrainOptions(data=data_folder, device="cpu", offline=True, **options)
    return train_model(recipe, output, settings, progress=recorder, log=recorder.messages.append)


def weights_of(result):
    return (result.folder / "classifier.safetensors").read_bytes()


def outputs_of(work):
    (folder,) = work.glob("teacher-*")
    return {path.name: np.fromfile(path, "<f4").reshape(-1, 2) for path in folder.glob("outputs-*.f32")}


@pytest.fixture(scope="module")
def trained(data_folder, tiny_model, tmp_path_factory):
    recorder = Recorder()
    output = tmp_path_factory.mktemp("models") / "out"
    return run(recipe_of(data_folder, tiny_model), data_folder, output, recorder), recorder


def test_examples_without_similar_words_are_refused(data_folder, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr("elasticdenser.training.classifier.train.similar_words", lambda *arguments: {})
    with pytest.raises(BadInputError, match="no word of the examples has a similar one: leave it out"):
        run(recipe_of(data_folder, tiny_model), data_folder, tmp_path / "out")


@pytest.mark.slow
def test_a_training_on_copies(trained):
    result, recorder = trained
    assert "100 copies of each example; 8 different words can be replaced" in recorder.messages
    assert [call for call in recorder.calls if call[0] in ("Similar words", "Outputs of the full encoder")] == [
        ("Similar words", 8),
        *(("Outputs of the full encoder", done) for done in (0, 1024, 2048, 2424)),
    ]
    plan = json.loads((result.run / "plan.json").read_text())["augmentation"]
    assert plan == {"copies": 100, "share": 0.5, "candidates": 15, "copies_key": plan["copies_key"]}
    assert [*outputs_of(result.run.parent)] == [f"outputs-2424-{plan['copies_key']}.f32"]


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", [("Outputs of the full encoder", 2048), ("Training", 3)])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(trained, data_folder, tiny_model, tmp_path, stop_at):
    recipe = recipe_of(data_folder, tiny_model)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, data_folder, tmp_path / "out", Recorder(stop_at), save_every_s=0)
    recorder = Recorder()
    result = run(recipe, data_folder, tmp_path / "out", recorder)
    assert not {("Fine-tuning the full encoder", 1), ("Outputs of the full encoder", 0)} & {*recorder.calls}
    assert ("Training", 1) not in recorder.calls or stop_at[0] != "Training"
    assert weights_of(result) == weights_of(trained[0])


@pytest.mark.slow
def test_one_working_folder_serves_subnets_and_other_augmentations(trained, data_folder, tiny_model, tmp_path):
    result, _ = trained
    work = result.run.parent
    recorders = [Recorder() for _ in range(3)]
    alone = run(
        recipe_of(data_folder, tiny_model, subnets=("w0.5-d1",)), data_folder, tmp_path / "a", recorders[0], work=work
    )
    assert not recorders[0].activities & {"Fine-tuning the full encoder", "Outputs of the full encoder"}
    other = "[augmentation]\ncopies = 100\nshare = 0.6"
    others = [
        run(recipe_of(data_folder, tiny_model, table), data_folder, tmp_path / name, recorder, work=work)
        for table, name, recorder in ((other, "b", recorders[1]), ("", "c", recorders[2]))
    ]
    for recorder in recorders[1:]:
        assert "Fine-tuning the full encoder" not in recorder.activities
        assert "Outputs of the full encoder" in recorder.activities
    assert len({found.run for found in (result, alone, *others)}) == 4
    assert len({weights_of(found) for found in (result, *others)}) == 3
    outputs = outputs_of(work)
    assert sorted(map(len, outputs.values())) == [24, 2424, 2424] and "outputs-24.f32" in outputs
    assert all(np.allclose(rows[:24], outputs["outputs-24.f32"], atol=1e-5) for rows in outputs.values())


def test_the_teacher_learns_from_no_copies(trained, data_folder, tiny_model, tmp_path):
    plain = run(recipe_of(data_folder, tiny_model, ""), data_folder, tmp_path / "out")
    assert "augmentation" not in json.loads((plain.run / "plan.json").read_text())
    (expected,), (outputs, *_) = outputs_of(plain.run.parent).values(), outputs_of(trained[0].run.parent).values()
    assert np.allclose(outputs[:24], expected, atol=1e-5)


def test_another_seed_has_other_copies(trained, data_folder, tiny_model, tmp_path):
    result = run(recipe_of(data_folder, tiny_model, seed=2), data_folder, tmp_path / "out")
    plans = [json.loads((found.run / "plan.json").read_text()) for found in (trained[0], result)]
    assert plans[0]["augmentation"]["copies_key"] != plans[1]["augmentation"]["copies_key"]


def test_copies_need_no_labels_to_learn_from(data_folder, tiny_model, tmp_path):
    change = ("steps = 5", "steps = 5\nlabel_weight = 0.0\nstate_steps = 2\ntypo_share = 0.5")
    table = ("[train]", "[augmentation]\ncopies = 2\n[train]")
    result = run(
        read_any_recipe(write_classifier_recipe(data_folder, tiny_model, change, table)), data_folder, tmp_path / "out"
    )
    assert all(np.isfinite(measures["accuracy"]) for measures in result.measures.values())


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("copies = 0", "augmentation.copies: got 0, expected at least 1"),
        ("share = 0", "augmentation.share: got 0, expected more than 0"),
        ("share = 1.5", "augmentation.share: got 1.5, expected more than 0 and at most 1"),
        ("candidates = 0", "augmentation.candidates: got 0, expected at least 1"),
        ("number = 3", "number"),
    ],
)
def test_wrong_settings_are_refused(data_folder, tiny_model, table, message):
    with pytest.raises(BadInputError, match=message):
        recipe_of(data_folder, tiny_model, f"[augmentation]\n{table}")


@pytest.mark.parametrize("without", ["teacher", "weight"])
def test_copies_need_a_teacher(data_folder, tiny_model, without):
    change = ("steps = 5", "steps = 5\nteacher_weight = 0.0") if without == "weight" else ("[train]", "[train]")
    text = write_classifier_recipe(data_folder, tiny_model, change).read_text()
    before, _, rest = text.partition("[teacher]")
    own, _, train = rest.partition("[train]")
    own = f"[teacher]{own}" if without == "weight" else ""
    (data_folder / "recipe.toml").write_text(f"{before}{own}[augmentation]\n[train]{train}")
    with pytest.raises(BadInputError, match="its copies have nothing to learn from"):
        read_any_recipe(data_folder / "recipe.toml")
