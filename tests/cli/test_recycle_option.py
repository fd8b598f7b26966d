"""`index --recycle`: passages encoded from cached states of the lower layers."""

from __future__ import annotations

import numpy as np
import pytest
from cli_helpers import assert_fails, run

from elasticdenser import PassageIndex


@pytest.fixture
def build(corpus, tiny_model, tmp_path):
    def run_index(name, *options):
        command = ["index", str(corpus), "-o", str(tmp_path / name), "--encoder", str(tiny_model), "--device", "cpu"]
        return run(*command, "--precision", "fp32", *options)

    return run_index


@pytest.mark.slow
def test_an_index_is_built_again_from_cached_states(build, tmp_path):
    cache = tmp_path / "activations"
    first = build("first", "--recycle", str(cache))
    assert first.exit_code == 0, first.output
    assert "states after layer 1 of 0 passages were there, those of 3 were computed; 0.00 GB" in first.stderr
    second = build("second", "--recycle", str(cache), "--recycled-layers", "1")
    assert second.exit_code == 0, second.output
    assert "of 3 passages were there, those of 0 were computed" in second.stderr
    assert build("anew").exit_code == 0
    vectors = [np.array(PassageIndex.open(tmp_path / name).vectors[:]) for name in ("first", "second", "anew")]
    assert np.array_equal(vectors[0], vectors[1]) and np.abs(vectors[0] - vectors[2]).max() < 2e-3
    full = build("full", "--recycle", str(tmp_path / "small"), "--recycled-gb", "0.000002")
    assert "3 did not fit into --recycled-gb" in full.stderr


@pytest.mark.slow
def test_wrong_options_are_refused(build, tmp_path):
    assert_fails(build("index", "--recycled-layers", "1"), "--recycled-layers without --recycle")
    cache = ("--recycle", str(tmp_path / "cache"))
    assert_fails(build("index", *cache, "--recycled-layers", "2"), "got 2 recycled layers of a model of 2")
    assert_fails(build("index", *cache, "--precision", "int8"), "in 8 bits or without torch", "--precision fp32")
    for size in ("nan", "inf", "-1"):
        assert_fails(build("index", *cache, "--recycled-gb", size), f"got --recycled-gb {size}, expected gigabytes")
    assert not (tmp_path / "cache").exists() and not (tmp_path / "index").exists()
