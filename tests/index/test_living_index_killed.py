"""Changes of an index that are killed: before each file operation in turn, and in random histories.

pytest tests/index/test_living_index_killed.py --histories 10000 --basetemp=/dev/shm/histories
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[1] / "helpers"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def run_program(name, *arguments, timeout=None):
    """Run a program of the helpers in a process of its own, and return what it writes."""
    command = [sys.executable, str(HELPERS / name), *map(str, arguments)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("change", ["add", "convert", "delete", "compact", "snapshot"])
def test_killed_between_any_two_file_operations(tmp_path, change):
    _, n_kills, n_operations = run_program("crashing_changes.py", tmp_path, change, timeout=1200).split()
    assert int(n_kills) > 10 and int(n_operations) > 20


@pytest.mark.slow
def test_random_histories(tmp_path, request):
    run_program("index_histories.py", tmp_path, request.config.getoption("--histories"))
