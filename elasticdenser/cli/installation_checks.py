"""Checks of this machine and this installation, which `doctor` shows."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from elasticdenser.cpus import CPU_INFO, affinity_count, cpu_count, cpu_flags, cpu_quota
from elasticdenser.kernel.paths import has_fast_path, kernel_import_error, kernel_paths
from elasticdenser.lazy_imports import is_installed
from elasticdenser.requirements import extras, package_name, pip_install, requirements_of
from elasticdenser.retrieval.java import find_java, java_status

MIN_PYTHON = (3, 11)
MIN_FREE_GB = 5.0
"""Room for an index of three million passages: a million take about 1.5 GB."""

_PURPOSES = {
    "eval": "significance, intervals and charts",
    "train": "training, and encoders in float32, bfloat16 and float16, also on a GPU",
    "transformers": "encoders of any architecture, such as ModernBERT, DeBERTa and Qwen3",
    "minilm": "the default encoder as a package",
    "pyserini": "BM25, and indexes for pyserini",
    "serve": "the server",
    "parquet": "corpora in Parquet files",
    "pdf": "corpora in PDF files",
    "qdrant": "export to Qdrant, and search there",
    "ray": "sharded indexes built on Ray",
    "langchain": "a retriever for LangChain",
    "llamaindex": "a retriever for LlamaIndex",
    "haystack": "a retriever for Haystack",
    "docs": "building the documentation",
    "browser": "tests of the search page",
    "bench": "benchmarks",
    "dev": "tests",
}
"""Purpose of each extra of pyproject.toml; a test compares the two."""


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: The part that was checked.
        ok: Whether elasticdenser works well with it; an optional part that is absent is ok.
        state: Version, count or path of the part on this machine.
        advice: Way to improve it; may be empty.
    """

    name: str
    ok: bool
    state: str
    advice: str = ""


def run_checks() -> list[Check]:
    """Run all checks; none of them changes the machine, uses the network or imports torch, which takes seconds."""
    return [
        check_python(),
        *check_packages(),
        *check_extras(),
        check_cpus(),
        check_threads(),
        check_cpu_features(),
        check_gpu(),
        check_disk(),
        check_model(),
        check_kernel(),
        check_pyserini(),
    ]


def check_python() -> Check:
    """Compare the running Python with the oldest supported one."""
    oldest = ".".join(map(str, MIN_PYTHON))
    ok = sys.version_info >= MIN_PYTHON
    running = f"{platform.python_version()} ({sys.executable})"
    return Check("Python", ok, running, "" if ok else f"install Python {oldest} or newer")


def check_packages() -> list[Check]:
    """Look up the version of each package that is always needed, without importing any."""
    results = []
    for requirement in requirements_of():
        installed = _installed_version(requirement)
        ok = _is_satisfied(requirement, installed)
        advice = "" if ok else f"pip install '{requirement}'"
        results.append(Check(package_name(requirement), ok, installed or "not installed", advice))
    return results


def check_extras() -> list[Check]:
    """Look up the packages of each extra, all of which are optional, without importing any."""
    results = []
    for extra in extras():
        versions = {requirement: _installed_version(requirement) for requirement in requirements_of(extra)}
        lacking = [
            requirement for requirement, installed in versions.items() if not _is_satisfied(requirement, installed)
        ]
        present = [f"{package_name(name)} {versions[name]}" for name in versions if name not in lacking]
        state = "; ".join(filter(None, [", ".join(present), "without " + ", ".join(lacking) if lacking else ""]))
        advice = f"optional, for {_PURPOSES.get(extra, extra)}: {pip_install(extra)}" if lacking else ""
        results.append(Check(f"extra {extra}", True, state, advice))
    return results


def check_cpus() -> Check:
    """Count the usable CPUs, which in a container can be fewer than those of the machine."""
    quota = cpu_quota()
    limit = "no quota" if quota is None else f"quota {quota:g}"
    counts = f"{cpu_count()} usable ({os.cpu_count()} in the machine, {affinity_count()} by affinity, {limit})"
    return Check("CPUs", True, counts)


