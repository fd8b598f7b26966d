"""Recipes of classifiers, and the suite that evaluates what they make."""

from __future__ import annotations

import pytest
from recipe_scripts import RECIPES

from elasticdenser.suites import GlueSuite, read_any_suite
from elasticdenser.training.classifier.recipe import ClassifierRecipe
from elasticdenser.training.kinds import read_any_recipe

SUITE = RECIPES.parent / "eval" / "suites" / "glue-local.toml"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("glue-*.toml")), ids=lambda path: path.stem)
def test_each_recipe_is_one_of_its_task(path):
    recipe = read_any_recipe(path)
    assert isinstance(recipe, ClassifierRecipe) and path.stem.startswith(f"glue-{recipe.task}")
    assert recipe.teacher is not None and recipe.train.seed == recipe.teacher.seed == 1


def test_the_suite_evaluates_what_the_recipes_make():
    suite = read_any_suite(SUITE)
    assert isinstance(suite, GlueSuite)
    assert {f"glue-{task}" for task in suite.tasks} <= {path.stem for path in RECIPES.glob("glue-*.toml")}
