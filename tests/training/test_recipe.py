"""Recipes as they are read, and the errors that name what is wrong in them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from elasticdenser.errors import BadInputError
from elasticdenser.models.locate import DEFAULT_ELASTIC, find_model
from elasticdenser.training.kinds import read_any_recipe
from elasticdenser.training.recipe import DEFAULT_STEPS, default_recipe, read_recipe
from elasticdenser.training.settings import (
    DevSetSettings,
    DistilSettings,
    InitSettings,
    TableSettings,
    settings_to_json,
)
from elasticdenser.training.texts import TextSource

RECIPES = Path(__file__).parents[2] / "recipes"
GOOD = """
title = "Mine"
encoder = "some/encoder"
seed = 3
passages = ["corpus.jsonl"]
widths = [1, 0.5]
[[texts]]
path = "queries.txt"
kind = "queries"
[[texts]]
path = "corpus.jsonl"
kind = "spans"
limit = 10
[init]
reorder = false
[distil]
steps = 120
temperature = 0.05
[table]
ridge = 1
[[dev_sets]]
path = "dev"
split = "dev"
measure = "nDCG@10"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_is_read(tmp_path):
    recipe = read_recipe(write(tmp_path, GOOD))
    assert (recipe.title, recipe.encoder, recipe.passages) == ("Mine", "some/encoder", ("corpus.jsonl",))
    assert recipe.widths == (1.0, 0.5)
    assert recipe.texts == (
        TextSource(path="queries.txt", kind="queries"),
        TextSource(path="corpus.jsonl", kind="spans", limit=10),
    )
    assert recipe.init == InitSettings(reorder=False)
    assert (recipe.distil.steps, recipe.distil.temperature, recipe.distil.seed) == (120, 0.05, 3)
    assert recipe.table == TableSettings(ridge=1.0, seed=3)
    assert recipe.dev_sets == (DevSetSettings(path="dev", split="dev", measure="nDCG@10"),)
    assert recipe.snapshot_interval == 10
    assert json.loads(json.dumps(asdict(recipe)))["distil"]["steps"] == 120


def test_without_its_section_there_is_no_level_0(tmp_path):
    assert read_recipe(write(tmp_path, GOOD.replace("[table]\nridge = 1", ""))).table is None


def test_the_shipped_model_was_made_by_the_shipped_recipe():
    recipe = read_recipe(RECIPES / "all-MiniLM-L6-v2-subjects.toml")
    provenance = json.loads((find_model(DEFAULT_ELASTIC).path / "elastic.json").read_text())["made_by"]
    plan = provenance["plan"]
    for part, settings in {"distil": recipe.distil, "table": recipe.table}.items():
        assert json.loads(json.dumps(settings_to_json(settings))) == plan[part]
    assert plan["start"]["model"] == recipe.init.model == DEFAULT_ELASTIC
    assert (provenance["title"], provenance["step"]) == (recipe.title, recipe.distil.steps)
    assert provenance["retention"].keys() - {"w1-d6"} == provenance["retention_by_length"].keys()


def test_the_model_that_it_started_from_was_made_by_the_first_recipe():
    recipe = read_recipe(RECIPES / "all-MiniLM-L6-v2.toml")
    assert recipe.distil == DistilSettings(
        steps=6000,
        learning_rate=2e-4,
        exit_learning_rate=5e-4,
        final_share=0.02,
        warm_up=200,
        score_weight=0.3,
        typo_share=0.15,
        seed=1,
    )
    assert recipe.init == InitSettings()
    assert (recipe.seed, recipe.n_neighbours, recipe.snapshot_interval, recipe.target_dtype) == (1, 8, 500, "bfloat16")
    assert len(recipe.texts) == 7 and recipe.texts[0].limit == 230_000


def test_a_caller_may_replace_settings(tmp_path):
    recipe = read_recipe(write(tmp_path, GOOD))
    assert recipe.changed() == recipe
    changed = recipe.changed(encoder="other", index="an/index", steps=50)
    assert (changed.encoder, changed.index, changed.passages) == ("other", "an/index", ())
    assert (changed.distil.steps, changed.distil.warm_up, changed.distil.temperature) == (50, 5, 0.05)
    with pytest.raises(BadInputError, match="got -1 steps"):
        recipe.changed(steps=-1)


