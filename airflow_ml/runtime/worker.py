"""One forked process that executes tasks one after the other, and the runner's end of it."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import mmap
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from airflow_ml.runtime.output import LineLog
from airflow_ml.runtime.processes import descendants, end_with_parent, send, send_group

#: Executes one task in the worker: JSON in, JSON out. What it raises becomes the task's error.
Execute = Callable[[dict[str, Any]], dict[str, Any]]
#: In a worker, its way to the runner.
_CHANNEL: list[socket.socket] = []


@dataclass(slots=True)
class Task:
    """One piece of work for a worker."""

    name: str
    payload: dict[str, Any]
    #: Put before each line of its output.
    prefix: str = ""
    #: Workers that died before they began it.
    returned: int = 0


@dataclass(slots=True)
class Worker:
    """The runner's end of a worker."""

    pid: int
    channel: socket.socket
    output: int
    pidfd: int | None
    #: One byte that the process shares: 1 once it has begun the task. Who died before that has harmed no task.
    begun: mmap.mmap
    task: Task | None = None
    started: float = 0.0
    #: When SIGTERM is due, and after it SIGKILL.
    deadline: float | None = None
    terminated: bool = False
    lines: LineLog | None = None
    received: bytearray = field(default_factory=bytearray)
    #: What the task said of itself while it ran; part of its answer however it ends.
    noted: dict[str, Any] = field(default_factory=dict)

    def give(self, task: Task, *, lines: LineLog, timeout_seconds: float | None) -> None:
        """Send a task; its time runs from now."""
        self.task, self.lines, self.terminated, self.noted = task, lines, False, {}
        self.begun[0] = 0
        self.started = time.monotonic()
        self.deadline = None if timeout_seconds is None else self.started + timeout_seconds
        self.channel.setblocking(True)
        try:
            self.channel.sendall(json.dumps(task.payload).encode() + b"\n")
        except OSError:
            pass  # it died; the pool finds out
        finally:
            self.channel.setblocking(False)

    def read_message(self) -> dict[str, Any] | None:
        """Return the answer if it has arrived, and keep the notes that came before it."""
        while True:
            try:
                chunk = self.channel.recv(1 << 16)
            except (BlockingIOError, ConnectionError):
                break
            if not chunk:
                break
            self.received += chunk
        while (end := self.received.find(b"\n")) >= 0:
            line, self.received = bytes(self.received[:end]), self.received[end + 1 :]
            message: dict[str, Any] = json.loads(line)
            if "status" in message:
                return {**self.noted, **message}
            self.noted |= message
        return None

    def read_output(self, *, limit_bytes: int = 1 << 20) -> bool:
        """Pass on what the worker has written, more than a pipe holds; False once nobody can write any more."""
        taken = 0
        while taken < limit_bytes:
            try:
                chunk = os.read(self.output, 1 << 16)
            except BlockingIOError:
                break
            if not chunk:
                return False
            taken += len(chunk)
            if self.lines is not None:
                self.lines.feed(chunk)
        return True

    def end(self, number: signal.Signals) -> None:
        """Signal the worker, its group, and with SIGKILL also what left the group."""
        below = descendants(self.pid) if number == signal.SIGKILL else []
        send_group(self.pid, number)
        send([self.pid, *below], number)

    def exit_status(self) -> int | None:
        """Return how it ended, as subprocess does; None while it runs. Its pid stays taken until ``close``."""
        found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status

    def close(self) -> None:
        """Let go of an ended worker and of its channels."""
        os.waitpid(self.pid, 0)
        self.channel.close()
        self.begun.close()
        os.close(self.output)
        if self.pidfd is not None:
            os.close(self.pidfd)


def start_worker(execute: Execute, *, close: Iterable[int]) -> Worker:
    """Fork a worker in its own process group.

    Args:
        execute: What it does with each task.
        close: File descriptors of the runner that it must not hold.
    """
    ours, theirs = socket.socketpair()
    read_end, write_end = os.pipe()
    begun = mmap.mmap(-1, 1)
    sys.stdout.flush()
    sys.stderr.flush()
    runner = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become_worker(execute, runner, theirs, write_end, [*close, ours.fileno(), read_end], begun)
    theirs.close()
    os.close(write_end)
    ours.setblocking(False)
    os.set_blocking(read_end, False)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)  # in both processes, so that neither has to wait for the other
    try:
        pidfd: int | None = os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, or too old: the pool asks every tick
        pidfd = None
    return Worker(pid=pid, channel=ours, output=read_end, pidfd=pidfd, begun=begun)


def _become_worker(
    execute: Execute, runner: int, channel: socket.socket, output: int, close: list[int], begun: mmap.mmap
) -> NoReturn:
    status = 1
    try:
        os.setpgid(0, 0)
        end_with_parent()
        if os.getppid() != runner:
            os._exit(1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        for descriptor in close:
            os.close(descriptor)
        # New streams: those of the runner may be files, which a pipe cannot be treated as.
        sys.__stdout__ = open(1, "w", buffering=1, errors="replace", closefd=False)  # type: ignore[misc]  # noqa: SIM115
        sys.__stderr__ = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # type: ignore[misc]  # noqa: SIM115
        _restore(output, os.getcwd())
        faulthandler.enable()
        _serve(execute, channel, output, begun)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # Not sys.exit: what the runner's process registered to run at exit is the runner's business.
        os._exit(status)


def _restore(output: int, folder: str) -> None:
    """Undo what a task may have done to the process: closed or changed its output, left its folder."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    os.chdir(folder)


def note(**facts: Any) -> None:
    """Tell the runner something of the running task, which it then knows even if this process dies."""
    if _CHANNEL:
        _CHANNEL[-1].sendall(json.dumps(facts, allow_nan=False).encode() + b"\n")


def _serve(execute: Execute, channel: socket.socket, output: int, begun: mmap.mmap) -> None:
    _CHANNEL.append(channel)
    me, folder = os.getpid(), os.getcwd()
    with channel.makefile("rb") as tasks:
        for line in tasks:
            begun[0] = 1
            _restore(output, folder)
            answer = _answer(execute, json.loads(line))
            if os.getpid() != me:
                os._exit(0)  # the user's code forked and came back here
            sys.stdout.flush()
            sys.stderr.flush()
            channel.sendall(json.dumps(answer, allow_nan=False).encode() + b"\n")


def _answer(execute: Execute, payload: dict[str, Any]) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        answer = {"status": "succeeded", **execute(payload)}
    except BaseException as error:  # SystemExit and KeyboardInterrupt of user code are its failures, too
        answer = {"status": "failed", "reason": describe(error), "traceback": last_frames(error)}
    return {**answer, "seconds": time.perf_counter() - started}


def describe(error: BaseException) -> str:
    """Return an error in one line of at most 500 characters: its type and message."""
    try:
        text = str(error)
    except Exception:  # the user's own class of error, whose message itself may raise anything
        text = "(its message cannot be shown)"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    line = " ".join(f"{name}: {text}".split()) if text else name
    return line.encode("utf-8", "replace").decode()[:500]


def last_frames(error: BaseException, *, limit_bytes: int = 4096) -> str:
    """Return the traceback from the user's code on, its end if it is long."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    shown = "".join(traceback.format_exception(type(error), error, trace or error.__traceback__))
    return shown.encode("utf-8", "replace").decode()[-limit_bytes:]


def seed_everything(seed: int) -> None:
    """Seed the generators that many libraries share; numpy's only where something has imported it."""
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


def _is_ours(file: str) -> bool:
    return os.path.dirname(os.path.abspath(file)) == os.path.dirname(os.path.abspath(__file__))
