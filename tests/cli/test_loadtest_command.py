"""`elasticdenser loadtest`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import run

from elasticdenser import PassageEncoder, PassageIndex


def loadtest(*args: str):
    return run("loadtest", *args)


@pytest.fixture(scope="module")
def index(tiny_elastic, tmp_path_factory):
    folder = tmp_path_factory.mktemp("loadtest")
    lines = (json.dumps({"_id": str(number), "text": f"passage {number} on rain"}) for number in range(30))
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    return str(PassageIndex.build(folder / "corpus.jsonl", folder / "index", encoder, workers=1).path)


@pytest.fixture
def quick(tiny_elastic):
    encoder = ["--encoder", str(tiny_elastic), "--offline", "--device", "cpu"]
    return [*encoder, "--seconds", "1", "--rate", "50", "--peak", "100", "--deadline-ms", "1000", "--workers", "1"]


@pytest.mark.slow
def test_a_table_and_a_chart(index, quick, tmp_path):
    folder = tmp_path / "new" / "tested"
    result = loadtest(index, *quick, "--policies", "elastic,static:level0", "-o", str(folder))
    assert result.exit_code == 0, result.output
    assert "bursts from 50 to 100 a second; deadline 1000 ms, 1 worker;" in result.stdout
    assert "(sim.)" in result.stdout and "the calibrated simulation agrees" in result.stdout
    assert "does not predict other runs" in result.stdout and "30 different queries are sent in turn" in result.stderr
    assert (folder / "loadtest.png").read_bytes().startswith(b"\x89PNG")
    svg = (folder / "loadtest.svg").read_text()
    assert "as simulated" in svg and "Measured: bursts from 50 to 100" in svg
    figures = json.loads((folder / "loadtest.json").read_text())
    assert [row["policy"] for row in figures["policies"]] == ["elastic", "static:level0"]
    for row in figures["policies"]:
        assert row["lost"] == row["n_lost"] == 0
        assert row["in_time"] > 0.9
        assert row["simulated"]["n_requests"] == row["n_requests"]


@pytest.mark.slow
def test_a_client_that_cannot_keep_up_is_named_in_the_chart(index, quick, tmp_path, monkeypatch):
    monkeypatch.setattr("elasticdenser.loadtest.result._MAX_LATENESS", -1)
    result = loadtest(index, *quick, "-o", str(tmp_path))
    assert result.exit_code == 1
    assert "error: the client could not keep up: " in result.stderr and "lower the rate" in result.stderr
    svg = (tmp_path / "loadtest.svg").read_text()
    assert "Warning: the client could not keep up" in svg


@pytest.mark.slow
def test_json_with_queries_and_a_profile(index, quick, tmp_path):
    (tmp_path / "queries.txt").write_text("rain\nsun\n")
    profile = tmp_path / "profile.json"
    rows = [
        {"name": name, "quality": q, "latency_s": {"1": 0.002, "8": 0.008}}
        for name, q in (("w1-d2", 1), ("level0", 0.8))
    ]
    profile.write_text(json.dumps({"version": 1, "levels": rows}))
    args = ["--queries", str(tmp_path / "queries.txt"), "--profile", str(profile), "--json", "--arrivals", "poisson"]
    result = loadtest(index, *quick, *args)
    assert result.exit_code == 0, result.output
    (row,) = map(json.loads, result.stdout.splitlines())
    assert row["policy"] == "elastic" and row["client_kept_up"] and set(row["levels"]) <= {"w1-d2", "level0"}


@pytest.mark.slow
def test_clients_of_a_closed_loop_wait_for_answers(index, quick):
    result = loadtest(index, *quick, "--arrivals", "closed", "--clients", "2")
    assert result.exit_code == 0, result.output
    assert "2 clients that wait" in result.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--policies", "magic"], "got policy 'magic'"),
        (["--arrivals", "sometimes"], "got arrivals 'sometimes'"),
        (["--queries", "none.txt"], "none.txt"),
        (["--profile", "none.json"], "none.json: cannot read this profile"),
        (["--deadline-ms", "0"], "got slo_s = 0"),
        (["--seconds", "-1"], "expected seconds above 0"),
        (["--drain", "0"], "got drain_s = 0; expected seconds above 0"),
    ],
)
def test_bad_input_is_one_line(index, quick, args, message):
    result = loadtest(index, *quick, *args)
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert message in line and result.stdout == ""


def test_a_target_that_cannot_be_reached_is_an_error(tmp_path, quick):
    (tmp_path / "queries.txt").write_text("rain\n")
    load = ["--queries", str(tmp_path / "queries.txt"), "--rate", "9", "--arrivals", "poisson"]
    for target, message in (
        (str(tmp_path / "none"), "none"),
        ("ftp://localhost", "expected the URL of a server"),
        ("http://127.0.0.1:9", "cannot reach http://127.0.0.1:9"),
    ):
        result = loadtest(target, *load)
        assert result.exit_code == 1 and message in result.stderr, result.output
        assert result.stderr.splitlines()[-1].startswith("error: ")


def test_a_key_file_is_one_line_of_text(tmp_path):
    key = tmp_path / "key"
    (tmp_path / "queries.txt").write_text("rain\n")
    load = ["--queries", str(tmp_path / "queries.txt"), "--rate", "9", "--arrivals", "poisson"]
    contents = {
        b"": "the file is empty",
        b"\xff": "cannot read the API key",
        b"a\nb": "more than a line",
        None: "No such",
    }
    for content, message in contents.items():
        key.unlink(missing_ok=True)
        if content is not None:
            key.write_bytes(content)
        result = loadtest("http://127.0.0.1:9", *load, "--api-key-file", str(key))
        assert result.exit_code == 1 and message in result.stderr and result.stderr.startswith("error: "), result.output


def test_an_index_without_texts_needs_queries(index, quick, tmp_path, tiny_elastic):
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    bare = PassageIndex.build(Path(index).parent / "corpus.jsonl", tmp_path / "bare", encoder, workers=1, texts=False)
    result = loadtest(str(bare.path), *quick)
    assert result.exit_code == 2 and "--queries" in result.stderr and "no texts" in result.stderr
    assert "opening" not in result.stderr


def test_a_server_needs_queries_and_a_rate(tmp_path):
    (tmp_path / "queries.txt").write_text("rain\n")
    assert "--queries" in loadtest("http://127.0.0.1:9").stderr
    result = loadtest("http://127.0.0.1:9", "--queries", str(tmp_path / "queries.txt"), "--rate", "9")
    assert result.exit_code == 2 and "--rate" in result.stderr


@pytest.mark.slow
def test_ctrl_c_ends_the_load_and_reports_it(index, quick, tmp_path):
    command = [sys.executable, "-m", "elasticdenser", "loadtest", index, *quick, "--seconds", "60"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "elastic for 60 s" in line:
            break
    time.sleep(1)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "stopped: 1 of 1 policies are reported, the last one in part" in err
    assert "elastic" in out and "100." in out
