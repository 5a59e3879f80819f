"""CPUs: affinity and the quotas of both kinds of cgroup."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from airflow_ml.runtime.cpus import THREAD_VARIABLES, available_cpus, limit_threads


def machine(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        (root / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "sys/fs/cgroup" / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/pod/me\n", {"pod/cpu.max": "150000 100000", "pod/me/cpu.max": "max 100000"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000"}, 1),
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("4:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("3:memory:/x\n", {}, 64),
        ("", {}, 64),
    ],
)
def test_the_quota_counts(tmp_path, monkeypatch, cgroup, files, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)))
    assert available_cpus(machine(tmp_path, cgroup, files)) == expected


def test_affinity_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert available_cpus(tmp_path) == 1


def test_threads_are_limited_for_every_library():
    environment: dict[str, str] = {"OMP_NUM_THREADS": "64"}
    limit_threads(environment, 2)
    assert environment == dict.fromkeys(THREAD_VARIABLES, "2")
