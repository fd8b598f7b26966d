"""`elasticdenser doctor` and its checks."""

from __future__ import annotations

import os
import tomllib
from importlib import metadata

import pytest
from cli_helpers import ROOT, run, run_code

import elasticdenser
from elasticdenser import requirements
from elasticdenser.cli import installation_checks


@pytest.mark.slow
def test_doctor_lists_the_parts():
    result = run("doctor")
    assert result.exit_code == 0, result.output
    assert all(part in result.stdout for part in ("Python", "numpy", "Default model"))


def test_packages_and_extras_are_those_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == elasticdenser.__version__
    declared = {"": project["dependencies"], **project["optional-dependencies"]}
    for extra, lines in declared.items():
        if extra != "all":
            plain = sorted(line.partition(";")[0].strip() for line in lines)
            assert sorted(requirements.requirements_of(extra)) == plain
    assert [*requirements.extras(), "all"] == sorted(project["optional-dependencies"], key=lambda name: name == "all")
    assert set(requirements.requirements_of("all")) >= set(project["optional-dependencies"]["train"])
    assert requirements.extras() == list(installation_checks._PURPOSES)
    assert requirements._from_pyproject(ROOT / "pyproject.toml") == {
        extra: [line.partition(";")[0].strip() for line in lines] for extra, lines in declared.items()
    }


def test_a_checkout_that_is_not_installed_knows_its_requirements(monkeypatch):
    def absent(name):
        raise metadata.PackageNotFoundError(name)

    expected = requirements.pip_install("serve")
    monkeypatch.setattr(metadata, "requires", absent)
    requirements._requirements.cache_clear()
    try:
        assert requirements.pip_install("serve") == expected
    finally:
        requirements._requirements.cache_clear()
    assert expected.startswith("pip install 'fastapi>=0.115' 'pydantic>=2.10' 'uvicorn>=0.30'")
    assert "elasticdenser" not in expected


def test_each_extra_is_listed_with_what_it_lacks(monkeypatch):
    monkeypatch.setattr(installation_checks, "extras", lambda: ["serve", "docs"])
    packages = {"serve": ["numpy>=2.0"], "docs": ["no-such-package-here>=1", "numpy>=2.0", "scipy==0.1"]}
    monkeypatch.setattr(installation_checks, "requirements_of", packages.get)
    serve, docs = installation_checks.check_extras()
    assert (serve.name, serve.ok, serve.advice) == ("extra serve", True, "")
    assert serve.state.startswith("numpy 2")
    assert (docs.name, docs.ok) == ("extra docs", True)
    assert docs.state.endswith("without no-such-package-here>=1, scipy==0.1")
    assert docs.advice.startswith("optional, for building the documentation: pip install ")


@pytest.mark.slow
def test_checks_import_nothing_heavy():
    code = (
        "import sys; from elasticdenser.cli.installation_checks import run_checks; results = run_checks();"
        "print([c.name for c in results if not c.state]); print('numpy' in sys.modules or 'faiss' in sys.modules)"
    )
    result = run_code(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:2] == ["[]", "False"]


@pytest.mark.slow
def test_every_failure_has_advice():
    results = installation_checks.run_checks()
    assert len({check.name for check in results}) == len(results)
    assert all(check.advice for check in results if not check.ok)
    assert {"Python", "numpy", "extra train", "CPUs", "Disk", "Default model", "pyserini"} <= {
        check.name for check in results
    }


def test_absent_and_old_packages_are_gaps(monkeypatch):
    monkeypatch.setattr(installation_checks, "requirements_of", lambda: ["no-such-package-here>=1.0", "numpy>=99.1"])
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
def test_the_number_of_threads_is_compared_with_the_usable_cpus(monkeypatch, value, affinity, ok, advice):
    monkeypatch.setattr(installation_checks, "cpu_count", lambda: 4)
    monkeypatch.setattr(installation_checks, "affinity_count", lambda: affinity)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", value)
    check = installation_checks.check_threads()
    assert check.ok is ok
    assert advice in check.advice


def test_cpu_features_without_avx2_are_a_gap(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n")
    assert installation_checks.check_cpu_features(info).state == "avx2, avx512f, avx512_bf16"
    info.write_text("flags\t\t: fpu sse2\n")
    assert not installation_checks.check_cpu_features(info).ok
    assert installation_checks.check_cpu_features(tmp_path / "none").ok


def test_the_kernel_is_absent_or_has_no_fast_path(monkeypatch):
    monkeypatch.setattr(installation_checks, "kernel_paths", lambda: ("portable",))
    monkeypatch.setattr(installation_checks, "has_fast_path", lambda: False)
    assert installation_checks.check_kernel().state.startswith("no fast path for this processor")
    monkeypatch.setattr(installation_checks, "kernel_paths", lambda: ())
    monkeypatch.setattr(installation_checks, "kernel_import_error", lambda: "no _kernel")
    assert installation_checks.check_kernel().state == "not built (no _kernel): torch encodes texts"
    monkeypatch.setattr(installation_checks, "is_installed", lambda name: False)
    check = installation_checks.check_kernel()
    assert (check.ok, check.state) == (False, "not built (no _kernel), and torch is not installed")
    assert "'train'" in check.advice and "torch>=" in check.advice


def test_gpus_are_found_without_torch(tmp_path):
    assert installation_checks.check_gpu(tmp_path).state == "none"
    (tmp_path / "nvidia0").touch()
    assert installation_checks.check_gpu(tmp_path).state == "device files nvidia0"


def test_versions_compare_by_number():
    assert installation_checks._numbers("2.13.0+cpu") == (2, 13, 0) > installation_checks._numbers("2.6")