def check_threads() -> Check:
    """Compare OMP_NUM_THREADS, the number of threads of torch and FAISS, with the usable CPUs."""
    name, usable, value = "OMP_NUM_THREADS", cpu_count(), os.environ.get("OMP_NUM_THREADS")
    way_out = f"export OMP_NUM_THREADS={usable}"
    if value is None:
        # Without the variable OpenMP starts a thread for each CPU of the affinity mask: it does not know the quota.
        ok = affinity_count() <= usable
        return Check(name, ok, "not set", "" if ok else f"threads will wait for CPU time: {way_out}")
    if not value.isdigit() or int(value) < 1:
        return Check(name, False, repr(value), f"expected a whole number of at least 1: {way_out}")
    if int(value) > usable:
        return Check(
            name, False, value, f"more than the {usable} usable CPUs, threads will wait for each other: {way_out}"
        )
    return Check(name, True, value, f"{usable} CPUs are usable: {way_out}" if int(value) < usable else "")


def check_cpu_features(cpu_info: Path = CPU_INFO) -> Check:
    """List the vector instructions that make torch, FAISS and the kernel faster."""
    flags = cpu_flags(cpu_info)
    if not flags:
        return Check("CPU features", True, f"unknown ({platform.machine()})")
    useful = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "asimddp", "sve", "bf16")
    present = [name for name in useful if name in flags]
    ok = bool({"avx2", "asimd"} & flags)
    advice = "" if ok else "without AVX2, encoding and search will be several times slower: use a newer CPU"
    return Check("CPU features", ok, ", ".join(present) or "none that are used", advice)


def check_gpu(devices: Path = Path("/dev")) -> Check:
    """Look for the device files of NVIDIA GPUs; none is needed."""
    device_files = sorted(path.name for path in devices.glob("nvidia[0-9]*"))
    return Check("GPU", True, f"device files {', '.join(device_files)}" if device_files else "none")


def check_disk(folder: Path | None = None) -> Check:
    """Look at the free space of the working directory, below which indexes are written by default."""
    folder = Path.cwd() if folder is None else folder
    free_gb = shutil.disk_usage(folder).free / 1e9
    ok = free_gb >= MIN_FREE_GB
    advice = "a million passages take about 1.5 GB: free some space, or write elsewhere with -o"
    return Check("Disk", ok, f"{free_gb:.1f} GB free in {folder}", "" if ok else advice)


def check_model() -> Check:
    """Look for the default encoder on this machine."""
    name = "Default model"
    try:
        from elasticdenser.models.locate import find_model

        location = find_model(download=False)
    except Exception as error:  # a defect of one part must not end the report
        return Check(name, False, "not found", str(error) or type(error).__name__)
    return Check(name, True, f"{location.path} ({location.source})")


def check_kernel() -> Check:
    """Tell whether the kernel encodes texts, or torch, because the kernel was not built; one of them is needed."""
    name = "Kernel"
    if has_fast_path():
        return Check(name, True, f"built, {kernel_paths()[0]}: texts are encoded in 8 bits or float32, without torch")
    obstacle = f"no fast path for this processor ({platform.machine()})"
    if not kernel_paths():
        obstacle = f"not built ({kernel_import_error()})"
    if not is_installed("torch"):
        return Check(name, False, f"{obstacle}, and torch is not installed", f"extra 'train': {pip_install('train')}")
    advice = "texts are encoded several times slower: install this package where there is a C compiler"
    return Check(name, True, f"{obstacle}: torch encodes texts", "" if kernel_paths() else advice)


def check_pyserini() -> Check:
    """Look for pyserini and a Java that it can use; both are optional."""
    name, java = "pyserini", java_status()
    # Without pyserini, `check_extras` says how to install it.
    if not _installed_version("pyserini") or find_java():
        return Check(name, True, java)
    return Check(name, False, java, pip_install("pyserini"))


def _installed_version(requirement: str) -> str:
    """Return the installed version of a package; empty if it is not installed."""
    try:
        return version(package_name(requirement))
    except PackageNotFoundError:
        return ""


def _is_satisfied(requirement: str, installed: str) -> bool:
    """Return whether an installed version is the one required, or at least the oldest."""
    required = re.search(r"(==|>=)([\d.]+)", requirement)
    if required is None or not installed:
        return bool(installed)
    if required[1] == "==":
        return _numbers(installed) == _numbers(required[2])
    return _numbers(installed) >= _numbers(required[2])


def _numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: 2.13.0+cpu -> (2, 13, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()
