"""The public names of the package."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import elasticdenser

HEAVY = {"torch", "faiss", "numpy", "transformers", "ir_datasets", "ir_measures"}
ROOT = Path(__file__).parents[1]


def test_each_public_name_is_imported_from_its_module():
    assert set(elasticdenser._MODULES) == set(elasticdenser.__all__)
    for name, module in elasticdenser._MODULES.items():
        value = getattr(elasticdenser, name)
        assert value is getattr(importlib.import_module(f"elasticdenser.{module}"), name)


def test_type_checkers_see_the_same_names():
    (checked,) = [node for node in ast.parse(Path(elasticdenser.__file__).read_text()).body if isinstance(node, ast.If)]
    assert {alias.name for line in checked.body for alias in line.names} == set(elasticdenser.__all__)


def test_public_names_are_documented_and_listed():
    assert all(getattr(elasticdenser, name).__doc__ for name in elasticdenser.__all__)
    assert dir(elasticdenser) == sorted([*elasticdenser.__all__, "__version__"])


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'elasticdenser' has no attribute 'nothing'"):
        _ = elasticdenser.nothing


@pytest.mark.parametrize("module", ["elasticdenser", "elasticdenser.cli"])
def test_import_is_light(module):
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []


@pytest.mark.slow
def test_the_module_runs_the_command_line():
    command = [sys.executable, "-m", "elasticdenser", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (result.returncode, result.stdout.strip()) == (0, elasticdenser.__version__), result.stderr
