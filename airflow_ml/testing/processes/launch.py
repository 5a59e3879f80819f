"""The asking side of the launcher: start processes, signal them, learn how they ended."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_ml.testing.processes import launcher


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended."""

    #: Negative: the number of the signal.
    code: int
    #: It was killed because it held more memory than allowed.
    memory_exceeded: bool
    #: Largest resident memory of the process or one of its awaited children.
    peak_bytes: int
    #: Why it could not be started; empty where it was.
    error: str = ""

    @property
    def exit_code(self) -> int:
        """As a shell and a container runtime count: 128 + the signal's number."""
        return 128 - self.code if self.code < 0 else self.code


class Processes:
    """Processes by the thousand, each in a session of its own, all of them ended with this object or this process.

    Callbacks run in the thread that calls ``receive``: give the socket to an event loop (``fileno``), or let
    ``receive_in_thread`` make a thread.

    Raises:
        OSError: the launcher cannot be started.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, theirs):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with theirs:
            self._launcher = subprocess.Popen(
                [sys.executable, "-I", "-S", launcher.__file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={"PATH": os.defpath},
                start_new_session=True,
            )
        self._socket = ours
        self._numbers = itertools.count(1)
        self._waiting: dict[str, Callable[[Ended], None]] = {}
        self._pids: dict[str, int] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def fileno(self) -> int:
        """Return the socket to await before ``receive``."""
        return self._socket.fileno()

    @property
    def running(self) -> int:
        """Number of processes that have not ended."""
        return len(self._waiting)

    def pid(self, name: str) -> int | None:
        """Return a running process' number; None before the launcher told it, and afterwards."""
        return self._pids.get(name)

    def start(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        on_end: Callable[[Ended], None],
        cwd: Path | None = None,
        output: Path | None = None,
        streams: Sequence[int] = (),
        memory_bytes: int | None = None,
    ) -> str:
        """Start a process and return the name by which it is signalled.

        Args:
            command: Program and arguments; the program is looked for on the PATH of ``env``.
            env: The whole environment.
            on_end: Called once; with ``error`` where the program could not be started.
            cwd: Its folder.
            output: File to which stdout and stderr are appended; stdin is empty.
            streams: Instead of ``output``: descriptors for stdin, stdout and stderr, which the caller then closes.
            memory_bytes: Killed when it and its children hold more; looked at five times a second.
        """
        name = str(next(self._numbers))
        request = {
            "start": name,
            "command": list(command),
            "env": dict(env),
            "cwd": str(cwd) if cwd else None,
            "output": str(output) if output else os.devnull,
            "memory_bytes": memory_bytes,
        }
        data = json.dumps(request).encode()
        self._waiting[name] = on_end
        if len(data) > launcher.LARGEST_DATAGRAM:
            self._end(name, Ended(127, False, 0, f"Argument list too long: {len(data):,} bytes"))
            return name
        try:
            with self._lock:
                socket.send_fds(self._socket, [data], list(streams))
        except OSError as error:
            self._end(name, Ended(127, False, 0, f"The launcher is gone: {error}"))
        return name

    def signal(self, name: str, number: int, *, group: bool = True) -> None:
        """Send a signal to a process, and by default to all of its process group; nothing where it has ended."""
        request = json.dumps({"signal": name, "number": int(number), "group": group}).encode()
        with contextlib.suppress(OSError), self._lock:
            self._socket.send(request)

    def kill(self, name: str) -> None:
        """End a process and its group at once."""
        self.signal(name, signal.SIGKILL)

    def receive(self) -> bool:
        """Take one answer and call back; False when the launcher is gone."""
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            for name in list(self._waiting):
                self._end(name, Ended(-signal.SIGKILL, False, 0))
            return False
        answer = json.loads(data)
        if "started" in answer:
            self._pids[answer["started"]] = answer["pid"]
        elif "refused" in answer:
            self._end(answer["refused"], Ended(127, False, 0, answer["error"]))
        else:
            ended = Ended(answer["code"], answer["memory_exceeded"], answer["peak_bytes"])
            self._end(answer["ended"], ended)
        return True

    def receive_in_thread(self) -> None:
        """Receive from now on in a thread of its own; callbacks run there."""

        def loop() -> None:
            while self.receive():
                pass

        self._thread = threading.Thread(target=loop, name="processes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all processes and wait until they are gone; safe to call twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        try:
            self._launcher.wait(10)
        except subprocess.TimeoutExpired:  # the kernel then kills what it started
            self._launcher.kill()
            self._launcher.wait()
        if self._thread is not None:
            self._thread.join(5)
        self._socket.close()

    def _end(self, name: str, ended: Ended) -> None:
        self._pids.pop(name, None)
        on_end = self._waiting.pop(name, None)
        if on_end is not None:
            on_end(ended)
