from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from airflow_ml.testing.child_process import MARKER, ChildFailed, ChildProcess, ProcessId, free_ports, running, stop

SLEEPER = "import time; time.sleep(60)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); {SLEEPER}"
#: Starts a child in a session of its own, with or without the marker, says its pid, and waits.
PARENT = """
import os, subprocess, sys, time
env = dict(os.environ) if {keeps_marker} else {{}}
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
print(subprocess.Popen(sleep, start_new_session=True, env=env).pid, flush=True)
{then}
"""


def start(tmp_path: Path, code: str, marker: str = "none") -> ChildProcess:
    env = {**os.environ, MARKER: marker}
    return ChildProcess("part", [sys.executable, "-c", code], log_path=tmp_path / "part.log", env=env, cwd=tmp_path)


def pid_in_log(process: ChildProcess) -> int:
    process.wait_until(lambda: process.log_path.read_text().strip().isdigit(), timeout_seconds=20)
    return int(process.log_path.read_text())


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_child_leads_its_own_session(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEPER)
    try:
        assert os.getsid(process.id.pid) == process.id.pid
    finally:
        assert stop([process.id], grace_seconds=10) == []
    assert process.exit_code == -15


def test_a_part_that_ends_before_it_is_ready_is_told_with_its_last_lines(tmp_path: Path) -> None:
    process = start(tmp_path, "print('first'); raise SystemExit('no database')")
    with pytest.raises(ChildFailed, match=r"(?s)part ended with code 1 before it was ready.*part\.log.*no database"):
        process.wait_until(lambda: False, timeout_seconds=20)


def test_a_part_that_is_not_ready_in_time_is_told(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEPER)
    try:
        with pytest.raises(ChildFailed, match=r"was not ready within 0.2 s"):
            process.wait_until(lambda: False, timeout_seconds=0.2)
    finally:
        stop([process.id], grace_seconds=10)


def test_a_command_that_does_not_end_is_stopped_and_told(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEPER)
    with pytest.raises(ChildFailed, match=r"did not end within 0.2 s"):
        process.wait_success(0.2)
    assert not is_alive(process.id.pid)


def test_a_failed_command_is_told_with_its_code(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="ended with code 3"):
        start(tmp_path, "raise SystemExit(3)").wait_success(20)


def test_who_does_not_end_on_term_is_killed_and_named(tmp_path: Path) -> None:
    process = start(tmp_path, STUBBORN)
    process.wait_until(lambda: "deaf" in process.log_path.read_text(), timeout_seconds=20)
    killed = stop([process.id], grace_seconds=0.3)
    assert len(killed) == 1
    assert "SIG_IGN" in killed[0]
    assert not is_alive(process.id.pid)


@pytest.mark.parametrize(
    ("keeps_marker", "then"),
    [
        pytest.param(False, SLEEPER, id="no marker, found by its parent"),
        pytest.param(True, "", id="no parent, found by its marker"),
    ],
)
def test_what_left_the_session_is_found_all_the_same(tmp_path: Path, keeps_marker: bool, then: str) -> None:
    marker = f"test-{os.getpid()}-{time.monotonic_ns()}"
    process = start(tmp_path, PARENT.format(keeps_marker=keeps_marker, then=then), marker)
    child = pid_in_log(process)
    if not then:
        process.wait_success(20)
    assert is_alive(child)
    stop([process.id], marker=marker, grace_seconds=5)
    assert not is_alive(child)
    assert running(marker) == []


def test_a_process_with_a_reused_number_is_left_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], start_new_session=True) as other:
        try:
            created = psutil.Process(other.pid).create_time()
            stranger = ProcessId("part", other.pid, created - 100)
            assert stranger.find() is None
            # Its session number is the noted one, but it began later than what was noted: only age tells them apart.
            later = ProcessId("part", other.pid, created + 100)
            assert later.find() is None
            assert stop([later], grace_seconds=0.1) == []
            assert other.poll() is None
        finally:
            other.kill()


def test_free_ports_are_different() -> None:
    assert len(set(free_ports(20))) == 20
