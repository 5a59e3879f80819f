"""The parent's end of a runner: start it, read it, end it with everything that it started."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow_ml.core.record import Record
from airflow_ml.runtime.environment import environment_of_another, runner_environment
from airflow_ml.runtime.output import LineLog
from airflow_ml.runtime.processes import end_marked, send_group

#: Between SIGTERM and SIGKILL: Airflow itself gives a task that is killed five seconds.
STOP_SECONDS = 5.0
#: Output of one runner that reaches the log.
OUTPUT_BYTES = 32 * 1024 * 1024
_TICK_SECONDS = 0.2


class RunnerProcess:
    """One run of ``python -m airflow_ml.runtime``.

    Args:
        job: A `ShardJob` or a `CallJob`.
        store_uri: Address of the store.
        log: Called with each line that the runner writes.
        receive: Called with each message that it sends.
        environment: Further environment variables.
        stop: When set, the runner is ended.
        python: An interpreter of another environment, which is given this package and nothing else of this one; None
            for the one that runs this.
    """

    def __init__(
        self,
        job: Record,
        *,
        store_uri: str,
        log: Callable[[str], None],
        receive: Callable[[Mapping[str, Any]], None] = lambda message: None,
        environment: Mapping[str, str] | None = None,
        stop: threading.Event | None = None,
        python: Path | None = None,
    ) -> None:
        self._job = job
        self._python = python
        self._store_uri = store_uri
        self._lines = LineLog(log, limit_bytes=OUTPUT_BYTES)
        self._receive = receive
        self._environment = environment
        self._stop = stop
        self._received = b""
        self.stopped = False
        self.pid: int | None = None

    def run(self) -> int:
        """Start the runner and return its exit code when it has ended; however this ends, nothing is left behind."""
        marker = uuid.uuid4().hex
        scratch = Path(tempfile.mkdtemp(prefix="airflow-ml-runner-"))
        ours, theirs = socket.socketpair()
        try:
            job = {
                "store": self._store_uri,
                "job": self._job.to_dict(),
                "control": theirs.fileno(),
                "scratch": str(scratch),
            }
            file = scratch / "job.json"
            file.write_text(json.dumps(job), encoding="utf-8")
            environment = runner_environment(
                os.environ, store_uri=self._store_uri, scratch=scratch, marker=marker, extra=self._environment
            )
            if self._python is not None:
                environment = environment_of_another(environment, scratch)
            process = subprocess.Popen(
                [str(self._python or sys.executable), "-P", "-m", "airflow_ml.runtime", str(file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
                env=environment,
                cwd=scratch,
            )
            self.pid = process.pid
            theirs.close()
            try:
                return self._follow(process, ours)
            finally:
                self._end(process, ours, marker)
        finally:
            ours.close()
            theirs.close()
            shutil.rmtree(scratch, ignore_errors=True)

    def _follow(self, process: subprocess.Popen[bytes], control: socket.socket) -> int:
        if process.stdout is None:
            raise RuntimeError("The runner was started without a pipe for its output.")
        os.set_blocking(process.stdout.fileno(), False)
        control.setblocking(False)
        killed_at: float | None = None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ, self._read_output)
            selector.register(control, selectors.EVENT_READ, self._read_messages)
            while process.poll() is None:
                if self._stop is not None and self._stop.is_set() and not self.stopped:
                    self.stopped, killed_at = True, time.monotonic() + STOP_SECONDS
                    send_group(process.pid, signal.SIGTERM)
                if killed_at is not None and time.monotonic() > killed_at:
                    send_group(process.pid, signal.SIGKILL)
                for key, _ in selector.select(_TICK_SECONDS):
                    if not key.data(key.fileobj):
                        selector.unregister(key.fileobj)
                if not selector.get_map():
                    time.sleep(_TICK_SECONDS)
        # It has ended; what it wrote before may still be in the pipes. A daemon may hold them open: no waiting.
        self._read_output(process.stdout)
        self._read_messages(control)
        return process.returncode

    def _read_output(self, stream: Any) -> bool:
        """Pass on what there is; False at the end of the stream."""
        for _ in range(64):  # 4 MiB, then the other channel has its turn
            try:
                chunk = os.read(stream.fileno(), 1 << 16)
            except BlockingIOError:
                return True
            if not chunk:
                return False
            self._lines.feed(chunk)
        return True

    def _read_messages(self, control: socket.socket) -> bool:
        """Receive what there is; False at the end."""
        while True:
            try:
                chunk = control.recv(1 << 16)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not chunk:
                return False
            *lines, self._received = (self._received + chunk).split(b"\n")
            for line in lines:
                self._receive(json.loads(line))

    def _end(self, process: subprocess.Popen[bytes], control: socket.socket, marker: str) -> None:
        """End the runner if it is still there (an exception or a signal came through here), and what it left."""
        try:
            if process.poll() is None:
                send_group(process.pid, signal.SIGTERM)
                control.close()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    send_group(process.pid, signal.SIGKILL)
        finally:
            end_marked(marker)
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            self._lines.end()
