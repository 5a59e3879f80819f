"""How many CPUs this process really has, and how many threads a library may take of them."""

from __future__ import annotations

import functools
import math
import os
import platform
from collections.abc import Iterator, MutableMapping
from pathlib import Path

#: What numerical libraries read when they are loaded.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
    "LOKY_MAX_CPU_COUNT",
    "POLARS_MAX_THREADS",
)


def available_cpus(root: Path = Path("/")) -> int:
    """Return the CPUs of this process: its affinity, and the quota of its cgroup (v1 or v2), at least 1.

    Args:
        root: Where ``/proc`` and ``/sys`` are found.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas(root))]))


def limit_threads(environment: MutableMapping[str, str], threads: int) -> None:
    """Tell numerical libraries that are loaded later how many threads to take."""
    for name in THREAD_VARIABLES:
        environment[name] = str(threads)


def _quotas(root: Path) -> Iterator[float]:
    """Yield the CPU quotas of this process's cgroups and of those above them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "sys/fs/cgroup" / (controllers and "cpu")
        for folder in _levels(base, path):
            quota = _read(folder / "cpu.max") if not controllers else _read_v1(folder)
            if quota is not None:
                yield quota


def _levels(base: Path, path: str) -> Iterator[Path]:
    parts = [part for part in path.split("/") if part]
    for length in range(len(parts), -1, -1):
        yield base.joinpath(*parts[:length])


def _read(file: Path) -> float | None:
    try:
        quota, period = file.read_text().split()
        return float(quota) / float(period)
    except (OSError, ValueError):  # no such level, or "max"
        return None


def _read_v1(folder: Path) -> float | None:
    try:
        quota = float((folder / "cpu.cfs_quota_us").read_text())
        return quota / float((folder / "cpu.cfs_period_us").read_text()) if quota > 0 else None
    except (OSError, ValueError):
        return None


@functools.cache
def cpu_name() -> str:
    """Return the CPU's kind: results agree to the last bit on the same kind only."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
