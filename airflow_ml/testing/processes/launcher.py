"""The launcher: a small process that starts, watches and ends all others. Run as a script; standard library only.

It is small, so that starting a process costs about a millisecond whatever the size of whoever asks. It is the parent of
all, so that a signal never reaches a process with a number used again. When the socket to whoever started it closes, by
whatever death, it kills all it started and ends; and should it be killed itself, the kernel kills what it started.

Requests and answers are JSON datagrams: ``{"start": id, "command", "env", "cwd", "output", "memory_bytes"}`` (with
up to three descriptors for stdin, stdout, stderr), ``{"signal": id, "number", "group"}``; ``{"started": id, "pid"}``,
``{"refused": id, "error"}``, ``{"ended": id, "code", "memory_exceeded", "peak_bytes"}``.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable
from typing import Any

#: From <linux/prctl.h>.
_PDEATHSIG, _SUBREAPER = 1, 36
#: In the environment of each process: the way to find those that left its session.
MARKER = "AIRFLOW_ML_LAUNCHED"
#: Requests are datagrams; a command with its environment is rarely above some KB.
LARGEST_DATAGRAM = 180_000
_LOOK_SECONDS = 0.2
_PAGE = os.sysconf("SC_PAGE_SIZE")
_libc = ctypes.CDLL(None, use_errno=True)


class Launcher:
    """One socket, many processes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._ids: dict[int, str] = {}  # pid -> id
        self._pids: dict[str, int] = {}
        self._limits: dict[int, tuple[int, float]] = {}  # pid -> bytes, looked at from this time on
        self._exceeded: set[int] = set()
        self._ended_markers: set[str] = set()
        self._answers: list[bytes] = []
        self._tag = f"{os.getpid()}-{time.time_ns()}"
        self._null = os.open(os.devnull, os.O_RDONLY)
        self._parent = os.getppid()
        _libc.prctl(_SUBREAPER, 1, 0, 0, 0)

    def run(self) -> None:
        """Serve until the socket closes, then kill everything."""
        woken, wake = os.pipe()
        for end in (woken, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # whoever started us decides: a closed socket is our end
        self._control.setblocking(False)
        look_at = time.monotonic() + _LOOK_SECONDS
        try:
            while True:
                sending = [self._control] if self._answers else []
                wait = max(0.0, look_at - time.monotonic()) if self._limits or self._ended_markers else 1.0
                readable, _, _ = select.select([self._control.fileno(), woken], sending, [], wait)
                if woken in readable:
                    with contextlib.suppress(BlockingIOError):
                        os.read(woken, 4096)
                    self._reap()
                if self._control.fileno() in readable and not self._receive():
                    return
                self._send()
                if os.getppid() != self._parent:
                    return  # killed, while a fork of it still holds the socket
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + _LOOK_SECONDS
                    self._look_at_memory()
                    self._end_strays()
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            self._end_all()

    # ---- requests

    def _receive(self) -> bool:
        for _ in range(64):  # then look after those that ended
            try:
                data, ancillary, _, _ = self._control.recvmsg(
                    LARGEST_DATAGRAM + 4096, socket.CMSG_SPACE(3 * 4), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return True
            if not data:
                return False
            descriptors = array.array("i")
            for level, kind, content in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
            request = json.loads(data)
            try:
                if "start" in request:
                    self._start(request, list(descriptors))
                else:
                    self._signal(request["signal"], request["number"], request["group"])
            finally:
                for descriptor in descriptors:
                    os.close(descriptor)
        return True

    def _start(self, request: dict[str, Any], descriptors: list[int]) -> None:
        name = request["start"]
        env = {**request["env"], MARKER: f"{self._tag}-{name}"}
        failed, report = os.pipe()  # closed by a successful exec
        pid = os.fork()
        if pid == 0:
            self._become(request, descriptors, env, report)
        os.close(report)
        with os.fdopen(failed, "rb") as channel:
            error = channel.read()
        if error:
            os.waitpid(pid, 0)
            self._answer({"refused": name, "error": error.decode(errors="replace")})
            return
        self._ids[pid], self._pids[name] = name, pid
        if request.get("memory_bytes"):
            self._limits[pid] = (int(request["memory_bytes"]), time.monotonic() + _LOOK_SECONDS)
        self._answer({"started": name, "pid": pid})

    def _become(self, request: dict[str, Any], descriptors: list[int], env: dict[str, str], report: int) -> None:
        """In the child: turn into the program, or say why not."""
        try:
            os.setsid()
            _libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == 1:
                os._exit(127)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            if request["cwd"]:
                os.chdir(request["cwd"])
            if descriptors:
                standard = descriptors
            else:
                output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                standard = [self._null, output, output]
            for target, descriptor in enumerate(standard):
                os.dup2(descriptor, target)
            os.execvpe(request["command"][0], request["command"], env)
        except BaseException as error:
            os.write(report, f"{type(error).__name__}: {error}".encode()[:4000])
        os._exit(127)

    def _signal(self, name: str, number: int, group: bool) -> None:
        pid = self._pids.get(name)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            (os.killpg if group else os.kill)(pid, number)

    # ---- what ended

    def _reap(self) -> None:
        while True:
            try:
                state = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if state is None:
                return
            pid = state.si_pid
            name = self._ids.pop(pid, None)
            if name is not None:
                # As in a container, the others end with the first. Its number is not used again before wait4.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            if name is None:
                continue  # an orphan that we adopted
            del self._pids[name]
            self._limits.pop(pid, None)
            self._ended_markers.add(f"{self._tag}-{name}")
            exceeded = pid in self._exceeded
            self._exceeded.discard(pid)
            self._answer(
                {
                    "ended": name,
                    "code": os.waitstatus_to_exitcode(status),
                    "memory_exceeded": exceeded,
                    "peak_bytes": usage.ru_maxrss * 1024,
                }
            )

    def _end_strays(self) -> None:
        """Kill what left the session of a process that ended."""
        markers, self._ended_markers = self._ended_markers, set()
        if markers:
            for pid, marker in _marked(self._tag):
                if marker in markers and pid not in self._ids:
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)

    def _look_at_memory(self) -> None:
        now = time.monotonic()
        # A process that ends at once costs no look.
        limits = {pid: limit for pid, (limit, since) in self._limits.items() if now >= since}
        for pid, held in _memory_bytes(limits).items() if limits else ():
            if held > limits[pid]:
                self._exceeded.add(pid)
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)

    def _end_all(self) -> None:
        for pid in list(self._ids):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
        for _ in range(20):  # again, since one of them may have been starting another
            strays = [pid for pid, _ in _marked(self._tag)]
            for pid in strays:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not strays:
                return
            time.sleep(0.02)

    # ---- answers

    def _answer(self, answer: dict[str, Any]) -> None:
        self._answers.append(json.dumps(answer).encode())

    def _send(self) -> None:
        sent = 0
        try:
            for answer in self._answers:
                self._control.send(answer)
                sent += 1
        except BlockingIOError:
            pass
        del self._answers[:sent]


def _memory_bytes(leaders: Iterable[int]) -> dict[int, int]:
    """Return what each leader holds with all it started; pages that several share count once."""
    parents, sessions = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
                parents[int(entry)], sessions[int(entry)] = int(fields[1]), int(fields[3])
    held = dict.fromkeys(leaders, 0)
    for pid in parents:
        if pid in held:
            held[pid] += _resident_bytes(pid)
            continue
        above = pid
        while above > 1 and above not in held:
            above = sessions[above] if sessions.get(above) in held else parents.get(above, 0)
        if above in held:
            held[above] += _proportional_bytes(pid)
    return held


def _resident_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _proportional_bytes(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(b"Pss:")), 0)
    except OSError:
        return 0


def _marked(tag: str) -> list[tuple[int, str]]:
    """Return the processes that carry one of our markers."""
    wanted, found = f"{MARKER}={tag}-".encode(), []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                for variable in file.read().split(b"\0"):
                    if variable.startswith(wanted):
                        found.append((int(entry), variable.partition(b"=")[2].decode()))
    return found


if __name__ == "__main__":
    Launcher(socket.socket(fileno=int(sys.argv[1]))).run()
