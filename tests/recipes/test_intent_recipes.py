"""Recipes of models of intents and slots, and the suite that evaluates what they make."""

from __future__ import annotations

import re

import pytest
from recipe_scripts import RECIPES

from elasticdenser.suites import IntentSuite, read_any_suite
from elasticdenser.training.intent.recipe import IntentRecipe
from elasticdenser.training.kinds import read_any_recipe

SUITE = RECIPES.parent / "eval" / "suites" / "intent-local.toml"


@pytest.mark.parametrize("path", sorted(RECIPES.glob("intent-*.toml")), ids=lambda path: path.stem)
def test_each_recipe_is_one_of_its_task_and_system(path):
    recipe = read_any_recipe(path)
    assert isinstance(recipe, IntentRecipe) and recipe.train.seed == recipe.seed == 1
    task, system = task_and_system(path)
    given = [name for name, body in (("pqrnn", recipe.pqrnn), ("lstm", recipe.lstm)) if body is not None]
    assert recipe.task == task and given == ([] if system == "encoder" else [system.removesuffix("-labels")])
    assert recipe.teacher == (f"models/intent/{task}.encoder" if system == "pqrnn" else "")
    command = f"elasticdenser train recipes/{path.name} --data DATA -o models/intent/{task}.{system}"
    assert f"{command}\n" in path.read_text()


def test_the_suite_evaluates_what_the_recipes_make():
    suite = read_any_suite(SUITE)
    assert isinstance(suite, IntentSuite) and suite.teacher == "encoder"
    made = [task_and_system(path) for path in RECIPES.glob("intent-*.toml")]
    assert {task for task, _ in made} == set(suite.tasks) and {system for _, system in made} == set(suite.models)
    assert all(models.path == f"models/intent/{{task}}.{name}" for name, models in suite.models.items())


def task_and_system(path):
    """Return task and system in the name of a recipe, such as facebook-es and pqrnn-labels."""
    task, system = re.fullmatch(r"intent-(.+?)-((?:encoder|pqrnn|lstm).*)", path.stem).groups()
    return task, system
