"""Late-interaction rankers on disk."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from kernel_helpers import needs_fast_path
from late_interaction_models import write_late_interaction

from elasticdenser import LateInteractionRanker
from elasticdenser.errors import BuildError, ModelError
from elasticdenser.rankers.late_interaction_files import read_late_interaction, save_late_interaction

pytestmark = needs_fast_path


@pytest.fixture(scope="module")
def folder(tiny_elastic, tmp_path_factory):
    return write_late_interaction(tmp_path_factory.mktemp("late") / "tiny", tiny_elastic)


def test_damaged_files_are_refused(tiny_elastic, tmp_path):
    folder = write_late_interaction(tmp_path / "late", tiny_elastic)
    path = folder / "late-interaction.json"
    content = json.loads(path.read_text())
    for key, value, message in (
        ("format", 2, "got format 2, expected 3"),
        ("vector_weights", {}, "vector_weights lacks w1-d2: fetch the model again"),
        ("vector_weights", {"w1-d2": -1}, "vector_weights"),
        ("shape", {**content["shape"], "subnets": []}, "subnets"),
        ("shape", {**content["shape"], "dim": 9}, "got full.weight of F16"),
        ("shape", {**content["shape"], "subnets": ["x"]}, r"late-interaction\.json: got subnet 'x', expected the form"),
        ("settings", {"max_length": 1}, "max_length"),
        ("calibration", {"w1-d2": {"scale": -1}}, "scale"),
    ):
        path.write_text(json.dumps({**content, key: value}))
        with pytest.raises(ModelError, match=message):
            read_late_interaction(folder)
    path.write_text(json.dumps({**content, "settings": {"max_length": 100_000}}))
    with pytest.raises(ModelError, match=r"got max_length = 100000 .*, expected at most 64, the positions of"):
        LateInteractionRanker.from_pretrained(folder)
    (folder / "late-interaction.safetensors").unlink()
    with pytest.raises(ModelError, match=r"cannot be read \(No such file or directory\): fetch the model again"):
        read_late_interaction(folder)


def test_transposed_weights_are_stored_in_order(folder, tmp_path):
    model = read_late_interaction(folder)
    queries = {subnet: replace(own, weight=np.asfortranarray(own.weight)) for subnet, own in model.queries.items()}
    save_late_interaction(tmp_path / "transposed", replace(model, queries=queries))
    for subnet, own in read_late_interaction(tmp_path / "transposed").queries.items():
        assert np.array_equal(own.weight, model.queries[subnet].weight)


def test_only_its_own_kind_is_replaced(folder, tmp_path):
    model = read_late_interaction(folder)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BuildError, match="something other than a late-interaction ranker"):
        save_late_interaction(tmp_path, model)
    first = next(iter(model.queries))
    for weight in (float("nan"), float("inf"), -1.0):
        wrong = {**model.queries, first: replace(model.queries[first], vector_weight=weight)}
        with pytest.raises(ModelError, match="expected a number from 0"):
            save_late_interaction(tmp_path / "new", replace(model, queries=wrong))
    model.full[0, 0] = 1e9
    with pytest.raises(ModelError, match="not finite in float16"):
        save_late_interaction(tmp_path / "new", model)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
