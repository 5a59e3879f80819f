from __future__ import annotations

import os
import queue
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_ml.testing.processes.launch import Ended, Processes

ENV = {"PATH": os.defpath}


@pytest.fixture
def processes() -> Iterator[Processes]:
    processes = Processes()
    processes.receive_in_thread()
    yield processes
    processes.close()


def run(processes: Processes, *command: str, **settings: object) -> Ended:
    ends: queue.Queue[Ended] = queue.Queue()
    processes.start(command, env=ENV, on_end=ends.put, **settings)  # type: ignore[arg-type]
    return ends.get(timeout=20)


def gone(pid: int, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def written(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not (path.exists() and path.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def test_output_folder_and_exit_code(processes: Processes, tmp_path: Path) -> None:
    ended = run(processes, "sh", "-c", "pwd; echo no >&2; exit 9", cwd=tmp_path, output=tmp_path / "log")
    assert (ended.exit_code, ended.error) == (9, "")
    assert (tmp_path / "log").read_text() == f"{tmp_path}\nno\n"


def test_an_unknown_program_is_an_error_in_words(processes: Processes) -> None:
    ended = run(processes, "no-such-program")
    assert ended.exit_code == 127
    assert "no-such-program" in ended.error


def test_a_signal_counts_as_a_container_runtime_counts(processes: Processes) -> None:
    assert run(processes, "sh", "-c", "kill -TERM $$").exit_code == 143


def test_too_much_memory_together_with_a_child(processes: Processes) -> None:
    script = "import subprocess, sys, time; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    child = "import time; held = b'x' * (150 << 20); time.sleep(30)"
    ended = run(processes, sys.executable, "-c", script, child, memory_bytes=100 << 20)
    assert ended.memory_exceeded
    assert ended.exit_code == 137


def test_what_left_the_session_ends_with_the_first_process(processes: Processes, tmp_path: Path) -> None:
    run(processes, "sh", "-c", f"setsid sleep 300 & echo $! > {tmp_path}/pid; sleep 0.2")
    assert gone(int(written(tmp_path / "pid")))


@pytest.mark.parametrize("death", ["processes.close()", "os.kill(os.getpid(), 9)", "os._exit(0)"])
def test_nothing_outlives_whoever_started_it(tmp_path: Path, death: str) -> None:
    code = f"""
        import os, pathlib, time
        from airflow_ml.testing.processes.launch import Processes
        processes = Processes()
        processes.receive_in_thread()
        script = "setsid sleep 300 & echo $! > other; echo $$ > one; sleep 300"
        processes.start(["sh", "-c", script], env={ENV!r}, on_end=print, cwd=pathlib.Path({str(tmp_path)!r}))
        while not (pathlib.Path({str(tmp_path)!r}) / "one").exists():
            time.sleep(0.02)
        {death}
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], timeout=60, check=False)
    assert gone(int(written(tmp_path / "one")))
    assert gone(int(written(tmp_path / "other")))


def test_nothing_outlives_a_killed_launcher(processes: Processes, tmp_path: Path) -> None:
    ends: queue.Queue[Ended] = queue.Queue()
    processes.start(["sh", "-c", "echo $$ > pid; exec sleep 300"], env=ENV, on_end=ends.put, cwd=tmp_path)
    pid = int(written(tmp_path / "pid"))
    os.kill(processes._launcher.pid, 9)
    assert ends.get(timeout=10).exit_code == 137
    assert gone(pid)
