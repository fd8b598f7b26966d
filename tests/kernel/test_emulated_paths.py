"""Paths for AMX and AVX-VNNI, with their instructions emulated: few machines have them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from kernel_helpers import needs_fast_path

from elasticdenser.cpus import cpu_flags

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "elasticdenser" / "kernel"
TESTS = ("tests/kernel/test_products.py", "tests/encoders/test_kernel_backend.py", "tests/models/test_distances.py")
SELECTED = "test_products or paths_give_the_same or odd_shapes or all_paths"
"""Those that compare paths."""


@pytest.fixture(scope="module")
def emulated(tmp_path_factory) -> Path:
    """The kernel, built with `EMULATED_INSTRUCTIONS`."""
    compiler = shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not {"avx2", "fma", "f16c"} <= cpu_flags():
        pytest.skip("needs GCC or clang, and a processor with AVX2")
    module = tmp_path_factory.mktemp("kernel") / "_kernel.so"
    flags = ["-shared", "-fPIC", "-std=c99", "-O3", "-fno-math-errno", "-ffp-contract=off", "-DEMULATED_INSTRUCTIONS"]
    include = f"-I{sysconfig.get_paths()['include']}"
    command = [compiler, *flags, "-DPy_LIMITED_API=0x030B0000", include, *map(str, sorted(SOURCES.glob("*.c")))]
    subprocess.run([*command, "-o", str(module)], check=True)
    return module


def run(*command: str, **variables: str) -> str:
    environment = os.environ | {"ELASTICDENSER_KERNEL_PATHS": "all"} | variables
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@needs_fast_path
def test_emulated_paths_pass_the_tests_of_all_paths(emulated):
    helpers = str(ROOT / "tests" / "helpers")
    path = os.pathsep.join([helpers, str(ROOT), os.environ.get("PYTHONPATH", "")])
    plugin = {"EMULATED_KERNEL": str(emulated), "PYTHONPATH": path}
    shown = "from emulated_kernel import module; print(*module.paths())"
    assert run("-c", shown, **plugin).split()[:3] == ["amx-int8", "avx-vnni", "avx2"]
    options = ["-q", "-p", "emulated_kernel", "-p", "no:cacheprovider", "-k", SELECTED]
    printed = run("-m", "pytest", *options, *TESTS, **plugin)
    assert "passed" in printed and "failed" not in printed


def test_paths_that_were_not_run_on_a_processor_are_only_offered_on_request():
    shown = "from elasticdenser.kernel.paths import kernel_paths; print(*kernel_paths())"
    by_default = run("-c", shown, ELASTICDENSER_KERNEL_PATHS="").split()
    assert not {"amx-int8", "avx-vnni"} & set(by_default)
    found = [path for path in run("-c", shown).split() if path not in by_default]
    expected = {"amx-int8": {"amx_int8", "avx512_vnni"}, "avx-vnni": {"avx_vnni"}}
    assert all(expected[path] <= cpu_flags() for path in found)


@pytest.mark.slow
@pytest.mark.skipif("amx_int8" not in cpu_flags(), reason="needs a processor with AMX")
def test_the_matrix_units_pass_the_tests_of_all_paths():
    if "amx-int8" not in run("-c", "from elasticdenser.kernel.paths import kernel_paths; print(*kernel_paths())"):
        pytest.skip("the operating system refuses the matrix units")
    assert "passed" in run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", SELECTED, *TESTS)
