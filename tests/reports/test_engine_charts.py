"""Charts of profiles and loads, from the profile that comes with the package."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import elasticdenser
from elasticdenser.engine.profiling.profile import Profile
from elasticdenser.engine.simulation.summary import Summary, Timeline
from elasticdenser.reports.charts.load import draw_load, shown_policies
from elasticdenser.reports.charts.load_rows import LoadLine, draw_latency
from elasticdenser.reports.charts.profile import draw_profile
from elasticdenser.reports.charts.style import new_figure, report_style
from elasticdenser.reports.level_colours import level_colour

PROFILE = Path(elasticdenser.__file__).parent / "pretrained" / "all-MiniLM-L6-v2" / "profile.json"


@pytest.fixture(scope="module")
def profile() -> Profile:
    return Profile.load(PROFILE)


@pytest.mark.slow
def test_the_chart_of_a_profile_names_its_levels(profile, tmp_path):
    svg = draw_profile(tmp_path / "profile.svg", profile).read_text()
    assert all(svg.count(f">{level.name}<") == 2 for level in profile.levels)
    assert "share of the full encoder's quality" in svg


@pytest.fixture(scope="module")
def summary(profile) -> Summary:
    return Summary(
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
        levels={profile.levels[0].name: 0.5, profile.levels[-1].name: 0.5},
    )


@pytest.fixture(scope="module")
def timeline(profile) -> Timeline:
    return Timeline(
        interval_s=1.0,
        arrivals_per_s=[20.0, 80.0],
        in_time=[1.0, 0.8],
        quality=[1.0, 0.94],
        retention=[1.0, 0.95],
        p99_s=[0.01, 0.02],
        levels={profile.levels[0].name: [1.0, 0.0], profile.levels[-1].name: [0.0, 1.0]},
    )


@pytest.fixture
def svg_of_load(profile, tmp_path):
    """Draw the timelines of policies, and return the SVG."""

    def draw(summaries, timelines, **options) -> str:
        settings = {"workers": 0, "deadline_s": 0.025, "title": "two seconds"} | options
        svg, png = draw_load(tmp_path, summaries, timelines, profile, **settings)
        assert (svg.name, png.name) == ("simulation.svg", "simulation.png") and png.stat().st_size > 1000
        return svg.read_text()

    return draw


@pytest.mark.slow
def test_the_chart_of_a_load_shows_policies_levels_and_the_deadline(profile, summary, timeline, svg_of_load):
    best = profile.levels[0].name
    summaries = [summary, replace(summary, policy="static", p99_s=None)]
    svg = svg_of_load(summaries, {"elastic": timeline, "static": timeline}, simulated={"elastic": summary})
    for text in ("Two seconds", "elastic", "static", "as simulated", "90.00%", "deadline, 25 ms", f"{best}, quality"):
        assert text in svg
    for text in ("Gaps", "above 200 ms", "coarser", "Lines:", "Warning"):
        assert text not in svg
    for position in (0, len(profile.levels) - 1):
        assert level_colour(position, len(profile.levels)) in svg
    assert level_colour(1, len(profile.levels)) not in svg


@pytest.mark.slow
def test_of_many_policies_the_first_the_best_and_the_worst_have_lines(summary, timeline, svg_of_load):
    shares = {"elastic": 0.9, "good": 0.8, "best": 0.95, "worst": 0.1, "bad": 0.2}
    summaries = [replace(summary, policy=policy, retention=share) for policy, share in shares.items()]
    assert shown_policies(summaries) == ["elastic", "best", "worst"]
    assert shown_policies(summaries[:3]) == ["elastic", "good", "best"]
    assert shown_policies(summaries[:1]) == ["elastic"]
    svg = svg_of_load(summaries, dict.fromkeys(shares, timeline))
    assert all(f">{policy}<" in svg for policy in shares)
    assert "Lines: the first policy, and the best" in svg


@pytest.mark.slow
def test_a_bad_policy_is_drawn_at_its_quality(summary, timeline, svg_of_load):
    svg = svg_of_load([summary], {"elastic": replace(timeline, retention=[1.0, 0.2])})
    (below,) = re.findall(r"coarser scale below (0\.\d+)", svg)  # a little below the worst level
    assert "≤" not in svg
    assert {">0<", ">0.5<", f">{below}<"} <= set(re.findall(r">[\d.]+<", svg))


@pytest.mark.slow
def test_latencies_that_are_cut_off_are_marked(summary, timeline, svg_of_load):
    svg = svg_of_load([summary], {"elastic": replace(timeline, p99_s=[0.01, 1.5])})
    assert "▲ above 200 ms, up to 1,500 ms" in svg


def test_latencies_far_below_the_deadline_are_within_the_axis(timeline):
    with report_style("p"):
        axes = new_figure(5, 2).add_subplot()
        draw_latency(axes, [LoadLine(replace(timeline, p99_s=[0.003, None]), {"color": "k"})], deadline_s=1.0)
    low_ms, high_ms = axes.get_ylim()
    assert low_ms < 3 and high_ms > 1500


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"p99_s": [0.01, None]}, "of 1 s or more, no query was answered."),
        ({"arrivals_per_s": [20.0, 0.0], "p99_s": [0.01, None], "retention": [1.0, None]}, "no query was sent."),
        ({"arrivals_per_s": [20.0, 0.0], "p99_s": [None, None], "levels": {}}, "or none was answered (levels and"),
    ],
)
def test_gaps_are_explained(summary, timeline, svg_of_load, changes, reason):
    assert reason in svg_of_load([summary], {"elastic": replace(timeline, **changes)})


@pytest.mark.slow
def test_warnings_are_in_the_chart(summary, timeline, svg_of_load):
    warning = f"Warning: the client could not keep up: it was {'very ' * 30}late."
    svg = svg_of_load([summary], {"elastic": timeline}, warnings=[warning], title="a b" * 60)
    assert "Warning: the client could not keep up" in svg and "late." in svg
