"""Runs of the command line, in this process or in another, and checks of their output."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from elasticdenser.cli import app

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "elasticdenser"]
TEXTS = {
    "d1": "dune is a novel about a desert planet",
    "d2": "read a csv file with headers",
    "d3": "wait for several threads [/b] to [red]finish[/red] \x1b[31m now",
}
"""The passages of the fixture `index`; the last one with markup and a control character."""


def run(*args: str, **options):
    """Run a command in this process."""
    return CliRunner().invoke(app, list(args), **options)


def start(*args: str, command: list[str] = COMMAND, **options) -> subprocess.Popen:
    """Start a command in another process."""
    # A shell starts background jobs with Ctrl-C ignored, and their children inherit that.
    options.setdefault("preexec_fn", lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    return subprocess.Popen([*command, *args], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def run_code(code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in another process."""
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def assert_fails(result, *parts: str) -> None:
    """Check for exit code 1, no results, and one line that explains."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert all(part in line for part in parts), line


def assert_fails_after_notes(result, *parts: str) -> None:
    """Check as `assert_fails` does, but allow notes before the line that explains."""
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert result.stderr.splitlines()[-1].startswith("error: ")
    assert all(part in result.stderr.splitlines()[-1] for part in parts), result.stderr
