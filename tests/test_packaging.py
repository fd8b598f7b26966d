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
# On Windows it takes more to find it.
HAS_COMPILER = shutil.which(sysconfig.get_config_var("CC").split()[0]) if sysconfig.get_config_var("CC") else None
HEAVY = {"torch", "faiss", "numpy", "transformers", "ir_datasets", "ir_measures"}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory) -> list[str]:
    for name, oldest in (("build", 1), ("setuptools", 77)):
        try:
            found = int(version(name).split(".")[0])
        except PackageNotFoundError:
            found = -1
        if found < oldest:
            pytest.skip(f"needs pip install 'build' 'setuptools>=77': {name} is {found}")
    # A copy, because setuptools leaves build/ and egg-info beside what it builds; of everything that could end
    # up in a wheel by mistake, but not of what is large.
    folder = tmp_path_factory.mktemp("packaging")
    left_out = shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "build", "dist", "runs", "data", "*.npy", "*.faiss"
    )
    shutil.copytree(ROOT, folder / "source", ignore=left_out)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder / "out"), "."]
    result = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    (wheel,) = (folder / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.mark.slow
def test_wheel_holds_only_the_package(wheel_names):
    tops = {name.split("/")[0] for name in wheel_names}
    assert len(tops) == 2
    assert "elasticdenser" in tops
    assert all(top == "elasticdenser" or top.endswith(".dist-info") for top in tops)


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


@pytest.mark.parametrize("module", ["elasticdenser", "elasticdenser.cli"])
def test_import_is_light(module):
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == []
