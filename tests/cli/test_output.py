"""Notes and logs on stderr; output on terminals of any encoding, and to places that take no more."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import COMMAND, ROOT, assert_fails, run

from elasticdenser.cli import output
from elasticdenser.cli.output import show_warnings

ENCODINGS = ["ascii", "latin-1"]


def run_with(*args: str, encoding: str = "utf-8", **options) -> subprocess.CompletedProcess[bytes]:
    """Run a command in another process with a terminal of this encoding."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run([*COMMAND, *args], cwd=ROOT, stderr=subprocess.PIPE, env=environment, **options)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_table_is_shown_on_any_terminal(index, encoding):
    result = run_with("search", index, "café – 東", "-k", "1", encoding=encoding, stdout=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.decode(encoding).startswith("cafe - ?" if encoding == "ascii" else "café - ?")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_is_read_back_whatever_the_terminal(index, encoding):
    result = run_with("search", index, "café – 東", "--json", encoding=encoding, stdout=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, b"")
    assert json.loads(result.stdout.decode("utf-8"))["query"] == "café – 東"


def test_characters_that_cannot_be_encoded_have_similar_ones(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    output.show_any_text()
    stream.write("▲ ▼ “é” ≤ \udcff 東")
    stream.flush()
    assert stream.buffer.getvalue() == b'+ - "e" <= ? ?'


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("args", [["--json"], [], ["--help"]])
def test_a_full_disk_is_one_line(index, args):
    with open("/dev/full", "wb") as full:
        result = run_with("search", index, "dune", *args, stdout=full)
    assert result.returncode == 1
    assert result.stderr == b"error: cannot write to standard output: No space left on device\n"


@pytest.mark.slow
def test_closed_standard_output_is_no_defect(index):
    command = [sys.executable, "-m", "elasticdenser", "search", index, "dune"]
    result = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *command], cwd=ROOT, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")


def test_a_package_that_is_not_installed_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "elasticdenser.training.inputs", None)  # the import of it fails
    # A defect of this package keeps its traceback.
    defect = run("train", "--queries", "q.txt", "-o", str(tmp_path / "m")).exception
    assert isinstance(defect, ModuleNotFoundError)
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    monkeypatch.delitem(sys.modules, "elasticdenser.datasets.runs", raising=False)
    assert_fails(run("evaluate", "qrels.txt", "a.trec"), "ir_measures", "pip install ir-measures")


@pytest.fixture
def logger():
    """Show the warnings of the package, as the command line does."""
    logger = logging.getLogger("elasticdenser")
    handlers, propagate = list(logger.handlers), logger.propagate
    show_warnings()
    yield logger.getChild("any")
    logger.handlers, logger.propagate = handlers, propagate


def test_a_warning_is_one_line(logger, capsys):
    logger.info("unseen")
    logger.warning("got %d of %s", 2, "three")
    assert capsys.readouterr() == ("", "warning: got 2 of three\n")


def test_the_traceback_of_an_error_is_shown(logger, capsys):
    try:
        raise ValueError("inner") from OSError("cause")
    except ValueError:
        logger.exception("it failed")
    error = capsys.readouterr().err
    assert error.startswith("error: it failed\nOSError: cause\n") and "in test_the_traceback" in error
    assert error.endswith("ValueError: inner\n")
