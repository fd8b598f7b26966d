"""`elasticdenser doctor` and its checks."""

from __future__ import annotations

import os
import re
import sys
import tomllib

import pytest
from cli_helpers import ROOT, run, run_code

from elasticdenser.cli import installation_checks


def test_the_report():
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert all(part in result.stdout for part in ("Python", "torch", "Default model"))


def test_packages_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    min_versions = {}
    for requirement in project["dependencies"]:
        match = re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement)
        assert match, requirement
        min_versions[match[1]] = match[2]
    assert min_versions == installation_checks.MIN_VERSIONS


def test_checks_import_nothing_heavy():
    code = (
        "import sys; from elasticdenser.cli.installation_checks import run_checks; results = run_checks();"
        "print([c.name for c in results if not c.state]); print('numpy' in sys.modules or 'faiss' in sys.modules)"
    )
    result = run_code(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:2] == ["[]", "False"]


def test_every_failure_has_advice():
    results = installation_checks.run_checks()
    assert len({check.name for check in results}) == len(results)
    assert all(check.advice for check in results if not check.ok)
    assert {"Python", "torch", "CPUs", "Disk", "Default model", "pyserini"} <= {check.name for check in results}


def test_absent_and_old_packages(monkeypatch):
    monkeypatch.setattr(installation_checks, "MIN_VERSIONS", {"no-such-package-here": "1.0", "numpy": "99.1"})
    absent, old = installation_checks.check_packages()
    assert (absent.ok, absent.state) == (False, "not installed")
    assert not old.ok
    assert old.advice == "pip install 'numpy>=99.1'"


@pytest.mark.parametrize(
    ("value", "affinity", "ok", "advice"),
    [
        (None, 4, True, ""),
        (None, 16, False, "OMP_NUM_THREADS=4"),
        ("4", 16, True, ""),
        ("2", 4, True, "4 CPUs are usable"),
        ("8", 8, False, "more than the 4"),
        ("many", 4, False, "whole number"),
        ("0", 4, False, "whole number"),
    ],
)
def test_threads(monkeypatch, value, affinity, ok, advice):
    monkeypatch.setattr(installation_checks, "cpu_count", lambda: 4)
    monkeypatch.setattr(installation_checks, "affinity_count", lambda: affinity)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", value)
    check = installation_checks.check_threads()
    assert check.ok is ok
    assert advice in check.advice


def test_cpu_features(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n")
    assert installation_checks.check_cpu_features(info).state == "avx2, avx512f, avx512_bf16"
    info.write_text("flags\t\t: fpu sse2\n")
    assert not installation_checks.check_cpu_features(info).ok
    assert installation_checks.check_cpu_features(tmp_path / "none").ok


def test_kernel_says_why_it_is_absent(monkeypatch):
    import elasticdenser.kernel

    monkeypatch.delattr(elasticdenser.kernel, "_kernel", raising=False)
    monkeypatch.setitem(sys.modules, "elasticdenser.kernel._kernel", None)
    check = installation_checks.check_kernel()
    assert re.match(r"not there \(.*_kernel.*\): torch encodes queries", check.state)


def test_gpu_without_torch(tmp_path):
    assert installation_checks.check_gpu(devices=tmp_path).state == "none"
    (tmp_path / "nvidia0").touch()
    assert installation_checks.check_gpu(devices=tmp_path).state == "device files nvidia0"


def test_versions_compare_by_number():
    assert installation_checks._numbers("2.13.0+cpu") == (2, 13, 0) > installation_checks._numbers("2.6")
