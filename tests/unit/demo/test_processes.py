from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil

from airflow_ml.testing.child_process import MARKER, ProcessId
from demo.processes import DemoState, this_process

GONE = ProcessId("scheduler", 2**22 - 1, 1.0)


def test_the_state_survives_the_disk_and_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "state.json"
    state = DemoState("mark", this_process(), (GONE,), {"airflow": "http://127.0.0.1:1"})
    state.save(path)
    assert DemoState.load(path) == state
    assert path.stat().st_mode & 0o077 == 0


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert DemoState.load(tmp_path / "state.json") is None


def test_a_state_whose_processes_are_gone_does_not_run() -> None:
    assert not DemoState("a mark that nothing carries", None, (GONE,)).is_running()


def test_an_owner_that_lives_is_running() -> None:
    assert DemoState("a mark that nothing carries", this_process(), ()).is_running()


def test_what_a_killed_demo_left_behind_is_found_by_its_marker_and_stopped() -> None:
    marker = f"left-behind-{os.getpid()}"
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command, env={**os.environ, MARKER: marker}, start_new_session=True) as orphan:
        try:
            # Popen returns while the kernel is still setting the new program up; its environment shows a moment later.
            deadline = time.monotonic() + 10
            while MARKER not in psutil.Process(orphan.pid).environ() and time.monotonic() < deadline:
                time.sleep(0.01)
            state = DemoState(marker, GONE, ())
            assert state.is_running()
            state.stop()
            assert not state.is_running()
        finally:
            orphan.kill()
