"""Recall and time of searches with filters in a profile: table, JSON and chart."""

import numpy as np
import pytest
from hashing import GivenVectors, unit_vectors

from elasticdenser.datasets import Passage
from elasticdenser.engine.profiling.filters import measure_filters
from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.index import PassageIndex


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    vectors = unit_vectors(600, 16)
    passages = [Passage(f"d{i}", f"number {i}") for i in range(600)]
    return PassageIndex.build(passages, tmp_path_factory.mktemp("filters") / "index", GivenVectors(vectors))


def test_each_share_of_the_passages_is_measured(index):
    figures = measure_filters(index, unit_vectors(3, 16, seed=1), rounds=1, shares=(1.0, 0.5, 0.01, 0.0001))
    assert [(row["share"], row["n_matching"]) for row in figures] == [(1.0, 600), (0.5, 300), (0.01, 6)]
    assert all(row["recall"] == 1 and row["alone_s"] > 0 and row["relative_time"] > 0 for row in figures)


def test_passages_of_a_mask_are_searched_as_those_of_a_filter(index):
    mask = np.zeros(600, bool)
    mask[[7, 20, 500]] = True
    scores, positions = index.search(index.vectors[7:8], 10, filter=index.matches_of(mask))
    assert positions[0, 0] == 7 and {*positions[0].tolist()} == {7, 20, 500} and scores.shape == (1, 3)


def test_a_mask_counts_positions_without_deleted_passages(index, tmp_path):
    changed = index.snapshot(tmp_path / "changed").delete(["d3"], compact=False)
    mask = np.zeros(len(changed), bool)
    mask[[2, 3, 598]] = True
    _, positions = changed.search(changed.vectors[:1], 10, filter=changed.matches_of(mask))
    assert sorted(positions[0].tolist()) == [2, 3, 598]


def test_a_profile_keeps_the_figures_and_draws_them(index, tmp_path):
    draw = pytest.importorskip("elasticdenser.reports.charts.profile", exc_type=ImportError)
    figures = measure_filters(index, unit_vectors(2, 16, seed=1), rounds=1, shares=(1.0, 0.1))
    levels = [Level(name="w1-d6", quality=1.0, measured_s={1: 0.002, 8: 0.01})]
    profile = Profile(levels=levels, measured={"filters": figures})
    profile.save(tmp_path / "profile.json")
    read = Profile.load(tmp_path / "profile.json")
    assert read.measured["filters"] == figures
    text = draw.draw_profile(tmp_path / "profile.svg", read).read_text()
    assert "Recall with a filter" in text and "without = 1" in text
    without = draw.draw_profile(tmp_path / "without.svg", Profile(levels=levels)).read_text()
    assert "filter" not in without
