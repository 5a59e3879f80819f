"""A process is held where a test says, and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from airflow_ml.testing.stalls import Stalls

PROGRAM = """
from airflow_ml.core.failpoint import fp
for name in ("one", "two", "one"):
    fp(name)
    print(name, flush=True)
"""


def test_a_process_is_held_once_and_let_go(tmp_path: Path) -> None:
    stalls = Stalls(tmp_path / "stalls")
    stalls.arm("two")
    root = str(Path(__file__).parents[3])
    environment = {**os.environ, **stalls.environment()}
    environment["PYTHONPATH"] = os.pathsep.join([environment["PYTHONPATH"], root])
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "one\n"
        deadline = time.monotonic() + 60
        while stalls.held("two") is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert stalls.held("two") == process.pid
        assert process.poll() is None
        stalls.release()
        assert process.stdout.read() == "two\none\n"
    finally:
        process.kill()
        process.wait()
