"""Recipes of mirror trainings."""

from __future__ import annotations

import pytest
from recipe_scripts import RECIPES

from elasticdenser.training.kinds import read_any_recipe
from elasticdenser.training.mirror.recipe import MirrorRecipe


@pytest.mark.parametrize("path", sorted(RECIPES.glob("mirror-*.toml")), ids=lambda path: path.stem)
def test_each_recipe_reads_raw_text_and_has_one_seed(path):
    recipe = read_any_recipe(path)
    assert isinstance(recipe, MirrorRecipe) and recipe.seed == recipe.train.seed == 1
    assert [source.kind for source in recipe.texts] == ["sentences"]
    assert recipe.changed(steps=20).train.warm_up == 2
