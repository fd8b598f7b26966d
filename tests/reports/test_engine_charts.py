"""Charts of profiles and loads, from the profile that comes with the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import elasticdenser
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.simulation.summary import Summary, Timeline
from elasticdenser.reports.charts.load import draw_load
from elasticdenser.reports.charts.profile import draw_profile

PROFILE = Path(elasticdenser.__file__).parent / "pretrained" / "all-MiniLM-L6-v2" / "profile.json"


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile.load(PROFILE)


def test_the_chart_of_a_profile_names_its_levels(profile, tmp_path):
    svg = draw_profile(tmp_path / "profile.svg", profile).read_text()
    assert all(svg.count(f">{level.name}<") == 2 for level in profile.levels)
    assert "share of the full encoder's quality" in svg


def test_the_chart_of_a_load_shows_policies_levels_and_the_deadline(profile, tmp_path):
    best, fastest = profile.levels[0].name, profile.levels[-1].name
    summary = Summary(
        policy="elastic",
        n_requests=100,
        in_time=0.9,
        refused=0.1,
        late=0.0,
        lost=0.0,
        p50_s=0.004,
        p95_s=0.01,
        p99_s=0.02,
        retention=0.85,
        in_time_per_s=50.0,
        levels={best: 0.5, fastest: 0.5},
    )
    timeline = Timeline(
        interval_s=1.0,
        arrivals_per_s=[20.0, 80.0],
        in_time=[1.0, 0.8],
        quality=[1.0, 0.94],
        retention=[1.0, 0.75],
        p99_s=[0.01, None],
        levels={best: [1.0, 0.0], fastest: [0.0, 1.0]},
    )
    paths = draw_load(
        tmp_path,
        [summary, replace(summary, policy="static", p99_s=None)],
        {"elastic": timeline, "static": timeline},
        profile,
        workers=0,
        deadline_s=0.025,
        title="two seconds",
        simulated={"elastic": summary},
    )
    assert [path.name for path in paths] == ["simulation.svg", "simulation.png"]
    assert all(path.stat().st_size > 1000 for path in paths)
    svg = paths[0].read_text()
    for text in ("Two seconds", "elastic", "static", "as simulated", "90.00%", "deadline, 25 ms", f"{best}, quality"):
        assert text in svg
