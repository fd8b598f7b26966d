"""`elasticdenser serve` as a process: how it starts, what it refuses, and how it ends."""

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
from serving_helpers import PROFILE, post, until
from typer.testing import CliRunner

from elasticdenser.cli import app
from elasticdenser.serving.server import listening_socket, url_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def profile(tmp_path) -> str:
    PROFILE.save(tmp_path / "profile.json")
    return str(tmp_path / "profile.json")


@pytest.fixture
def serve(served_index, tiny_elastic, profile):
    """Start the command on a free port; returns the process and the URL that it printed."""
    processes = []

    def start(*args: str, **environment: str):
        command = [sys.executable, "-m", "elasticdenser", "serve", str(served_index), "--encoder", str(tiny_elastic)]
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
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"serving (http://\S+)", line):
                process.said = said
                return process, found[1]
        raise AssertionError(f"it did not start: {said}")

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


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_has_come_is_answered_before_the_end(serve, sign):
    process, url = serve()
    until(lambda: status_of(f"{url}/readyz") == 200, 20)
    assert post(f"{url}/search", {"query": "dune", "k": 1})["results"][0]["level"] == "w1-d2"
    body = b'{"query": "desert planet", "k": 2}'
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        head = (
            f"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        connection.sendall(f"{head}\r\n\r\n".encode() + body[:5])
        time.sleep(0.2)
        process.send_signal(sign)
        until(lambda: status_of(f"{url}/readyz") == 503)
        assert status_of(f"{url}/healthz") == 200
        with pytest.raises(urllib.error.HTTPError) as refused:
            post(f"{url}/search", {"query": "too late"})
        assert refused.value.code == 503
        assert process.poll() is None
        connection.sendall(body[5:])
        answer = connection.makefile("rb").read()
    assert b" 200 " in answer.split(b"\r\n")[0]
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["results"][0]["hits"]) == 2
    assert process.wait(10) == 0
    lines = [json.loads(line) for line in process.stderr.read().splitlines()]  # nothing but the log of requests
    assert [line["status"] for line in lines if line.get("path") == "/search"].count(200) == 2


@pytest.mark.slow
@pytest.mark.parametrize("signals", [1, 2])
def test_a_client_that_never_finishes_does_not_keep_it_alive(serve, signals):
    process, url = serve("--no-access-log")
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{")
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        until(lambda: status_of(f"{url}/readyz") == 503)
        if signals == 2:  # the second one hurries
            process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        assert process.wait(15) == 0
        assert time.monotonic() - started < (11 if signals == 1 else 4)


@pytest.mark.slow
def test_the_key_comes_from_the_environment_or_a_file(serve, tmp_path):
    _, url = serve(ELASTICDENSER_API_KEY="of-the-environment")
    assert status_of(f"{url}/live") == 401
    assert post(f"{url}/search", {"query": "x"}, Authorization="Bearer of-the-environment")["results"]
    (tmp_path / "key").write_text("of-the-file\n")
    _, url = serve("--api-key-file", str(tmp_path / "key"), ELASTICDENSER_API_KEY="of-the-environment")
    assert post(f"{url}/search", {"query": "x"}, Authorization="Bearer of-the-file")["results"]


def refused(*args: str) -> str:
    """Return the one line that the command ends with."""
    told = CliRunner().invoke(app, ["serve", *args])
    assert told.exit_code == 1, told.output
    assert told.stdout == ""
    (line,) = told.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def test_a_port_that_is_taken_is_known_at_once(served_index):
    with listening_socket("127.0.0.1", 0) as bound:
        bound.listen()
        port = url_of(bound).rsplit(":", 1)[1]
        said = refused(str(served_index), "--port", port)
    assert f"cannot listen on 127.0.0.1, port {port}" in said and "choose another --port" in said


def test_two_that_start_at_once_on_one_port(served_index, tiny_elastic, profile, monkeypatch):
    monkeypatch.setattr("elasticdenser.serving.server.Server.main_loop", lambda _: pytest.fail("it listens"))
    with listening_socket("127.0.0.1", 0) as first:
        port = url_of(first).rsplit(":", 1)[1]
        monkeypatch.setattr("elasticdenser.cli.commands.serve._profile", lambda *_: first.listen() or PROFILE)
        said = refused(str(served_index), "--encoder", str(tiny_elastic), "--port", port, "--offline")
    assert f"cannot listen on 127.0.0.1, port {port}" in said and "choose another --port" in said


def status_as(host: str, url: str) -> int:
    return status_of(urllib.request.Request(f"{url}/healthz", headers={"Host": host}))


def test_other_names_than_those_allowed_are_refused(serve):
    _, url = serve()
    assert status_as("localhost:1", url) == status_of(f"{url}/healthz") == 200
    assert status_as("evil.example", url) == 421
    _, url = serve("--allowed-host", "search.example.org", "--allowed-host", "one.example")
    assert [status_as(name, url) for name in ("Search.Example.org", "one.example:80", "two.example")] == [200, 200, 421]
    _, url = serve("--allowed-host", "*")
    assert status_as("evil.example", url) == 200


def test_bad_options_are_one_line(served_index, tiny_elastic, profile, tmp_path, monkeypatch):
    index = [str(served_index), "--encoder", str(tiny_elastic), "--port", "0", "--offline"]
    assert "cannot listen on no.such.host.invalid" in refused(*index, "--host", "no.such.host.invalid")
    assert "cannot read the API key" in refused(*index, "--api-key-file", str(tmp_path / "none"))
    (tmp_path / "empty").write_text("\n")
    assert "the file is empty" in refused(*index, "--api-key-file", str(tmp_path / "empty"))
    assert "got host 'http://x'; expected a name" in refused(*index, "--allowed-host", "http://x")
    assert "got a deadline of 0" in refused(*index, "--deadline-ms", "0")
    assert "expected a .json file" in refused(*index, "--profile", str(tmp_path / "none.json"))
    assert "got policy 'magic'" in refused(*index, "--profile", profile, "--policy", "magic")
    assert "none" in refused(str(tmp_path / "none"), "--port", "0")
    monkeypatch.setenv("ELASTICDENSER_API_KEY", "é")
    assert "not ASCII" in refused(*index)


def test_without_the_extra_the_line_to_install_it(served_index, monkeypatch):
    import elasticdenser.serving

    monkeypatch.setattr(elasticdenser.serving, "find_spec", lambda name: None)
    assert refused(str(served_index)).endswith("needs an optional dependency: pip install 'elasticdenser[serve]'")


def test_elsewhere_than_on_loopback_without_a_key_it_warns(serve):
    process, url = serve("--host", "0.0.0.0")
    assert "warning: everybody who reaches this machine can search" in process.said
    assert "warning" not in serve("--host", "0.0.0.0", ELASTICDENSER_API_KEY="key")[0].said
    assert status_as("any.name.example", url.replace("0.0.0.0", "127.0.0.1")) == 200
    process.terminate()
    assert process.wait(10) == 0
