"""CPUs that this process may use, and their instruction sets; containers often grant less than the machine has."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

CGROUP_ROOT = Path("/sys/fs/cgroup")
PROCESS_GROUPS = Path("/proc/self/cgroup")
CPU_INFO = Path("/proc/cpuinfo")

LIMIT = "ELASTICDENSER_CPUS"
"""Variable of the environment with the most CPUs that a process and its children count as usable: an actor of a cluster
sets it to what it was granted, which the operating system does not know."""


def cpu_count(*, cgroup_root: Path = CGROUP_ROOT, process_groups: Path = PROCESS_GROUPS) -> int:
    """Return the number of usable CPUs, at least 1.

    Args:
        cgroup_root: Mount point of the control groups (v1 or v2).
        process_groups: File that names the control groups of this process.
    """
    n_cpus, limit = affinity_count(), os.environ.get(LIMIT, "")
    if limit.isdecimal():
        n_cpus = max(1, min(n_cpus, int(limit)))
    quota = cpu_quota(cgroup_root=cgroup_root, process_groups=process_groups)
    # Rounded down: with one thread more than the quota allows, all of them get throttled.
    return n_cpus if quota is None else max(1, min(n_cpus, int(quota)))


def affinity_count() -> int:
    """Return the number of CPUs that the operating system may run this process on."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def cpu_flags(cpu_info: Path = CPU_INFO) -> frozenset[str]:
    """Return the processor's features by Linux's names, such as `avx512_bf16`; empty where they are not known."""
    match = re.search(r"^(?:flags|Features)\s*:(.*)$", _read(cpu_info), flags=re.MULTILINE)
    return frozenset(match.group(1).split()) if match else frozenset()


def cpu_quota(*, cgroup_root: Path = CGROUP_ROOT, process_groups: Path = PROCESS_GROUPS) -> float | None:
    """Return the CPU time per second that control groups grant, in CPUs, or None without a limit.

    Args:
        cgroup_root: Mount point of the control groups (v1 or v2).
        process_groups: File that names the control groups of this process.
    """
    limits: list[float] = []
    for folder in _group_folders(cgroup_root, process_groups):
        limits += [limit for limit in (_v2_limit(folder), _v1_limit(folder)) if limit is not None]
    return min(limits, default=None)


def _group_folders(cgroup_root: Path, process_groups: Path) -> list[Path]:
    """Return the folders whose limits apply: those of the process's groups and of all their parents."""
    groups: list[tuple[Path, str]] = []
    for line in _read(process_groups).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            groups += [(cgroup_root, group), (cgroup_root / "unified", group)]
        elif "cpu" in controllers.split(","):
            groups += [(cgroup_root / controllers, group), (cgroup_root / "cpu", group)]
    # Inside a container the paths may be those of the host, with only the top of the mount visible.
    groups += [(cgroup_root, "/"), (cgroup_root / "cpu", "/")]
    folders: dict[Path, None] = {}
    for mount, group in groups:
        parts = [part for part in PurePosixPath(group).parts if part != "/"]
        if ".." in parts:  # outside of the mount: a group of this name inside is another group
            parts = []
        for length in range(len(parts), -1, -1):
            folders[mount.joinpath(*parts[:length])] = None
    return list(folders)


def _v2_limit(folder: Path) -> float | None:
    """Read `cpu.max`, such as `200000 100000` or `max 100000`."""
    fields = _read(folder / "cpu.max").split()
    return _ratio(fields[0], fields[1]) if len(fields) == 2 else None


def _v1_limit(folder: Path) -> float | None:
    """Read `cpu.cfs_quota_us` (-1: no limit) and `cpu.cfs_period_us`."""
    return _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """Return quota divided by period, or None if there is no limit."""
    try:
        quota_us, period_us = int(quota), int(period)
    except ValueError:
        return None
    return quota_us / period_us if quota_us > 0 and period_us > 0 else None


def _read(path: Path) -> str:
    """Return the text of a small file, or an empty string if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
