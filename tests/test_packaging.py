"""The wheel: complete, and nothing but the package."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Finding the compiler of Windows takes more than a look at the path; there the kernel is not checked.
HAS_COMPILER = shutil.which(sysconfig.get_config_var("CC").split()[0]) if sysconfig.get_config_var("CC") else None


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory) -> list[str]:
    for name, oldest in (("build", 1), ("setuptools", 77)):
        try:
            major = int(version(name).split(".")[0])
        except PackageNotFoundError:
            major = -1
        if major < oldest:
            pytest.skip(f"needs pip install 'build' 'setuptools>=77': {name} is {major}")
    # Build a copy, because setuptools leaves build/ and egg-info in the source tree. The copy holds everything that
    # could end up in a wheel by mistake, except large files.
    folder = tmp_path_factory.mktemp("packaging")
    ignored = shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "data", "*.npy", "*.faiss"
    )
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "out"), "."]
    result = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    (wheel,) = (folder / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.mark.slow
def test_wheel_holds_only_the_package(wheel_names):
    package, metadata = sorted({name.split("/")[0] for name in wheel_names})
    assert package == "elasticdenser"
    assert metadata.endswith(".dist-info")


@pytest.mark.slow
def test_wheel_is_complete(wheel_names):
    assert "elasticdenser/py.typed" in wheel_names
    assert any(name.endswith("licenses/LICENSE") for name in wheel_names)
    assert "elasticdenser/serving/page.html" in wheel_names
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "elasticdenser").rglob("*.py")}
    assert modules <= set(wheel_names)
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "elasticdenser/pretrained").rglob("*.*")}
    assert any(name.endswith("/elastic.safetensors") for name in shipped)
    assert shipped <= set(wheel_names)
    if HAS_COMPILER:
        kernels = [name for name in wheel_names if name.startswith("elasticdenser/kernel/_kernel.")]
        assert any(name.endswith((".so", ".pyd")) for name in kernels), kernels
