"""The wheel: complete, nothing but the package, and enough to index, search and measure without torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from ci_needs import require

from elasticdenser.kernel.paths import has_fast_path

ROOT = Path(__file__).parents[1]
# Finding the compiler of Windows takes more than a look at the path; there the kernel is not checked.
MAX_ENVIRONMENT_MIB = 350
# Packages that only extras install, and the modules of this package that need them.
HEAVY = ("torch", "transformers", "scipy", "matplotlib", "pyserini", "pandas", "pyarrow", "zstandard", "fastapi", "ray")
NEED_EXTRAS = (
    *("encoders.backends.head", "encoders.backends.padding", "encoders.backends.transformers"),
    *("encoders.backends.torch", "rankers.backends.torch", "loadtest.http_", "serving.", "training", "integrations."),
    *("models.bert", "models.elastic", "models.int8_rows", "models.layers", "models.slicing", "models.token_table"),
    *("models.heads", "models.ranker_files", "models.scorer", "models.stored_tensors", "models.trunk"),
    *("models.classifier_files", "models.logits", "models.pair_files", "classifiers", "evaluation.glue"),
    *("models.pqrnn", "models.pqrnn_files", "models.intent_bodies", "models.intent_files", "models.intent_model"),
    *("models.activation_keys", "models.sentence_files", "encoders.backends.recycling", "cli.training_output"),
    *("reports.charts", "reports.glue", "reports.retention_section", "reports.sections"),
)
IMPORT_ALL = """if True:
    import importlib, json, pkgutil, elasticdenser
    failed = []
    for module in pkgutil.walk_packages(elasticdenser.__path__, "elasticdenser.", onerror=lambda name: None):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except Exception:
                failed.append(module.name.removeprefix("elasticdenser."))
    print(json.dumps(failed))
"""
HAS_COMPILER = shutil.which(sysconfig.get_config_var("CC").split()[0]) if sysconfig.get_config_var("CC") else None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
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
    result = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    (wheel,) = (folder / "out").glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel_names(wheel) -> list[str]:
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


class Environment:
    """A virtual environment that holds the wheel and what it needs, without any extra."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = str(folder / ("Scripts" if sys.platform == "win32" else "bin") / "python")

    def run(self, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        # The checkout, which the tests have on their path, must not be what is imported.
        variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        return subprocess.run(
            [self.python, *args], cwd=cwd or self.folder, env=variables, capture_output=True, text=True, timeout=600
        )


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("light") / "venv")
    subprocess.run([sys.executable, "-m", "venv", str(environment.folder)], check=True, timeout=300)
    install = ("-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), str(wheel))
    result = environment.run(*install)
    require(result.returncode == 0, f"needs a package index: {result.stderr[-1000:]}")
    return environment


@pytest.mark.slow
def test_an_installation_without_extras_is_small(environment):
    code = "import importlib.util, sys; print([name for name in sys.argv[1:] if importlib.util.find_spec(name)])"
    assert environment.run("-c", code, *HEAVY).stdout.strip() == "[]"
    n_bytes = sum(512 * path.lstat().st_blocks for path in environment.folder.rglob("*"))
    assert n_bytes / 2**20 <= MAX_ENVIRONMENT_MIB


@pytest.mark.slow
def test_modules_that_need_an_extra_are_known(environment):
    failed = json.loads(environment.run("-c", IMPORT_ALL).stdout)
    assert [name for name in failed if not name.startswith(NEED_EXTRAS)] == []
    assert "encoders.backends.torch" in failed


@pytest.mark.slow
@pytest.mark.skipif(not has_fast_path(), reason="needs a fast path of the kernel")
def test_an_installation_without_extras_indexes_searches_and_measures(environment, tmp_path):
    (tmp_path / "p.jsonl").write_text('{"_id": "d1", "text": "a desert planet"}\n{"_id": "d2", "text": "hackers"}\n')
    (tmp_path / "q.tsv").write_text("q1\tsand and dunes\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\n")

    def command(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        result = environment.run("-m", "elasticdenser", *args, cwd=tmp_path)
        assert result.returncode == code, result.stderr
        return result

    assert "encoded in 8 bits" in command("index", "p.jsonl", "-o", "index", "--offline").stderr
    assert json.loads(command("search", "index", "sand", "-k", "1", "--json").stdout)["hits"][0]["doc_id"] == "d1"
    command("search", "index", "sand", "--precision", "fp32")
    command("run", "index", "q.tsv", "-o", "run.trec")
    shutil.copy(tmp_path / "run.trec", tmp_path / "other.trec")
    measured = command("evaluate", "qrels.txt", "run.trec", "RR@10", "nDCG@10", "AP", "--json")
    assert json.loads(measured.stdout) == {"RR@10": 1.0, "nDCG@10": 1.0, "AP": 1.0}
    assert "nothing that is needed is missing" in command("doctor").stderr
    for extra, args in {
        "eval": ("evaluate", "qrels.txt", "run.trec", "other.trec"),
        "train": ("search", "index", "sand", "--precision", "bf16"),
        "serve": ("serve", "index"),
    }.items():
        (line,) = command(*args, code=1).stderr.splitlines()
        assert f"(extra '{extra}'): pip install '" in line
