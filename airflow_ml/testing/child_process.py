"""Processes that a test or demo starts: each in its own session, awaited with a deadline, ended without leftovers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Environment variable that every process of one instance inherits: the way to find what broke away from its parents.
#: It does not begin with AIRFLOW, so that it survives where a process is started without Airflow's settings.
MARKER = "ML_INSTANCE"


class ChildFailed(RuntimeError):
    """A process ended, or was not ready in time; the message ends with the last lines of its log."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process, told apart from a later one with the same number by its time of start."""

    name: str
    pid: int
    #: Seconds since the epoch, as psutil reports it.
    created_seconds: float

    def find(self) -> psutil.Process | None:
        """Return the running process; None where it ended (a zombie has ended)."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.created_seconds) > 1 or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return process


class ChildProcess:
    """A process of ours that leads its own session, with stdin closed and its output in a file.

    Args:
        name: What messages and log files call it.
        command: Program and arguments; no shell.
        log_path: Receives stdout and stderr, appended.
        env: The whole environment.
        cwd: Working directory.

    Raises:
        OSError: the program cannot be started.
    """

    def __init__(self, name: str, command: Sequence[str], *, log_path: Path, env: Mapping[str, str], cwd: Path) -> None:
        self.name = name
        self.log_path = log_path
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        self.id = ProcessId(name, self._process.pid, psutil.Process(self._process.pid).create_time())

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    def wait_success(self, timeout_seconds: float) -> None:
        """Return when the process has ended well.

        Raises:
            ChildFailed: it ended with another code than 0, or was still running at the deadline (and is killed).
        """
        try:
            code = self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as error:
            stop([self.id], grace_seconds=5)
            raise ChildFailed(self._message(f"did not end within {timeout_seconds:g} s")) from error
        if code != 0:
            raise ChildFailed(self._message(f"ended with code {code}"))

    def wait_until(self, ready: Callable[[], bool], *, timeout_seconds: float, poll_seconds: float = 0.25) -> None:
        """Return when ``ready()`` says so.

        Raises:
            ChildFailed: the process ended before, or the deadline passed.
        """
        deadline = time.monotonic() + timeout_seconds
        while not ready():
            if self.exit_code is not None:
                raise ChildFailed(self._message(f"ended with code {self.exit_code} before it was ready"))
            if time.monotonic() > deadline:
                raise ChildFailed(self._message(f"was not ready within {timeout_seconds:g} s"))
            time.sleep(poll_seconds)

    def _message(self, what: str) -> str:
        return f"{self.name} {what}. The log {self.log_path} ends:\n{last_lines(self.log_path)}"


def last_lines(path: Path, count: int = 25) -> str:
    """Return the end of a log, for a message."""
    if not path.exists():
        return "(no log)"
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 65536))
        return "\n".join(log.read().decode(errors="replace").splitlines()[-count:]) or "(an empty log)"


def free_ports(count: int) -> list[int]:
    """Return different TCP ports of 127.0.0.1 that were free a moment ago."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def stop(leaders: Iterable[ProcessId], *, marker: str | None = None, grace_seconds: float = 30.0) -> list[str]:
    """End processes and all that came of them: TERM to the leaders, then KILL to whatever is left after the grace.

    Descendants are found three ways, since each alone misses some: by parent (lost when a parent dies), by session
    (left by whoever starts an own one) and by the marker in the environment (dropped where it is cleaned).
    A process is only signalled if its time of start is the one noted, so a reused number is never hit.

    Args:
        leaders: In the order in which they get TERM.
        marker: The value of ``ML_INSTANCE`` in the instance's processes.
        grace_seconds: How long the leaders may take to end by themselves.

    Returns:
        The command lines of the processes that had to be killed.
    """
    leaders = list(leaders)
    family = {process.pid: process for process in _family(leaders, marker)}
    roots = [process for process in (leader.find() for leader in leaders) if process is not None]
    for process in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
    _wait_gone(roots, grace_seconds)
    # Children that a leader started while it was ending, and those it leaves behind; most of them are on their way out.
    family |= {process.pid: process for process in _family(leaders, marker)}
    left = _wait_gone(family.values(), 2.0)
    killed = []
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            killed.append(" ".join(process.cmdline())[:160] or process.name())
            process.kill()
    _wait_gone(left, 5.0)
    return killed


def running(marker: str) -> list[psutil.Process]:
    """Return the processes, other than this one, whose environment carries a marker."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARKER) == marker and not _ended(process):
                found.append(process)
    return found


def _family(leaders: Sequence[ProcessId], marker: str | None) -> list[psutil.Process]:
    roots = [process for process in (leader.find() for leader in leaders) if process is not None]
    family = {process.pid: process for process in roots}
    for process in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            family.update({child.pid: child for child in process.children(recursive=True)})
    oldest = {leader.pid: leader.created_seconds for leader in leaders}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            session = os.getsid(process.pid)
            # As long as a session has members, no new process gets its leader's number.
            if session in oldest and process.create_time() >= oldest[session] - 1:
                family[process.pid] = process
    if marker is not None:
        family.update({process.pid: process for process in running(marker)})
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [process for pid, process in family.items() if pid not in own]


def _ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait_gone(processes: Iterable[psutil.Process], timeout_seconds: float) -> list[psutil.Process]:
    """Wait for processes, ours or not, to end; return those that did not. A zombie has ended."""
    deadline = time.monotonic() + timeout_seconds
    left = [process for process in processes if not _ended(process)]
    while left and time.monotonic() < deadline:
        time.sleep(0.1)
        left = [process for process in left if not _ended(process)]
    return left
