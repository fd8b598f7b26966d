"""The number of usable CPUs, in containers too, and their instructions."""

from __future__ import annotations

import os

import pytest

from elasticdenser import cpus


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Return a function that makes a control group tree on a machine of eight CPUs, and counts the usable ones."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)

    def count(process_groups: str, files: dict[str, str]) -> int:
        (tmp_path / "self").write_text(process_groups)
        for name, text in files.items():
            (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "cgroup" / name).write_text(text + "\n")
        return cpus.cpu_count(cgroup_root=tmp_path / "cgroup", process_groups=tmp_path / "self")

    return count


@pytest.mark.parametrize(
    ("process_groups", "files", "expected"),
    [
        ("", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000"}, 8),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2),
        ("0::/\n", {"cpu.max": "250000 100000"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "1600000 100000"}, 8),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "100000 100000"}, 1),
        ("0::/../x\n", {"cpu.max": "400000 100000"}, 4),
        # The process is outside the container's tree: a group of the same name inside is another group.
        ("0::/../x\n", {"cpu.max": "400000 100000", "x/cpu.max": "100000 100000"}, 4),
        ("0::/host/only\n", {"cpu.max": "400000 100000"}, 4),
        ("0::/a\n", {"unified/a/cpu.max": "400000 100000"}, 4),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        (
            "4:cpu,cpuacct:/docker/x\n",
            {"cpu,cpuacct/docker/x/cpu.cfs_quota_us": "150000", "cpu,cpuacct/docker/x/cpu.cfs_period_us": "50000"},
            3,
        ),
        ("4:cpuset:/\n", {"cpu.max": "broken"}, 8),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "300000"}, 8),
    ],
)
def test_cpu_count(groups, process_groups, files, expected):
    assert groups(process_groups, files) == expected


def test_affinity_limits_too(groups, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)
    assert groups("0::/\n", {"cpu.max": "400000 100000"}) == 1


@pytest.mark.parametrize(("limit", "expected"), [("2", 2), ("0", 1), ("100", 8), ("", 8), ("many", 8)])
def test_the_environment_limits_too(groups, monkeypatch, limit, expected):
    monkeypatch.setenv(cpus.LIMIT, limit)
    assert groups("", {}) == expected


def test_cpu_flags(tmp_path):
    info = tmp_path / "cpuinfo"
    assert cpus.cpu_flags(info) == frozenset()
    for name in ("flags\t\t", "Features\t"):
        info.write_text(f"processor\t: 0\n{name}: fpu bf16\nbogomips: 3\n{name}: other\n")
        assert cpus.cpu_flags(info) == {"fpu", "bf16"}


def test_cpu_count_of_this_machine():
    assert 1 <= cpus.cpu_count() <= (os.cpu_count() or 1)
