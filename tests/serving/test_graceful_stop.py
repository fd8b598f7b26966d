"""`elasticdenser serve` as a process: start, bad options, and graceful shutdown."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from serving_helpers import PROFILE, post
from typer.testing import CliRunner
from waiting import wait_until

from elasticdenser import PassageEncoder, PassageIndex
from elasticdenser.cli import app
from elasticdenser.serving.server import bind_socket, url_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def profile(tmp_path) -> str:
    PROFILE.save(tmp_path / "profile.json")
    return str(tmp_path / "profile.json")


@pytest.fixture
def serve(served_index, tiny_elastic, profile):
    """Start the command on a free port; returns the process and the URL that it printed."""
    processes = []

    def start(*args: str, index: Path = served_index, **environment: str):
        command = [sys.executable, "-m", "elasticdenser", "serve", str(index), "--encoder", str(tiny_elastic)]
        command += ["--port", "0", "--profile", profile, "--deadline-ms", "5000", "--workers", "1", "--offline", *args]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        processes.append(process)
        output = ""
        for line in process.stderr:
            output += line
            if match := re.search(r"serving (http://\S+)", line):
                process.output_at_start = output
                return process, match[1]
        raise AssertionError(f"the server did not start: {output}")

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def status_of(url: str | urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_has_arrived_is_answered_before_the_end(serve, signal_number):
    process, url = serve()
    # Each rejected poll is logged; too many would fill the pipe of the log, which nobody reads until the end.
    wait_until(lambda: status_of(f"{url}/readyz") == 200, interval_s=0.1)
    assert post(f"{url}/search", {"query": "dune", "k": 1})["results"][0]["level"] == "w1-d2"
    body = b'{"query": "desert planet", "k": 2}'
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = (
            f"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        connection.sendall(f"{head}\r\n\r\n".encode() + body[:5])
        time.sleep(0.2)
        process.send_signal(signal_number)
        wait_until(lambda: status_of(f"{url}/readyz") == 503)
        assert status_of(f"{url}/healthz") == 200
        with pytest.raises(urllib.error.HTTPError) as rejected:
            post(f"{url}/search", {"query": "too late"})
        assert rejected.value.code == 503
        assert process.poll() is None
        connection.sendall(body[5:])
        answer = connection.makefile("rb").read()
    assert b" 200 " in answer.split(b"\r\n")[0]
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["results"][0]["hits"]) == 2
    assert process.wait(10) == 0
    lines = [json.loads(line) for line in process.stderr.read().splitlines()]  # the access log and nothing else
    assert [line["status"] for line in lines if line.get("path") == "/search"].count(200) == 2


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_an_unfinished_request_does_not_hold_up_the_shutdown(serve, signals):
    process, url = serve("--no-access-log")
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: status_of(f"{url}/readyz") == 503)
        if signals == 2:  # ends the server at once
            process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(15) == 0
        assert time.monotonic() - started < (11 if signals == 1 else 4)


def error_line(*args: str) -> str:
    """Return the error message of a command that fails, a single line."""
    result = CliRunner().invoke(app, ["serve", *args])
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_port_in_use_is_noticed_at_once(served_index):
    with bind_socket("127.0.0.1", 0) as bound:
        bound.listen()
        port = url_of(bound).rsplit(":", 1)[1]
        message = error_line(str(served_index), "--port", port)
    assert f"cannot listen on 127.0.0.1, port {port}" in message and "choose another --port" in message


def test_two_servers_that_start_on_one_port_at_once(served_index, tiny_elastic, profile, monkeypatch):
    monkeypatch.setattr("elasticdenser.serving.server.Server.main_loop", lambda _: pytest.fail("the second listens"))
    with bind_socket("127.0.0.1", 0) as first:
        port = url_of(first).rsplit(":", 1)[1]
        monkeypatch.setattr("elasticdenser.cli.commands.serve._measure_levels", lambda *_: first.listen() or PROFILE)
        message = error_line(str(served_index), "--encoder", str(tiny_elastic), "--port", port, "--offline")
    assert f"cannot listen on 127.0.0.1, port {port}" in message and "choose another --port" in message


def status_for_host(host: str, url: str) -> int:
    return status_of(urllib.request.Request(f"{url}/healthz", headers={"Host": host}))


@pytest.mark.slow
def test_bad_options_are_reported_in_one_line(served_index, tiny_elastic, profile, tmp_path, monkeypatch):
    index = [str(served_index), "--encoder", str(tiny_elastic), "--port", "0", "--offline"]
    assert "cannot listen on no.such.host.invalid" in error_line(*index, "--host", "no.such.host.invalid")
    assert "cannot read the API key" in error_line(*index, "--api-key-file", str(tmp_path / "none"))
    (tmp_path / "empty").write_text("\n")
    assert "the file is empty" in error_line(*index, "--api-key-file", str(tmp_path / "empty"))
    assert "got host 'http://x'; expected a name" in error_line(*index, "--allowed-host", "http://x")
    assert "got deadline_s = 0" in error_line(*index, "--deadline-ms", "0")
    assert "expected a file that `elasticdenser profile` wrote" in error_line(
        *index, "--profile", str(tmp_path / "none.json")
    )
    assert "got policy 'magic'" in error_line(*index, "--profile", profile, "--policy", "magic")
    assert "none" in error_line(str(tmp_path / "none"), "--port", "0")
    monkeypatch.setenv("ELASTICDENSER_API_KEY", "é")
    assert "not ASCII" in error_line(*index)


def test_a_minimum_quality_must_be_a_share(served_index):
    result = CliRunner().invoke(app, ["serve", str(served_index), "--minimum-quality", "95"])
    assert result.exit_code == 2
    assert "'--minimum-quality': 95.0 is not in the range 0<=x<=1" in " ".join(result.stderr.split())


def test_a_missing_extra_is_reported_with_the_line_to_install_it(served_index, monkeypatch):

    monkeypatch.setattr("elasticdenser.lazy_imports.find_spec", lambda name: None)
    assert error_line(str(served_index)).endswith("'httptools>=0.6' 'uvloop>=0.19' 'prometheus-client>=0.20'")


@pytest.mark.slow
def test_without_a_key_on_a_public_address_it_warns(serve):
    process, url = serve("--host", "0.0.0.0")
    assert "warning: anyone who can reach this machine can search" in process.output_at_start
    assert "warning" not in serve("--host", "0.0.0.0", ELASTICDENSER_API_KEY="key")[0].output_at_start
    assert status_for_host("any.name.example", url.replace("0.0.0.0", "127.0.0.1")) == 200
    process.terminate()
    assert process.wait(10) == 0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc to find the worker processes")
def test_a_server_ends_when_its_last_process_dies_after_the_index_was_replaced(serve, tiny_elastic, tmp_path):
    encoder = PassageEncoder.from_pretrained(str(tiny_elastic), dtype="float32", device="cpu")
    PassageIndex.build([{"_id": "d1", "text": "dune"}], tmp_path / "mine", encoder, workers=1)
    process, url = serve("--processes", index=tmp_path / "mine")
    wait_until(lambda: status_of(f"{url}/readyz") == 200, interval_s=0.1)
    PassageIndex.build([{"_id": "d2", "text": "csv"}], tmp_path / "mine", encoder, workers=1, overwrite=True)
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    for worker in " ".join(task.read_text() for task in tasks).split():
        os.kill(int(worker), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "no search process is left: the index" in errors
