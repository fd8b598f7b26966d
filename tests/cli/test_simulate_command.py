"""`elasticdenser simulate`."""

from __future__ import annotations

import json

import pytest
from cli_helpers import run
from engine_helpers import PROFILE


@pytest.fixture(scope="module")
def profile(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("profile") / "profile.json"
    PROFILE.save(path)
    return str(path)


def simulate(*args: str):
    return run("simulate", *args)


QUICK = ["--seconds", "1", "--rate", "100"]


@pytest.mark.slow
def test_a_table_and_a_chart(profile, tmp_path):
    folder = tmp_path / "new" / "simulated"
    result = simulate(profile, *QUICK, "--peak", "1000", "-o", str(folder))
    assert result.exit_code == 0, result.output
    assert "bursts from 100 to 1,000 a second; deadline 25 ms, 1 worker;" in result.stdout
    for name in ("elastic", "thresholds", "slackfit", *(f"static:{level.name}" for level in PROFILE.levels)):
        assert any(name in line and "%" in line for line in result.stdout.splitlines())
    assert (folder / "simulation.png").read_bytes().startswith(b"\x89PNG")
    svg = (folder / "simulation.svg").read_text()
    assert "<svg" in svg and "deadline, 25 ms" in svg and "Level that answered (elastic)" in svg
    assert "Simulated: bursts from 100 to 1,000" in svg and "shaded: more than the best level can do" in svg
    figures = json.loads((folder / "simulation.json").read_text())
    assert [row["policy"] for row in figures["policies"]][:2] == ["elastic", "thresholds"]
    # At least ten requests in an interval on average, so that the chart is not mostly gaps.
    course, n_requests = figures["policies"][0]["course"], figures["policies"][0]["n_requests"]
    assert len(course["p99_s"]) == max(12, min(120, n_requests // 10))


def test_json_and_policies(profile):
    result = simulate(
        profile, *QUICK, "--policies", "static:level0, elastic,static:level0", "--arrivals", "poisson", "--json"
    )
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["policy"] for row in rows] == ["static:level0", "elastic"]
    assert rows[0]["retention"] == pytest.approx(0.82) and rows[1]["in_time"] == 1


@pytest.mark.parametrize("kind", ["day", "closed", "trace"])
def test_every_kind_of_arrivals_is_simulated(profile, tmp_path, kind):
    trace = tmp_path / "times.txt"
    trace.write_text("0\n1\n1.5\n4\n")
    args = ["--arrivals", str(trace) if kind == "trace" else kind, "--clients", "2", "--workers", "2"]
    result = simulate(profile, *QUICK, *args, "--policies", "elastic")
    assert result.exit_code == 0, result.output
    assert {"day": "a day in 1 s", "closed": "2 clients", "trace": "times.txt at 100"}[kind] in result.stdout
    assert "2 workers" in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--policies", "magic"], "got policy 'magic'"),
        (["--policies", ","], "got policy ','"),
        (["--policies", "static:w9"], "got level 'w9'"),
        (["--arrivals", "sometimes"], "got arrivals 'sometimes'; expected poisson, bursts, day, closed, or a file"),
        (["--arrivals", "none.txt"], "none.txt: no such file"),
        (["--rate", "0"], "expected both above 0"),
        (["--rate", "nan"], "expected both above 0"),
        (["--rate", "1e12"], "expected at most 5,000,000 requests"),
        (["--rate", "0.001", "--arrivals", "poisson"], "no request came"),
        (["--deadline-ms", "0"], "got slo_s = 0"),
        (["--deadline-ms", "nan"], "got slo_s = nan"),
        (["--seconds", "-1"], "expected seconds above 0"),
        (["--noise", "9"], "noise from 0 to 2"),
        (["--arrivals", "closed", "--clients", "100000", "--seconds", "9"], "lower --clients or --seconds"),
    ],
)
def test_bad_input_is_one_line(profile, args, message):
    result = simulate(profile, *QUICK, *args)
    assert result.exit_code == 1, result.output
    assert message in result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_bad_profile_or_folder_is_one_line(profile, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    for args in (
        [str(bad)],
        [str(tmp_path / "bad.json.gz")],
        [profile, *QUICK, "--policies", "elastic", "-o", str(bad)],
    ):
        result = simulate(*args)
        assert result.exit_code == 1, result.output
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
        assert "bad.json" in line and line == result.stderr.splitlines()[-1]
