"""Whole trainings of a tiny encoder: what is made, what is kept, and what is not done twice."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ir_measures import RR, Qrel
from making import write_data, write_recipe

from elasticdenser import ElasticQueryEncoder, PassageEncoder, Retriever
from elasticdenser.errors import BadInputError, BuildError, ElasticDenserError
from elasticdenser.evaluation import evaluate
from elasticdenser.index import PassageIndex
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.elastic_init import elastic_from_full, fit_exits
from elasticdenser.training.data import padded, token_ids_of
from elasticdenser.training.dev_sets import load_dev_set
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.recipe import plain_recipe, read_recipe
from elasticdenser.training.selection import choose, pick
from elasticdenser.training.settings import DevSetSettings
from elasticdenser.training.snapshots import save_weights
from elasticdenser.training.train import grid_lines, train

SIZES = ["w0.5-d2", "w1-d1", "w0.25-d2", "w0.5-d1", "w0.25-d1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


class Seen:
    """What a training reports; it may stop it."""

    def __init__(self, stop_at: tuple[str, int] | None = None) -> None:
        self.stop_at, self.steps, self.said = stop_at, [], []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.steps.append((what, done))
        if (what, done) == self.stop_at:
            raise KeyboardInterrupt

    @property
    def names(self) -> set[str]:
        return {what for what, _ in self.steps}


def run(recipe, place: Path, output: Path, seen: Seen | None = None, **options):
    seen = seen or Seen()
    settings = TrainOptions(data=place, device="cpu", offline=True, **options)
    return train(recipe, output, settings, progress=seen, say=seen.said.append)


@pytest.fixture(scope="module")
def trained(place, tiny_model, tmp_path_factory):
    """A finished training, and what it reported."""
    seen, output = Seen(), tmp_path_factory.mktemp("models") / "whole"
    return run(read_recipe(write_recipe(place, tiny_model)), place, output, seen), seen


def test_a_training_leaves_a_model_of_all_sizes(trained, tiny_model, place):
    made, seen = trained
    encoder = ElasticQueryEncoder.from_pretrained(str(made.folder), dtype="float32")
    assert [*map(str, made.subnets)] == [*SIZES, "level0"] == [*map(str, encoder.subnets[1:])]
    texts = (place / "queries.txt").read_text().splitlines()
    full = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32").encode(texts)
    means = {size: float((encoder.encode(texts, size) * full).sum(axis=1).mean()) for size in made.subnets}
    assert all(mean > 0.8 for mean in means.values()), means
    provenance = load_elastic(made.folder).provenance
    assert provenance["name"] == str(tiny_model) and provenance["step"] == made.step
    assert provenance["plan"]["distil"]["steps"] == 10
    assert {"Encoding training texts", "Fitting the sizes", "Tuning level 0", "Training"} <= seen.names
    assert any("step 8 of 10, cosines" in text and "w0.25" in text for text in seen.said)


def test_snapshots_and_their_worth_are_kept(trained):
    made, _ = trained
    files = sorted(path.name for path in (made.run / "snapshots").iterdir())
    assert files == [f"step-{step:06d}.safetensors" for step in (4, 8, 10)]
    kept = json.loads((made.run / "choice.json").read_text())
    assert [its["step"] for its in kept["snapshots"]] == [8, 10]
    assert kept["chosen"] == made.step and set(kept["snapshots"][0]["retention"]) == set(SIZES)
    assert kept["full"]["dev dev RR@10"] > 0.1 and 0 < kept["level0"]["dev dev RR@10"] <= 1


def test_what_is_finished_is_not_repeated(trained, place, tiny_model):
    made, seen = trained
    again = Seen()
    assert run(read_recipe(write_recipe(place, tiny_model)), place, made.folder, again).step == made.step
    assert not again.names & {"Encoding training texts", "Fitting the sizes", "Tuning level 0", "Training"}
    assert len(again.steps) < len(seen.steps)


def test_another_recipe_gets_a_run_of_its_own_and_keeps_the_vectors(trained, place, tiny_model, tmp_path):
    made, _ = trained
    work = tmp_path / "work"
    shutil.copytree(made.run.parent, work)
    path = write_recipe(place, tiny_model, ("learning_rate = 1e-3", "learning_rate = 2e-3"))
    seen = Seen()
    other = run(replace(read_recipe(path), choose=()), place, tmp_path / "other", seen, work=work)
    assert other.run.name != made.run.name and (work / made.run.name).is_dir()
    assert "Training" in seen.names and "Encoding training texts" not in seen.names
    assert other.step == 10 and other.choice is None


@pytest.mark.parametrize("stop_at", [("Fitting the sizes", 2), ("Tuning level 0", 3), ("Training", 7), ("Training", 8)])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(trained, place, tiny_model, tmp_path, stop_at):
    made, _ = trained
    recipe, output = read_recipe(write_recipe(place, tiny_model)), tmp_path / "parted"
    with pytest.raises(KeyboardInterrupt):
        run(recipe, place, output, Seen(stop_at))
    assert not output.exists()
    seen = Seen()
    parted = run(recipe, place, output, seen)
    assert ("Training", 3) not in seen.steps or stop_at[0] != "Training"
    for name in ("elastic.safetensors", "model.safetensors"):
        assert (output / name).read_bytes() == (made.folder / name).read_bytes()
    assert parted.choice == made.choice


def test_queries_alone_are_enough(place, tiny_model, tmp_path):
    recipe = plain_recipe([str(place / "queries.txt")], []).changed(encoder=str(tiny_model), steps=3)
    recipe = replace(recipe, table=replace(recipe.table, steps=2))
    made = run(recipe, tmp_path, tmp_path / "mine")
    assert made.step == 3 and made.choice is None
    assert ElasticQueryEncoder.from_pretrained(str(made.folder)).encode(["dune"], "level0").shape == (1, 32)


def test_passages_alone_are_enough(place, tiny_model, tmp_path):
    lines = [json.loads(line)["text"] for line in (place / "corpus.jsonl").read_text().splitlines()]
    (tmp_path / "mine.txt").write_text("\n".join(lines) + "\n")
    recipe = plain_recipe([], [str(tmp_path / "mine.txt")]).changed(encoder=str(tiny_model), steps=2)
    made = run(replace(recipe, table=None), tmp_path, tmp_path / "mine")
    (index,) = (tmp_path / "mine.work").glob("passages-*/")
    assert len(PassageIndex.open(index)) == 40
    assert json.loads((made.run / "plan.json").read_text())["passages"]["n"] == 40
    assert [*map(str, made.subnets)] == SIZES


def test_an_index_names_its_encoder_and_its_prompts(place, tiny_model, tmp_path):
    encoder = PassageEncoder.from_pretrained(str(tiny_model), dtype="float32", query_prompt="query: ")
    PassageIndex.build(place / "corpus.jsonl", tmp_path / "index", encoder)
    recipe = plain_recipe([str(place / "queries.txt")], []).changed(index=str(tmp_path / "index"), steps=1)
    made = run(replace(recipe, table=None), tmp_path, tmp_path / "mine")
    plan = json.loads((made.run / "plan.json").read_text())
    assert plan["encoder"]["settings"]["query_prompt"] == "query: " and plan["passages"]["n"] == 40
    # Whoever loads the model, from the index or by its name, gives it what it was trained with.
    assert ElasticQueryEncoder.from_pretrained(str(made.folder)).settings == encoder.settings


def test_what_stands_in_the_way_is_told_before_the_work(place, tiny_model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    recipe = read_recipe(write_recipe(place, tiny_model))
    with pytest.raises(BuildError, match="it holds something else than an elastic encoder"):
        run(recipe, place, tmp_path / "mine")
    assert not (tmp_path / "mine.work").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"queries.txt"', '"none.txt"'), "none.txt"),
        (('path = "dev"', 'path = "none.jsonl"\n#'), "none.jsonl"),
        (('split = "dev"', ""), "say which 'split' to choose by"),
        (('passages = ["corpus.jsonl"]', 'passages = ["none.jsonl"]'), "none.jsonl"),
        (('passages = ["corpus.jsonl"]', 'index = "none"'), "none"),
        (("n_neighbours = 2", "n_neighbours = 2\nwidths = [1, 0.3]"), "got width 0.3 of 4 heads"),
        (("n_neighbours = 2", "n_neighbours = 2\ndepths = [1, 9]"), "got depth 9 of 2 layers"),
        (("n_neighbours = 2", "n_neighbours = 2\nwidths = [1]\ndepths = [2]"), "no size to train beside the full"),
        (("bfloat16 = false", 'sizes = ["w0.5-d7"]'), "w0.5-d7"),
    ],
)
def test_what_cannot_be_shows_before_the_training(place, tiny_model, tmp_path, change, message):
    seen = Seen()
    with pytest.raises(ElasticDenserError, match=message):
        run(read_recipe(write_recipe(place, tiny_model, change)), place, tmp_path / "mine", seen)
    assert not seen.names & {"encoding", "Encoding training texts", "Fitting the sizes", "Training"}


@pytest.fixture(scope="module")
def dev(place, tiny_encoder, tmp_path_factory):
    index = PassageIndex.build(place / "corpus.jsonl", tmp_path_factory.mktemp("dev") / "index", tiny_encoder)
    settings = DevSetSettings(path="dev", split="dev", measure="RR@10", limit=15)
    return load_dev_set(settings, index, data=place, seed=1)


def test_the_better_snapshot_is_chosen_and_not_measured_again(dev, tiny_query_encoder, place, tmp_path):
    encoder = tiny_query_encoder
    best = {hit.query_id: hit.doc_id for hit in Retriever(encoder, dev.index).search(dev.query_set.judged, 1)}
    qrels = [Qrel(query_id, doc_id, 1) for query_id, doc_id in best.items()]
    dev = replace(dev, query_set=replace(dev.query_set, qrels=qrels))
    model = elastic_from_full(encoder.location.path, encoder.settings, widths=(1.0, 0.5))
    texts = (place / "queries.txt").read_text().splitlines() * 5
    token_ids, mask = padded(token_ids_of(encoder, texts))
    fit_exits(model, [(token_ids, mask, torch.from_numpy(encoder.encode(texts)))])
    save_weights(tmp_path / "good", model)
    with torch.no_grad():
        model.exits.normal_(generator=torch.Generator().manual_seed(0))
    save_weights(tmp_path / "bad", model, dtype=torch.float16)

    snapshots = {1: tmp_path / "good", 2: tmp_path / "bad"}
    given = [dev], encoder, model, model.shape.grid[1:], tmp_path / "choice.json"
    choice = choose(snapshots, *given)
    assert choice.chosen == 1 and choice.full == {"dev dev RR@10": 1.0}
    good, bad = choice.retention(1), choice.retention(2)
    assert all(good[size] > bad[size] for size in good), (good, bad)
    (tmp_path / "bad").unlink()
    (tmp_path / "good").unlink()
    assert choose(snapshots, *given) == choice


def test_a_size_that_does_not_count_is_measured(dev, tiny_query_encoder, tmp_path):
    encoder = tiny_query_encoder
    model = elastic_from_full(encoder.location.path, encoder.settings, widths=(1.0, 0.5))
    save_weights(tmp_path / "one", model)
    full, *others = model.shape.grid
    kept = tmp_path / "choice.json"
    choice = choose({1: tmp_path / "one"}, [dev], encoder, model, others, kept, also=[full])
    assert set(choice.retention(1)) == set(map(str, others))
    # Before any training it is the full encoder.
    assert choice.retention_apart(1) == {str(full): pytest.approx(1.0)}
    assert json.loads(kept.read_text())["snapshots"][0]["retention_apart"] == choice.retention_apart(1)


def test_a_dev_set_measures_the_full_encoder_as_a_search_does(dev, tiny_query_encoder, place):
    assert len(dev.texts) == 15
    queries = dict(dev.query_set.judged)
    found = Retriever(tiny_query_encoder, dev.index).search(queries, 10)
    wanted = evaluate(dev.query_set.qrels, found, [RR @ 10])[RR @ 10]
    assert dev.value(tiny_query_encoder.encode(dev.texts)) == pytest.approx(wanted)


def test_a_full_encoder_that_finds_nothing_is_no_measure(dev, tiny_query_encoder, tmp_path):
    qrels = [Qrel(query_id, "nowhere", 1) for query_id in dev.query_set.judged]
    lost = replace(dev, query_set=replace(dev.query_set, qrels=qrels))
    model = elastic_from_full(tiny_query_encoder.location.path, tiny_query_encoder.settings)
    with pytest.raises(BadInputError, match="the full encoder itself has dev dev RR@10 = 0"):
        choose({}, [lost], tiny_query_encoder, model, model.shape.grid[1:], tmp_path / "choice.json")


@pytest.mark.parametrize(
    ("retention", "chosen"),
    [
        # The best mean, but one size collapsed: the next best without such a size.
        ({1: {"a": 0.90, "b": 0.90}, 2: {"a": 0.97, "b": 0.85}, 3: {"a": 0.968, "b": 0.898}}, 3),
        # Every snapshot has such a size: the best mean.
        ({1: {"a": 0.90, "b": 0.90}, 2: {"a": 0.97, "b": 0.85}}, 2),
        # Equal ones: the later.
        ({1: {"a": 0.90}, 2: {"a": 0.90}}, 2),
    ],
)
def test_the_rule_of_the_choice(retention, chosen):
    assert pick(retention) == chosen


def test_numbers_by_size_stand_in_a_grid():
    lines = grid_lines({"w1-d1": 0.5, "w1-d3": 0.75, "w0.25-d1": 0.25})
    assert lines == ["              d1      d3", "      w1  0.5000  0.7500", "   w0.25  0.2500        "]
