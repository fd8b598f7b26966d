"""Checks of this machine and this installation, which `doctor` shows."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from elasticdenser.cpus import CPU_INFO, affinity_count, cpu_count, cpu_flags, cpu_quota
from elasticdenser.retrieval.java import find_java, java_status

MIN_PYTHON = (3, 11)
MIN_FREE_GB = 5.0
"""An index of three million passages, as `check_disk` says."""

MIN_VERSIONS = {
    "torch": "2.6",
    "tokenizers": "0.20",
    "safetensors": "0.4",
    "huggingface-hub": "0.26",
    "faiss-cpu": "1.11",
    "numpy": "2.0",
    "ir-datasets": "0.5.10",
    "ir-measures": "0.3.7",
    "typer": "0.15",
    "rich": "13",
    "zstandard": "0.22",
    "regex": "2023.12",
    "scipy": "1.15",
    "matplotlib": "3.9",
    "msgspec": "0.19",
    "filelock": "3.16",
}
"""The dependencies in pyproject.toml; a test compares the two."""


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: The part that was checked.
        ok: Whether elasticdenser works well with it; an optional part that is absent is ok.
        state: The version, count or place that was found.
        advice: The way to improve it; may be empty.
    """

    name: str
    ok: bool
    state: str
    advice: str = ""


def run_checks(*, ask_torch: bool = False) -> list[Check]:
    """Run all checks; none of them changes the machine or uses the network.

    Args:
        ask_torch: Import torch, which takes seconds, to learn whether it can use a GPU.
    """
    return [
        check_python(),
        *check_packages(),
        check_cpus(),
        check_threads(),
        check_cpu_features(),
        check_gpu(ask_torch=ask_torch),
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
    """Look up the version of each dependency, without importing any."""
    results = []
    for name, oldest in MIN_VERSIONS.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            results.append(Check(name, False, "not installed", f"pip install '{name}>={oldest}'"))
            continue
        ok = _numbers(installed) >= _numbers(oldest)
        results.append(Check(name, ok, installed, "" if ok else f"pip install '{name}>={oldest}'"))
    return results


def check_cpus() -> Check:
    """Count the usable CPUs, which in a container can be fewer than those of the machine."""
    quota = cpu_quota()
    limit = "no quota" if quota is None else f"quota {quota:g}"
    counts = f"{cpu_count()} usable ({os.cpu_count()} in the machine, {affinity_count()} by affinity, {limit})"
    return Check("CPUs", True, counts)


def check_threads() -> Check:
    """Compare OMP_NUM_THREADS, which torch and FAISS obey, with the usable CPUs."""
    name, usable, value = "OMP_NUM_THREADS", cpu_count(), os.environ.get("OMP_NUM_THREADS")
    way_out = f"export OMP_NUM_THREADS={usable}"
    if value is None:
        # Without the variable OpenMP starts a thread for each CPU of the affinity mask: it does not know the quota.
        ok = affinity_count() <= usable
        return Check(name, ok, "not set", "" if ok else f"threads will wait for CPU time: {way_out}")
    if not value.isdigit() or int(value) < 1:
        return Check(name, False, repr(value), f"expected a whole number, at least 1: {way_out}")
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
    useful = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")
    present = [name for name in useful if name in flags]
    ok = bool({"avx2", "asimd"} & flags)
    advice = "" if ok else "without AVX2, encoding and search will be several times slower: use a newer CPU"
    return Check("CPU features", ok, ", ".join(present) or "none of note", advice)


def check_gpu(*, ask_torch: bool = False, devices: Path = Path("/dev")) -> Check:
    """Look for an NVIDIA GPU; none is needed."""
    device_files = sorted(path.name for path in devices.glob("nvidia[0-9]*"))
    state = f"device files {', '.join(device_files)}" if device_files else "none"
    if not ask_torch or find_spec("torch") is None:
        return Check("GPU", True, state, "")
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Check("GPU", True, f"{', '.join(names)} (CUDA {torch.version.cuda})")
    advice = "torch cannot use it: install a torch with CUDA, see https://pytorch.org" if device_files else ""
    return Check("GPU", not device_files, f"{state}, torch {torch.__version__} runs on the CPU", advice)


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
    """Tell whether the kernel encodes queries on the CPU, or torch because the kernel was not built."""
    name, advice = "Query kernel", "several times slower: install this package where there is a C compiler"
    try:
        from elasticdenser.kernel import _kernel
    except ImportError as error:
        return Check(name, True, f"not there ({error}): torch encodes queries", advice)
    if len(_kernel.paths()) < 2:  # the portable path is always there, and slower than torch
        return Check(name, True, f"not made for this processor ({platform.machine()}): torch encodes queries")
    return Check(name, True, "built: queries are encoded in 8 bits, without torch")


def check_pyserini() -> Check:
    """Look for pyserini and a Java that it can use; both are optional."""
    name, java = "pyserini", java_status()
    install = "pip install 'elasticdenser[pyserini]'"
    try:
        version("pyserini")
    except PackageNotFoundError:
        return Check(name, True, java, f"optional: {install}")
    return Check(name, True, java) if find_java() else Check(name, False, java, install)


def _numbers(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: 2.13.0+cpu -> (2, 13, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in match.group().split(".")) if match else ()