def test_a_recipe_for_own_queries_and_passages(tmp_path):
    titled, plain = tmp_path / "titled.jsonl", tmp_path / "plain.txt"
    titled.write_text('{"_id": "1", "title": "Dune", "text": "a novel about a desert planet"}\n')
    plain.write_text("a novel about a desert planet\n")
    recipe = default_recipe(["queries.txt"], [str(titled), str(plain)])
    assert [(source.kind, Path(source.path).name) for source in recipe.texts] == [
        ("queries", "queries.txt"),
        ("titles", "titled.jsonl"),
        ("spans", "titled.jsonl"),
        ("spans", "plain.txt"),
    ]
    assert recipe.passages == (str(titled), str(plain))
    assert recipe.distil.steps == DEFAULT_STEPS
    assert recipe.table is not None and recipe.table.start == "outputs"
    student = default_recipe(["queries.txt"], [], teacher="another/model")
    assert student.table is not None and student.table.start == "embeddings"
    with pytest.raises(BadInputError, match="no texts to train on"):
        default_recipe([], [])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "Mine"', "title = 3", "recipe.title: got 3, expected a value of type str"),
        ('title = "Mine"', 'titel = "Mine"', "recipe: unknown key 'titel'"),
        ('title = "Mine"', 'index = "an/index"', "both 'index' and 'passages'"),
        ('title = "Mine"', 'select_by = "worst"', "got select_by = 'worst', expected one of mean, mean-and-worst"),
        ('title = "Mine"', 'target_dtype = "half"', "got target_dtype = 'half', expected one of auto"),
        ("seed = 3", "seed = -1", "recipe.seed: got -1, expected"),
        ('passages = ["corpus.jsonl"]', "", "dev: there are no passages to search"),
        ("widths = [1, 0.5]", "widths = 1", "recipe.widths: got 1, expected a list"),
        ("widths = [1, 0.5]", "layers = [[0, -1]]", r"recipe.layers\[0\]\[1\]: got -1, expected"),
        ("widths = [1, 0.5]", "layers = [[0]]\ndepths = [1]", "got both 'depths' and 'layers'"),
        ("widths = [1, 0.5]", "layers = [[0, 1], [0, 2]]", r"got lists of \[2, 2\] layers, expected each to be longer"),
        ("widths = [1, 0.5]", "layers = [[]]", r"got lists of \[0\] layers, expected each to be longer"),
        ("reorder = false", 'model = "trained"', "got 'init.model' and widths, depths or layers"),
        ('kind = "queries"', 'kind = "query"', "got kind 'query' of training texts, expected one of queries"),
        ('kind = "queries"', "", r"recipe.texts\[0\]: 'kind' is missing"),
        ("limit = 10", "limit = -1", r"recipe.texts\[1\].limit: got -1, expected"),
        ("[init]", "[begin]", "recipe: unknown key 'begin'"),
        ("[init]", "[[init]]", r"recipe.init: got \[.*, expected a table"),
        ("reorder = false", "reorder = 0", "recipe.init.reorder: got 0, expected a value of type bool"),
        ("reorder = false", "batch = 0", "recipe.init.batch: got 0, expected"),
        ("steps = 120", "", "recipe.distil: 'steps' is missing"),
        ("steps = 120", "steps = -1", "recipe.distil.steps: got -1, expected"),
        ("temperature = 0.05", 'subnets = ["small"]', "got subnet 'small'"),
        ("ridge = 1", "ridge = 0", "recipe.table.ridge: got 0, expected"),
        ("ridge = 1", "ridges = 1", "recipe.table: unknown key 'ridges'"),
        ("ridge = 1", 'start = "texts"', "got start = 'texts' of .table., expected one of embeddings, outputs"),
        ('measure = "nDCG@10"', 'measure = "nDCGG@10"', "nDCGG@10"),
        (
            'measure = "nDCG@10"',
            'measure = "nDCG@10"\nindex = "i"\npassages = ["p"]',
            "both 'index' and 'passages' of a dev set",
        ),
        ("[[dev_sets]]", "[dev_sets]", r"write \[\[dev_sets\]\]"),
        ("[distil]", "[[distil]]", r"recipe.distil: got \[.*, expected a table"),
        ("[table]", "[[table]]", r"recipe.table: got \[.*, expected"),
        (GOOD, "title = 'x'\n[distil]\nsteps = 1", "there are no texts to train on"),
        (GOOD, "title = ", "this is not TOML"),
    ],
)
def test_an_invalid_recipe_is_refused_with_file_and_key(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(BadInputError, match=message) as error:
        read_recipe(write(tmp_path, GOOD.replace(old, new, 1)))
    assert str(error.value).startswith(str(tmp_path / "recipe.toml"))


def test_a_missing_recipe_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="cannot read this recipe"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_recipe_can_be_read(path):
    assert read_any_recipe(path).title


def test_a_student_has_other_tokens_than_its_teacher():
    recipe = read_recipe(RECIPES / "all-mpnet-base-v2-student.toml")
    with pytest.raises(BadInputError, match=r"got start = 'outputs' of .table., expected 'embeddings' for a student"):
        replace(recipe, table=replace(recipe.table, start="outputs"))


def test_the_recipe_of_a_student_can_be_read_and_cut_to_its_fit():
    recipe = read_recipe(RECIPES / "all-mpnet-base-v2-student.toml")
    assert recipe.is_student and recipe.teacher.endswith("all-mpnet-base-v2")
    fitted = recipe.changed(steps=0)
    assert fitted.distil.steps == 0 and fitted.table == recipe.table and fitted.table.ridge_map == 1.0
    assert recipe.changed(steps=20).table.steps == recipe.changed(steps=20).distil.steps == 20
