"""Servers of a benchmark as processes of their own, and the CPU time of their parts."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 15.0


@dataclass(frozen=True, kw_only=True)
class ServerProcess:
    """Server that runs.

    Attributes:
        name: Its name in tables.
        url: Its URL.
        pid: Its process.
    """

    name: str
    url: str
    pid: int

    def cpu_ms(self) -> dict[str, float]:
        """Return the CPU time so far of its first thread, its other threads, and the processes that it started."""
        times = dict.fromkeys(("event loop", "other threads", "search processes"), 0.0)
        for thread, thread_ms in _thread_ms(self.pid).items():
            times["event loop" if thread == self.pid else "other threads"] += thread_ms
        for child in _descendants(self.pid):
            times["search processes"] += sum(_thread_ms(child).values())
        return times


@contextmanager
def run_server(
    name: str, command: str, url: str, *, folder: Path, ready_path: str, log: Path
) -> Iterator[ServerProcess]:
    """Run a server until the end of the block, which begins when it answers.

    Args:
        name: Its name in tables.
        command: Its command line.
        url: The URL at which it listens.
        folder: Its working folder; `python -m` imports from there.
        ready_path: A path that it answers with status 200 as soon as it is ready.
        log: File for its output.

    Raises:
        SystemExit: It ended, or did not answer in time.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    with open(log, "wb") as output:
        process = subprocess.Popen(
            shlex.split(command), cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        _wait_until_ready(process, f"{url}{ready_path}", log)
        yield ServerProcess(name=name, url=url, pid=process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def serve_command(index: Path, port: int, profile: Path | None, workers: int) -> str:
    """Return the command of `elasticdenser serve` for the code in the working folder."""
    parts = [sys.executable, "-m", "elasticdenser", "serve", str(index.resolve()), "--port", str(port)]
    parts += ["--workers", str(workers), "--no-access-log"]
    return shlex.join(parts if profile is None else [*parts, "--profile", str(profile.resolve())])


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end_s = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end_s:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with status {process.returncode}: see {log}")
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"no answer from {url} within {_START_TIMEOUT_S:g} s: see {log}")


def _thread_ms(pid: int) -> dict[int, float]:
    """Return the CPU time of each thread of a process in milliseconds; Linux only."""
    times = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        try:
            times[int(folder.name)] = int((folder / "schedstat").read_text().split()[0]) / 1e6
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
    return times


def _descendants(pid: int) -> list[int]:
    found = []
    for folder in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (folder / "children").read_text().split()):
            found += [child, *_descendants(child)]
    return found
