"""Facts about the machine on which a call runs, collected by a call."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import distributions

from airflow_ml.core.record import JSON

_TIMEOUT_SECONDS = 20.0


def host_facts() -> dict[str, JSON]:
    """Return Python, machine, CPUs, GPUs, shared memory and number of packages of the process that calls this."""
    from airflow_ml.runtime.cpus import available_cpus

    return {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}",
        "machine": platform.machine(),
        "host": platform.node(),
        "user": os.getuid(),
        "cpus": available_cpus(),
        "gpus": [*_gpus()],
        "shm_mib": _shared_memory_mib(),
        "packages": len({item.metadata["Name"] for item in distributions()}),
    }


def _gpus() -> list[str]:
    """Return the names of NVIDIA devices that this process sees."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        asked = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in said.stdout.splitlines() if line.strip()] if said.returncode == 0 else []


def _shared_memory_mib() -> int | None:
    try:
        found = os.statvfs("/dev/shm")  # noqa: S108 - its size is asked, nothing is written
    except OSError:
        return None
    return found.f_blocks * found.f_frsize // 2**20
