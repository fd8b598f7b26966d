"""Profiles: interpolation, Pareto front and hull, files, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib import resources

import pytest
from engine_helpers import PROFILE, PROFILE_BY_TOKENS, level
from hypothesis import given
from hypothesis import strategies as st

from elasticdenser.engine.profiling.level import Level
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.errors import BadInputError, QueryError


def test_latencies_are_interpolated_and_never_fall():
    profiled = Level(name="a", quality=1.0, measured_s={4: 0.008, 1: 0.002, 8: 0.007})
    assert profiled.latency_s[:5] == pytest.approx([0, 0.002, 0.004, 0.006, 0.008])
    assert profiled.latency_s[5:] == pytest.approx([0.008] * 4)


@given(st.floats(0, 0.06))
def test_the_largest_batch_is_the_last_that_fits(budget_s):
    for profiled in PROFILE.levels:
        size = profiled.largest_batch(budget_s)
        assert profiled.latency_s[size] <= budget_s
        assert size == len(profiled.latency_s) - 1 or profiled.latency_s[size + 1] > budget_s


def test_capacity_and_the_efficient_batch_size():
    profiled = level("a", 1.0, 1.0, 16.5)  # 0.5 ms each and 0.5 ms a batch
    assert profiled.capacity_per_s() == pytest.approx(32 / 0.0165)
    assert profiled.capacity_per_s(0.0015) == pytest.approx(2 / 0.0015)
    assert profiled.capacity_per_s(0.0001) == pytest.approx(1000)
    assert 16 < profiled.efficient_batch_size() < 32


def test_levels_are_ordered_best_first_and_the_pareto_front_excludes_beaten_ones():
    profile = Profile(
        levels=[
            level("small", 0.8, 0.2, 6),
            level("bad", 0.85, 3, 90),
            level("full", 1, 2, 60),
            level("mid", 0.9, 1, 20),
        ]
    )
    assert [level.name for level in profile.levels] == ["full", "mid", "bad", "small"]
    assert [profile.levels[index].name for index in profile.pareto_front] == ["full", "mid", "small"]


def test_the_hull_excludes_levels_that_a_mixture_beats():
    # Half of the queries at full and half at small: .9 at 1.1 ms, above the level between them.
    profile = Profile(levels=[level("full", 1, 2, 64), level("mid", 0.85, 1.1, 35.2), level("small", 0.8, 0.2, 6.4)])
    assert [profile.levels[index].name for index in profile.hull] == ["full", "small"]
    assert len(profile.pareto_front) == 3
    assert [level.name for level in PROFILE.levels] == [PROFILE.levels[index].name for index in PROFILE.hull]


def test_a_minimum_level_stands_for_its_quality():
    beaten = Profile(levels=[level("full", 1, 2, 60), level("fast", 0.95, 1, 20), level("slow", 0.94, 1.5, 30)])
    assert beaten.max_level_index("slow") == beaten.level_index("fast")
    assert beaten.max_level_index(None) == 3
    with pytest.raises(QueryError, match=r"got level 'w9'.*full, fast, slow"):
        beaten.max_level_index("w9")


BY_LENGTH = Profile(
    levels=[
        replace(level("full", 1, 2, 60), quality_by_tokens={64: 1.0}),
        replace(level("mid", 0.97, 1, 20), quality_by_tokens={16: 0.96, 8: 0.98, 64: 0.9}),
        replace(level("slow", 0.96, 1.5, 30), quality_by_tokens={64: 0.1}),
        replace(level("small", 0.9, 0.2, 6), quality_by_tokens={8: 0.97, 64: 0.8}),
    ]
)


def test_the_quality_depends_on_the_length_where_that_is_known():
    mid = BY_LENGTH.levels[1]
    assert list(mid.quality_by_tokens) == [8, 16, 64]
    assert [mid.quality_for(n) for n in (1, 8, 9, 16, 17, 64)] == [0.98, 0.98, 0.96, 0.96, 0.9, 0.9]
    assert mid.quality_for(65) == mid.quality_for(None) == 0.97
    assert level("a", 0.5, 1, 2).quality_for(3) == 0.5
    assert BY_LENGTH.has_quality_by_tokens and not PROFILE.has_quality_by_tokens


@pytest.mark.parametrize(
    ("minimum_quality", "n_tokens", "max_index"),
    [
        (0.97, 5, 4),  # every level in use
        (0.975, 5, 1),
        (0.97, 12, 0),
        (0.96, 12, 1),
        (0.85, 64, 1),
        (0.85, None, 4),
        (0.95, None, 1),
        (0.95, 1000, 1),  # longer than any that was measured
        (1.0, 12, 0),
    ],
)
def test_a_minimum_quality_accepts_the_levels_before_the_first_that_lacks_it(minimum_quality, n_tokens, max_index):
    assert BY_LENGTH.max_level_index_for_quality(minimum_quality, n_tokens, fastest_index=3) == max_index


def test_a_long_query_takes_longer_than_a_usual_one():
    profiled = Level(name="a", quality=1.0, measured_s={1: 0.002}, alone_by_tokens_s={64: 0.008, 8: 0.001, 256: 0.032})
    assert [profiled.extra_s(n) for n in (None, 1, 8, 32)] == [0.0] * 4
    assert profiled.extra_s(36) == pytest.approx(0.0025)
    assert profiled.extra_s(64) == pytest.approx(0.006)
    assert profiled.extra_s(160) == pytest.approx(0.018)
    assert profiled.extra_s(448) == pytest.approx(0.054)  # linear beyond the last length
    assert Level(name="a", quality=1.0, measured_s={1: 0.002}).extra_s(500) == 0.0


def test_a_long_query_never_takes_less_time_than_a_shorter_one():
    profiled = Level(name="a", quality=1.0, measured_s={1: 0.002}, alone_by_tokens_s={64: 0.008, 128: 0.007})
    assert profiled.extra_s(64) == profiled.extra_s(500) == pytest.approx(0.005)
    assert replace(profiled, alone_by_tokens_s={64: 0.008}).extra_s(128) == pytest.approx(0.014)
    assert replace(profiled, measured_s={1: 0.02}).extra_s(500) == 0.0  # of a profile of long queries


def test_a_profile_has_the_extra_time_of_each_level():
    assert PROFILE_BY_TOKENS.has_times_by_tokens and not PROFILE.has_times_by_tokens
    assert PROFILE_BY_TOKENS.extras_s(64) == pytest.approx([3 * level.latency_s[1] for level in PROFILE.levels])
    assert PROFILE_BY_TOKENS.extras_s(32) == PROFILE_BY_TOKENS.extras_s(None) == PROFILE.extras_s(300) == ()


def test_a_level_beside_the_pareto_front_matters_only_to_a_policy_that_uses_it():
    assert BY_LENGTH.levels[2].name == "slow" and 2 not in BY_LENGTH.pareto_front
    assert BY_LENGTH.max_level_index_for_quality(0.8, 64, fastest_index=3) == 4
    assert BY_LENGTH.max_level_index_for_quality(0.8, 64, fastest_index=2) == 1


def test_without_a_level_of_the_minimum_quality_the_best_one_is_accepted():
    without_full = Profile(levels=[level("mid", 0.9, 1, 20), level("small", 0.8, 0.2, 6)])
    assert without_full.max_level_index_for_quality(0.95, None, fastest_index=1) == 0


def test_a_saved_profile_is_read_back(tmp_path):
    path = tmp_path / "profile.json"
    hasty = Level(name="hasty", quality=0.3, measured_s={1: 1e-5}, recall=0.9)
    profile = Profile(levels=[*PROFILE.levels, hasty], measured={"cpu": "some"})
    profile.save(path)
    assert Profile.load(path) == profile
    assert "quality_by_tokens" not in path.read_text()  # older versions read it
    BY_LENGTH.save(path)
    assert Profile.load(path) == BY_LENGTH


def test_times_by_length_are_saved_where_older_versions_read_over_them(tmp_path):
    path = tmp_path / "profile.json"
    others = {"w1-d2": {"8": 0.5}}
    replace(PROFILE_BY_TOKENS, measured={"cpu": "some", "alone_by_tokens_s": others}).save(path)
    content = json.loads(path.read_text())
    assert all(set(row) == {"name", "quality", "latency_s"} for row in content["levels"])
    assert content["measured"]["alone_by_tokens_s"].keys() == {"w1-d2", *(level.name for level in PROFILE.levels)}
    read = Profile.load(path)
    assert read.levels == PROFILE_BY_TOKENS.levels and read.measured["cpu"] == "some"
    read.save(path)
    assert json.loads(path.read_text()) == content


def test_the_shipped_profile_has_times_by_length():
    shipped = Profile.load(resources.files("elasticdenser") / "pretrained" / "all-MiniLM-L6-v2" / "profile.json")
    assert all(level.extra_s(200) > level.extra_s(60) > 0 for level in shipped.levels)


def _changed(**changes):
    row = {"name": "a", "quality": 1.0, "latency_s": {"1": 0.001}} | changes
    return {"version": 1, "levels": [row]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([], "expected a table"),
        ({}, "'version' is missing"),
        ({"version": 2, "levels": []}, "version 2"),
        ({"version": 1, "levels": []}, "no levels"),
        ({"version": 1, "levels": {}}, "profile.levels: got {}, expected a list"),
        ({"version": 1, "levels": [7]}, "profile.levels[0]: got 7, expected a table"),
        ({"version": 1, "levels": [], "extra": 1}, "unknown key 'extra'"),
        (_changed(color="red"), "unknown key 'color'"),
        (_changed(name=""), "got a level named ''"),
        (_changed(quality="good"), "quality: got 'good', expected a value of type float"),
        (_changed(quality=math.nan), "it holds NaN, which is not a JSON number"),
        (_changed(quality=True), "quality: got True"),
        (_changed(quality_by_tokens={"0": 0.9}), "got a quality for queries of up to 0 tokens"),
        (_changed(quality_by_tokens={"8": 0}), "got quality 0.0 for queries of up to 8 tokens"),
        (_changed(quality_by_tokens={"8": 2.5}), "got quality 2.5 for queries of up to 8 tokens"),
        (_changed(quality_by_tokens={"few": 0.9}), "quality_by_tokens: got the keys ['few']"),
        (_changed(quality_by_tokens=[0.9]), "quality_by_tokens"),
        (_changed(recall=0), "got recall 0"),
        (_changed(recall=1.5), "got recall 1.5"),
        (_changed(recall="most"), "recall: got 'most'"),
        (_changed(latency_s={}), "no latency of one query alone"),
        (_changed(latency_s={"2": 0.1}), "no latency of one query alone"),
        (_changed(latency_s={"1": 0.1, "0": 0.1}), "batch of 0"),
        (_changed(latency_s={"1": -1}), "got -1.0 s"),
        (_changed(latency_s={"1": math.inf}), "it holds Infinity"),
        (_changed(latency_s={"one": 1}), "latency_s: got the keys ['one']"),
        (_changed(latency_s={"1": 0.1, "1" * 5000: 1}), "latency_s: got the keys"),
        (_changed(latency_s={"1": 10**400}), "Number out of range"),
        (_changed(quality=10**400), "Number out of range"),
        (_changed(latency_s=[1]), "expected a table"),
        (_changed(latency_s={"1": 0.1, "1000000000": 0.2}), "sizes from 1 to"),
        ({"version": 1, "levels": [_changed()["levels"][0]] * 2}, "two levels are named a"),
        (_changed() | {"measured": {"alone_by_tokens_s": [1]}}, "profile.measured.alone_by_tokens_s[0]: got 1"),
        (_changed() | {"measured": {"alone_by_tokens_s": {"a": {"64": "slow"}}}}, "got 'slow'"),
        (_changed() | {"measured": {"alone_by_tokens_s": {"a": {"64": 0}}}}, "got 0.0 s for a query of 64 tokens"),
        (_changed() | {"measured": {"alone_by_tokens_s": {"a": {"0": 0.1}}}}, "for a query of 0 tokens"),
    ],
)
def test_files_that_are_no_profile_are_refused_in_one_line(tmp_path, value, message):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(value))
    with pytest.raises(BadInputError, match=r"profile\.json: ") as caught:
        Profile.load(path)
    assert message in str(caught.value) and len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_files_that_are_not_json_are_refused(tmp_path, content):
    path = tmp_path / "profile.json"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match="this is not JSON"):
        Profile.load(path)
    with pytest.raises(BadInputError, match="No such file"):
        Profile.load(tmp_path / "none.json")
    with pytest.raises(BadInputError, match="Is a directory"):
        Profile.load(tmp_path)
