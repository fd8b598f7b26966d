"""Profiles: interpolation, the ladder, files, and what is refused."""

from __future__ import annotations

import json
import math

import pytest
from engine_helpers import PROFILE, level
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.engine.correction import Correction
from elasticdenser.engine.profiling.profile import Level, Profile
from elasticdenser.errors import BadInputError, QueryError


def test_latencies_are_interpolated_and_never_fall():
    one = Level(name="a", quality=1.0, measured_s={4: 0.008, 1: 0.002, 8: 0.007})
    assert one.latency_s[:5] == pytest.approx([0, 0.002, 0.004, 0.006, 0.008])
    assert one.latency_s[5:] == pytest.approx([0.008] * 4)


@given(st.floats(0, 0.06))
def test_the_largest_batch_is_the_last_that_fits(budget_s):
    for one in PROFILE.levels:
        size = one.largest_batch(budget_s)
        assert one.latency_s[size] <= budget_s
        assert size == len(one.latency_s) - 1 or one.latency_s[size + 1] > budget_s


def test_capacity_and_the_batch_that_is_enough():
    one = level("a", 1.0, 1.0, 16.5)  # 0.5 ms each and 0.5 ms a batch
    assert one.capacity_per_s() == pytest.approx(32 / 0.0165)
    assert one.capacity_per_s(0.0015) == pytest.approx(2 / 0.0015)
    assert one.capacity_per_s(0.0001) == pytest.approx(1000)
    assert 16 < one.enough() < 32


def test_levels_stand_best_first_and_the_ladder_leaves_out_what_is_beaten():
    profile = Profile(
        levels=[
            level("small", 0.8, 0.2, 6),
            level("bad", 0.85, 3, 90),
            level("full", 1, 2, 60),
            level("mid", 0.9, 1, 20),
        ]
    )
    assert [one.name for one in profile.levels] == ["full", "mid", "bad", "small"]
    assert [profile.levels[place].name for place in profile.ladder] == ["full", "mid", "small"]


def test_the_hull_leaves_out_what_a_mixture_beats():
    # Half of the queries at full and half at small: .9 at 1.1 ms, above the level between them.
    profile = Profile(levels=[level("full", 1, 2, 64), level("mid", 0.85, 1.1, 35.2), level("small", 0.8, 0.2, 6.4)])
    assert [profile.levels[place].name for place in profile.hull] == ["full", "small"]
    assert len(profile.ladder) == 3
    assert [one.name for one in PROFILE.levels] == [PROFILE.levels[place].name for place in PROFILE.hull]


def test_a_minimum_is_a_quality():
    beaten = Profile(levels=[level("full", 1, 2, 60), level("fast", 0.95, 1, 20), level("slow", 0.94, 1.5, 30)])
    assert beaten.floor("slow") == beaten.place("fast")
    assert beaten.floor(None) == 3
    with pytest.raises(QueryError, match=r"got level 'w9'.*full, fast, slow"):
        beaten.floor("w9")


def test_what_is_saved_is_read_back(tmp_path):
    path = tmp_path / "profile.json"
    hasty = Level(name="hasty", quality=0.3, measured_s={1: 1e-5}, recall=0.9)
    profile = Profile(levels=[*PROFILE.levels, hasty], measured={"cpu": "some"})
    profile.save(path)
    assert Profile.load(path) == profile


def _changed(**changes):
    row = {"name": "a", "quality": 1.0, "latency_s": {"1": 0.001}} | changes
    return {"version": 1, "levels": [row]}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([], "expected a JSON object"),
        ({}, "'version' is missing"),
        ({"version": 2, "levels": []}, "version 2"),
        ({"version": 1, "levels": []}, "no levels"),
        ({"version": 1, "levels": {}}, "expected levels to be a list"),
        ({"version": 1, "levels": [7]}, "level number 1 is '7'"),
        ({"version": 1, "levels": [], "extra": 1}, "unknown key 'extra'"),
        (_changed(color="red"), "unknown key 'color'"),
        (_changed(name=""), "got a level named ''"),
        (_changed(quality="good"), "got quality 'good'"),
        (_changed(quality=math.nan), "got quality nan"),
        (_changed(quality=True), "got quality True"),
        (_changed(recall=0), "got recall 0"),
        (_changed(recall=1.5), "got recall 1.5"),
        (_changed(recall="most"), "got recall 'most'"),
        (_changed(latency_s={}), "no latency of one query alone"),
        (_changed(latency_s={"2": 0.1}), "no latency of one query alone"),
        (_changed(latency_s={"1": 0.1, "0": 0.1}), "batch of 0"),
        (_changed(latency_s={"1": -1}), "got -1 s"),
        (_changed(latency_s={"1": math.inf}), "got inf s"),
        (_changed(latency_s={"one": 1}), "batch size 'one'"),
        (_changed(latency_s={"1": 0.1, "1" * 5000: 1}), "expected a whole number from 1 to 4096"),
        (_changed(latency_s={"1": 10**400}), "expected seconds above 0"),
        (_changed(quality=10**400), "expected a share of the best level's"),
        (_changed(latency_s=[1]), "expected a JSON object"),
        (_changed(latency_s={"1": 0.1, "1000000000": 0.2}), "sizes from 1 to"),
        ({"version": 1, "levels": [_changed()["levels"][0]] * 2}, "two levels are named a"),
    ],
)
def test_what_is_no_profile_is_refused_in_one_line(tmp_path, value, said):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(value))
    with pytest.raises(BadInputError, match=r"profile\.json: ") as caught:
        Profile.load(path)
    assert said in str(caught.value) and len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(tmp_path, content):
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="this is no JSON"):
        Profile.load(path)
    with pytest.raises(BadInputError, match="No such file"):
        Profile.load(tmp_path / "none.json")
    with pytest.raises(BadInputError, match="Is a directory"):
        Profile.load(tmp_path)


def test_a_slow_machine_is_noticed_within_ten_batches_and_forgotten_later():
    correction = Correction()
    for _ in range(15):
        correction.observe(0.001, 0.002)
    assert correction.ratio == pytest.approx(2, rel=0.1)
    for _ in range(100):
        correction.observe(0.001, 0.001)
    assert correction.ratio == pytest.approx(1, rel=0.1)


def test_a_single_pause_counts_for_little():
    correction = Correction()
    correction.observe(0.001, 5.0)
    assert correction.ratio <= 1.2


def test_what_is_not_seen_again_is_forgotten():
    correction = Correction(half_life_s=1.0)
    correction.forget(100.0)
    for _ in range(50):
        correction.observe(0.001, 0.005)
    slow = correction.ratio
    correction.forget(100.0)
    assert correction.ratio == slow
    correction.forget(101.0)
    assert correction.ratio - 1 == pytest.approx((slow - 1) / 2)


@given(st.lists(st.floats(1e-6, 10), max_size=200))
def test_the_ratio_stays_within_its_bounds(times_s):
    correction = Correction(lowest=0.5, highest=4)
    for ran_s in times_s:
        correction.observe(0.001, ran_s)
        assert 0.5 <= correction.ratio <= 4
