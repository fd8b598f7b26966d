"""Missing files of a recipe: all of them in one error, before any work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ranker_helpers import write_ranker_recipe
from training_helpers import Recorder, write_data, write_recipe

from elasticdenser.errors import BadInputError
from elasticdenser.training.inputs import TrainOptions
from elasticdenser.training.kinds import read_any_recipe, train_model
from elasticdenser.training.recipe_paths import check_paths

NO_ENCODER = Path("no/encoder")


def missing_of(recipe, data: Path, output: Path) -> list[str]:
    """Return the settings that the error of a training names."""
    recorder = Recorder()
    with pytest.raises(BadInputError) as caught:
        train_model(
            recipe, output, TrainOptions(data=data, offline=True), progress=recorder, log=recorder.messages.append
        )
    assert not recorder.calls and not recorder.messages and not output.with_name(f"{output.name}.work").exists()
    assert str(data) in str(caught.value) and "\n" not in str(caught.value)
    return re.findall(r"[\w.\[\]]+(?=: ')", str(caught.value))


def test_all_missing_sources_of_an_encoder_are_named_before_any_work(tmp_path):
    recipe = read_any_recipe(
        write_recipe(
            tmp_path,
            NO_ENCODER,
            ('passages = ["corpus.jsonl"]', 'passages = ["corpus.jsonl", "other.jsonl", ""]'),
            ('path = "dev"', 'path = "dev.jsonl"\nindex = "indexes/dev"'),
        )
    )
    write_data(tmp_path)
    (tmp_path / "queries.txt").unlink()
    expected = ["passages[1]", "passages[2]", "texts[0].path", "dev_sets[0].path", "dev_sets[0].index"]
    assert missing_of(recipe, tmp_path, tmp_path / "mine") == expected


def test_all_missing_sources_of_a_ranker_are_named_before_any_work(tmp_path):
    changes = (('path = "dev"', 'path = "dev/"\nrun = "runs/a.trec"\npassages = ["dev.jsonl"]'),)
    recipe = read_any_recipe(write_ranker_recipe(tmp_path, NO_ENCODER, *changes))
    missing = missing_of(recipe, tmp_path, tmp_path / "mine")
    assert missing[-3:] == ["dev_lists[0].path", "dev_lists[0].run", "dev_lists[0].passages[0]"]
    assert "passages[0]" in missing


def test_ids_of_ir_datasets_and_absolute_paths_are_sources_too(tmp_path):
    write_data(tmp_path)
    there = (('"queries.txt"', '"msmarco-passage/train"'), ('passages = ["corpus', f'passages = ["{tmp_path}/corpus'))
    check_paths(read_any_recipe(write_recipe(tmp_path, NO_ENCODER, *there)), tmp_path)
    scheme = ('passages = ["corpus.jsonl"]', 'passages = ["sqlite:notes.db?query=SELECT 1"]')
    check_paths(read_any_recipe(write_recipe(tmp_path, NO_ENCODER, scheme)), tmp_path)
    unknown = read_any_recipe(write_recipe(tmp_path, NO_ENCODER, ('"queries.txt"', '"msmarco-pasage/train"')))
    with pytest.raises(BadInputError, match=r"texts\[0\].path: 'msmarco-pasage/train' is neither .*did you mean"):
        check_paths(unknown, tmp_path)
