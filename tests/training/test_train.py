"""Whole trainings of a tiny encoder: the model, the saved results of each stage, and resumption."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ir_measures import RR, Qrel
from training_helpers import Recorder, write_data, write_recipe

from elasticdenser import ElasticQueryEncoder, PassageEncoder, Retriever
from elasticdenser.artifacts import sha256_of
from elasticdenser.errors import BadInputError, BuildError, ElasticDenserError, ModelError
from elasticdenser.evaluation import evaluate
from elasticdenser.index import PassageIndex
from elasticdenser.models.elastic_files import load_elastic
from elasticdenser.models.elastic_init import elastic_from_full, fit_exits
from elasticdenser.models.locate import DEFAULT_ELASTIC, TRAINED_WEIGHTS
from elasticdenser.models.manifest import retention_by_length_of
from elasticdenser.training.batches import padded, token_ids_of
from elasticdenser.training.dev_sets import load_dev_set
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.recipe import default_recipe, read_recipe
from elasticdenser.training.selection import SnapshotSelection, WorstRetention, best_step, select_snapshot
from elasticdenser.training.settings import DevSetSettings
from elasticdenser.training.snapshots import save_weights
from elasticdenser.training.subnet_grid import grid_lines
from elasticdenser.training.token_outputs import TokenOutputs
from elasticdenser.training.train import train

SUBNETS = ["w0.5-d2", "w1-d1", "w0.25-d2", "w0.5-d1", "w0.25-d1"]


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_data(folder)
    return folder


def run(recipe, data_folder: Path, output: Path, recorder: Recorder | None = None, **options):
    recorder = recorder or Recorder()
    settings = TrainOptions(data=data_folder, device="cpu", offline=True, **options)
    return train(recipe, output, settings, progress=recorder, log=recorder.messages.append)


@pytest.fixture(scope="module")
def trained(data_folder, tiny_model, tmp_path_factory):
    """Result of a finished training, and its recorder."""
    recorder, output = Recorder(), tmp_path_factory.mktemp("models") / "whole"
    return run(read_recipe(write_recipe(data_folder, tiny_model)), data_folder, output, recorder), recorder


@pytest.mark.slow
def test_a_training_makes_a_model_with_all_subnets(trained, tiny_model, data_folder):
    result, recorder = trained
    encoder = ElasticQueryEncoder.from_pretrained(str(result.folder), dtype="float32")
    assert [*map(str, result.subnets)] == [*SUBNETS, "level0"] == [*map(str, encoder.subnets[1:])]
    texts = (data_folder / "queries.txt").read_text().splitlines()
    full = ElasticQueryEncoder.from_pretrained(str(tiny_model), dtype="float32").encode(texts)
    means = {subnet: float((encoder.encode(texts, subnet) * full).sum(axis=1).mean()) for subnet in result.subnets}
    assert all(mean > 0.8 for mean in means.values()), means
    provenance = load_elastic(result.folder).provenance
    assert provenance["name"] == str(tiny_model) and provenance["step"] == result.step
    assert provenance["plan"]["distil"]["steps"] == 10
    assert {subnet: worst["retention"] for subnet, worst in provenance["worst_retention"].items()} == pytest.approx(
        {subnet: retention for subnet, retention in provenance["retention"].items() if subnet != "w1-d2"}
    )
    # The dev set has too few queries for more than one range, which has the retention of the whole set.
    assert retention_by_length_of(result.folder) == {
        subnet: {32: pytest.approx(worst["retention"])} for subnet, worst in provenance["worst_retention"].items()
    }
    assert any(text.startswith(f"step {result.step} selected; retention") for text in recorder.messages)
    assert {"Encoding training texts", "Fitting the subnets", "Tuning level 0", "Training"} <= recorder.activities
    assert any("step 8 of 10, cosines" in text and "w0.25" in text for text in recorder.messages)
    assert recorder.messages[:2] == ["reading the training texts", "opening the passages and the dev sets"]
    assert "level 0: a fit to all" in recorder.messages[3] and "10 steps of 16 texts" in recorder.messages[3]
    assert recorder.messages[4] == f"a new training in {result.run}"


def test_snapshots_and_their_measures_are_saved(trained):
    result, _ = trained
    files = sorted(path.name for path in (result.run / "snapshots").iterdir())
    assert files == [f"step-{step:06d}.safetensors" for step in (4, 8, 10)]
    saved = json.loads((result.run / "selection.json").read_text())
    assert [snapshot["step"] for snapshot in saved["snapshots"]] == [8, 10]
    assert saved["selected"] == result.step and set(saved["snapshots"][0]["retention"]) == set(SUBNETS)
    worst = saved["snapshots"][0]["worst_retention"]
    assert set(worst) == {*SUBNETS, "level0"} and worst["level0"]["dev_set"] == "dev dev RR@10"
    assert saved["full"]["dev dev RR@10"] > 0.1 and 0 < saved["level0"]["dev dev RR@10"] <= 1


def test_what_is_finished_is_not_repeated(trained, data_folder, tiny_model):
    result, recorder = trained
    again = Recorder()
    assert (
        run(read_recipe(write_recipe(data_folder, tiny_model)), data_folder, result.folder, again).step == result.step
    )
    assert not again.activities & {"Encoding training texts", "Fitting the subnets", "Tuning level 0", "Training"}
    assert len(again.calls) < len(recorder.calls)
    expected = f"resumes in {result.run}: level 0 at step 6 of 6, distillation at step 10 of 10"
    assert expected in again.messages


def test_another_recipe_gets_a_run_of_its_own_and_keeps_the_vectors(trained, data_folder, tiny_model, tmp_path):
    result, _ = trained
    work = tmp_path / "work"
    shutil.copytree(result.run.parent, work)
    path = write_recipe(data_folder, tiny_model, ("learning_rate = 1e-3", "learning_rate = 2e-3"))
    recorder = Recorder()
    other = run(replace(read_recipe(path), dev_sets=()), data_folder, tmp_path / "other", recorder, work=work)
    assert other.run.name != result.run.name and (work / result.run.name).is_dir()
    assert "Training" in recorder.activities and "Encoding training texts" not in recorder.activities
    assert other.step == 10 and other.selection is None


def test_a_training_starts_from_a_trained_model(trained, data_folder, tiny_model, tmp_path):
    result, _ = trained
    path = write_recipe(data_folder, tiny_model, ("[init]", f'[init]\nmodel = "{result.folder}"'))
    recipe, recorder = read_recipe(path), Recorder()
    continued = run(replace(recipe, table=None, dev_sets=()), data_folder, tmp_path / "continued", recorder)
    assert not recorder.activities & {"Fitting the subnets", "Tuning level 0"} and "Training" in recorder.activities
    before, after = (load_elastic(folder).model for folder in (result.folder, continued.folder))
    assert torch.equal(before.table, after.table)
    difference = max(float((a - b).abs().max()) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    assert 0 < difference < 0.1  # ten steps from the trained weights, not from the full encoder's
    plan = load_elastic(continued.folder).provenance["plan"]
    assert plan["start"] == {"model": str(result.folder), "weights_sha256": sha256_of(result.folder / TRAINED_WEIGHTS)}


def test_a_model_of_another_encoder_is_no_start(data_folder, tiny_model, tmp_path):
    path = write_recipe(data_folder, tiny_model, ("[init]", f'[init]\nmodel = "{DEFAULT_ELASTIC}"'))
    with pytest.raises(ModelError, match="another vector space"):
        run(read_recipe(path), data_folder, tmp_path / "refused", Recorder())


@pytest.mark.slow
@pytest.mark.parametrize(
    "stop_at", [("Fitting the subnets", 2), ("Tuning level 0", 3), ("Training", 7), ("Training", 8)]
)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(trained, data_folder, tiny_model, tmp_path, stop_at):
    result, _ = trained
    recipe, output = read_recipe(write_recipe(data_folder, tiny_model)), tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        run(recipe, data_folder, output, Recorder(stop_at))
    assert not output.exists()
    recorder = Recorder()
    resumed = run(recipe, data_folder, output, recorder)
    assert ("Training", 3) not in recorder.calls or stop_at[0] != "Training"
    for name in ("elastic.safetensors", "model.safetensors"):
        assert (output / name).read_bytes() == (result.folder / name).read_bytes()
    assert resumed.selection == result.selection


def test_queries_alone_are_enough(data_folder, tiny_model, tmp_path):
    recipe = default_recipe([str(data_folder / "queries.txt")], []).changed(encoder=str(tiny_model), steps=3)
    recipe = replace(recipe, table=replace(recipe.table, steps=2))
    result = run(recipe, tmp_path, tmp_path / "mine")
    assert result.step == 3 and result.selection is None
    assert ElasticQueryEncoder.from_pretrained(str(result.folder)).encode(["dune"], "level0").shape == (1, 32)


def test_level0_starts_from_vectors_of_single_tokens(data_folder, tiny_model, tmp_path):
    recipe = default_recipe([str(data_folder / "queries.txt")], []).changed(encoder=str(tiny_model), steps=1)
    crowded = replace(recipe, query_prompt="a " * 80)  # leaves no room for a query
    with pytest.raises(
        BadInputError, match=r"cannot encode single tokens: train by a recipe with start = 'embeddings'"
    ):
        run(crowded, data_folder, tmp_path / "crowded")
    table = replace(recipe.table, start="outputs", steps=0, iterations=0, ridge_map=1e6)
    recorder = Recorder()
    result = run(replace(recipe, table=table), tmp_path, tmp_path / "mine", recorder)
    assert "Encoding tokens" in recorder.activities and "Mapping word embeddings" not in recorder.activities
    assert load_elastic(result.folder).provenance["plan"]["table"]["start"] == "outputs"
    (path,) = result.run.parent.glob("tokens-*.npy")
    model, recipe_texts = load_elastic(result.folder).model, (data_folder / "queries.txt").read_text().splitlines()
    shares = np.zeros(model.shape.vocabulary)
    for token_ids in ElasticQueryEncoder.from_pretrained(str(tiny_model))._tokenize(recipe_texts, ""):
        np.add.at(shares, token_ids, 1 / len(token_ids))
    outputs = TokenOutputs(np.load(path).astype(np.float32), None).weighted(shares, len(recipe_texts))
    assert F.cosine_similarity(model.table.detach(), torch.from_numpy(outputs)).min() > 0.99


def test_passages_alone_are_enough(data_folder, tiny_model, tmp_path):
    lines = [json.loads(line)["text"] for line in (data_folder / "corpus.jsonl").read_text().splitlines()]
    (tmp_path / "mine.txt").write_text("\n".join(lines) + "\n")
    recipe = default_recipe([], [str(tmp_path / "mine.txt")]).changed(encoder=str(tiny_model), steps=2)
    result = run(replace(recipe, table=None), tmp_path, tmp_path / "mine")
    (index,) = (tmp_path / "mine.work").glob("passages-*/")
    assert len(PassageIndex.open(index)) == 40
    assert json.loads((result.run / "plan.json").read_text())["passages"]["n"] == 40
    assert [*map(str, result.subnets)] == SUBNETS


def test_an_index_names_its_encoder_and_its_prompts(data_folder, tiny_model, tmp_path):
    encoder = PassageEncoder.from_pretrained(str(tiny_model), dtype="float32", query_prompt="query: ")
    PassageIndex.build(data_folder / "corpus.jsonl", tmp_path / "index", encoder)
    recipe = default_recipe([str(data_folder / "queries.txt")], []).changed(index=str(tmp_path / "index"), steps=1)
    result = run(replace(recipe, table=None), tmp_path, tmp_path / "mine")
    plan = json.loads((result.run / "plan.json").read_text())
    assert plan["encoder"]["settings"]["query_prompt"] == "query: " and plan["passages"]["n"] == 40
    # The model has the settings that it was trained with, wherever it is loaded from.
    assert ElasticQueryEncoder.from_pretrained(str(result.folder)).settings == encoder.settings


def test_an_output_folder_with_other_files_is_refused_before_the_work(data_folder, tiny_model, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    recipe = read_recipe(write_recipe(data_folder, tiny_model))
    with pytest.raises(BuildError, match="it holds something other than an elastic encoder"):
        run(recipe, data_folder, tmp_path / "mine")
    assert not (tmp_path / "mine.work").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"queries.txt"', '"none.txt"'), "none.txt"),
        (('path = "dev"', 'path = "none.jsonl"\n#'), "none.jsonl"),
        (('split = "dev"', ""), "'split' is missing"),
        (('passages = ["corpus.jsonl"]', 'passages = ["none.jsonl"]'), "none.jsonl"),
        (('passages = ["corpus.jsonl"]', 'index = "none"'), "none"),
        (("n_neighbours = 2", "n_neighbours = 2\nwidths = [1, 0.3]"), "got width 0.3 of 4 heads"),
        (("n_neighbours = 2", "n_neighbours = 2\ndepths = [1, 9]"), "got depth 9 of 2 layers"),
        (("n_neighbours = 2", "n_neighbours = 2\nwidths = [1]\ndepths = [2]"), "no subnet to train beside the full"),
        (("bfloat16 = false", 'subnets = ["w0.5-d7"]'), "w0.5-d7"),
    ],
)
def test_faults_show_before_the_training(data_folder, tiny_model, tmp_path, change, message):
    recorder = Recorder()
    with pytest.raises(ElasticDenserError, match=message):
        run(read_recipe(write_recipe(data_folder, tiny_model, change)), data_folder, tmp_path / "mine", recorder)
    assert not recorder.activities & {"encoding", "Encoding training texts", "Fitting the subnets", "Training"}


@pytest.fixture(scope="module")
def dev(data_folder, tiny_encoder, tmp_path_factory):
    index = PassageIndex.build(data_folder / "corpus.jsonl", tmp_path_factory.mktemp("dev") / "index", tiny_encoder)
    settings = DevSetSettings(path="dev", split="dev", measure="RR@10", limit=15)
    return load_dev_set(settings, index, data=data_folder, seed=1)


def test_the_better_snapshot_is_selected_and_not_measured_again(dev, tiny_query_encoder, data_folder, tmp_path):
    encoder = tiny_query_encoder
    best = {hit.query_id: hit.doc_id for hit in Retriever(encoder, dev.index).search(dev.query_set.judged, 1)}
    qrels = [Qrel(query_id, doc_id, 1) for query_id, doc_id in best.items()]
    dev = replace(dev, query_set=replace(dev.query_set, qrels=qrels))
    model = elastic_from_full(encoder.location.path, encoder.settings, widths=(1.0, 0.5))
    texts = (data_folder / "queries.txt").read_text().splitlines() * 5
    token_ids, mask = padded(token_ids_of(encoder, texts))
    fit_exits(model, [(token_ids, mask, torch.from_numpy(encoder.encode(texts)))])
    save_weights(tmp_path / "good", model)
    with torch.no_grad():
        model.exits.normal_(generator=torch.Generator().manual_seed(0))
    save_weights(tmp_path / "bad", model, dtype=torch.float16)

    snapshots = {1: tmp_path / "good", 2: tmp_path / "bad"}
    arguments = [dev], encoder, model, model.shape.grid[1:], tmp_path / "selection.json"
    selection = select_snapshot(snapshots, *arguments)
    assert selection.selected == 1 and selection.full == {"dev dev RR@10": 1.0}
    good, bad = selection.retention(1), selection.retention(2)
    assert all(good[subnet] > bad[subnet] for subnet in good), (good, bad)
    (tmp_path / "bad").unlink()
    (tmp_path / "good").unlink()
    assert select_snapshot(snapshots, *arguments) == selection


def test_a_subnet_that_does_not_count_is_measured_for_the_record(dev, tiny_query_encoder, tmp_path):
    encoder = tiny_query_encoder
    model = elastic_from_full(encoder.location.path, encoder.settings, widths=(1.0, 0.5))
    save_weights(tmp_path / "one", model)
    full, *others = model.shape.grid
    cache = tmp_path / "selection.json"
    selection = select_snapshot({1: tmp_path / "one"}, [dev], encoder, model, others, cache, for_record=[full])
    assert set(selection.retention(1)) == set(map(str, others))
    # Before any training it is the full encoder.
    assert selection.retention_for_record(1) == {str(full): pytest.approx(1.0)}
    assert json.loads(cache.read_text())["snapshots"][0]["retention_for_record"] == selection.retention_for_record(1)


def test_a_dev_set_measures_the_full_encoder_as_a_search_does(dev, tiny_query_encoder, data_folder):
    assert len(dev.texts) == 15
    queries = dict(dev.query_set.judged)
    run_of_search = Retriever(tiny_query_encoder, dev.index).search(queries, 10)
    expected = evaluate(dev.query_set.qrels, run_of_search, [RR @ 10])[RR @ 10]
    assert dev.value(tiny_query_encoder.encode(dev.texts)) == pytest.approx(expected)


def test_a_dev_set_on_which_the_full_encoder_finds_nothing_is_refused(dev, tiny_query_encoder, tmp_path):
    qrels = [Qrel(query_id, "nowhere", 1) for query_id in dev.query_set.judged]
    lost = replace(dev, query_set=replace(dev.query_set, qrels=qrels))
    model = elastic_from_full(tiny_query_encoder.location.path, tiny_query_encoder.settings)
    with pytest.raises(BadInputError, match="the full encoder itself has dev dev RR@10 = 0"):
        select_snapshot({}, [lost], tiny_query_encoder, model, model.shape.grid[1:], tmp_path / "selection.json")


@pytest.mark.parametrize(
    ("retention", "selected"),
    [
        # The best mean, but a subnet collapsed: the next best without such a subnet.
        ({1: {"a": 0.90, "b": 0.90}, 2: {"a": 0.97, "b": 0.85}, 3: {"a": 0.968, "b": 0.898}}, 3),
        # Every snapshot has such a subnet: the best mean.
        ({1: {"a": 0.90, "b": 0.90}, 2: {"a": 0.97, "b": 0.85}}, 2),
        # Equal ones: the later.
        ({1: {"a": 0.90}, 2: {"a": 0.90}}, 2),
    ],
)
def test_the_rule_of_selection(retention, selected):
    assert best_step(retention) == selected


def test_the_worst_dev_set_counts_if_the_recipe_says_so():
    retention = {1: {"a": 0.95, "b": 0.90}, 2: {"a": 0.948, "b": 0.90}, 3: {"a": 0.98, "b": 0.80}}
    worst = {
        step: {subnet: WorstRetention(dev_set="dev", retention=value) for subnet in ("a", "b")}
        for step, value in {1: 0.7, 2: 0.8, 3: 0.9}.items()
    }
    assert best_step(retention) == 1 and best_step(retention, worst) == 3
    # A subnet that collapsed in the mean over the dev sets excludes a snapshot all the same.
    best = {**retention, 3: {"a": 0.949, "b": 0.80}}
    assert best_step(best, worst) == 2


def test_the_worst_dev_set_of_each_subnet_is_reported():
    selection = SnapshotSelection(
        selected=5,
        full={"easy": 0.8, "hard": 0.5},
        values={5: {"easy": {"w1-d1": 0.8, "w1-d2": 0.6}, "hard": {"w1-d1": 0.4, "w1-d2": 0.45}}},
        level0={"easy": 0.4, "hard": 0.4},
        for_record=("w1-d2",),
    )
    worst = selection.worst_retention(5)
    assert {name: subnet.dev_set for name, subnet in worst.items()} == {"w1-d1": "hard", "level0": "easy"}
    assert worst["w1-d1"].retention == pytest.approx(0.8) and worst["level0"].retention == pytest.approx(0.5)
    lines = selection.report().splitlines()
    assert lines[0].startswith("step 5 selected") and len(lines) == 3
    assert lines[1].split() == ["w1-d1", "0.9000", "0.8000", "hard"]


def test_figures_of_subnets_are_shown_as_a_grid():
    lines = grid_lines({"w1-d1": 0.5, "w1-d3": 0.75, "w0.25-d1": 0.25})
    assert lines == ["              d1      d3", "      w1  0.5000  0.7500", "   w0.25  0.2500        "]
