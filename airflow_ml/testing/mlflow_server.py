"""A real MLflow server on one machine: SQLite for runs and versions, a folder for files, 127.0.0.1 only."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class MLflowServer:
    """Start, await and stop ``mlflow server``.

    With job execution left on, MLflow 3.17 starts ten processes (2.5 GB); without it, two (0.5 GB). The first start
    takes about 40 s on two cores (imports and the database's migrations), later ones about 20 s.

    Args:
        directory: Holds ``mlflow.db``, ``artifacts/`` and ``mlflow.log``; made if absent, kept by ``stop``.
        port: TCP port on 127.0.0.1; None takes a free one.
    """

    def __init__(self, directory: Path, port: int | None = None) -> None:
        self.directory = directory.resolve()
        self.port = port if port is not None else _free_port()
        self.log_path = self.directory / "mlflow.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def uri(self) -> str:
        """The tracking URI, also the address of MLflow's pages."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The server's process id, which is also its process group; None where it was not started."""
        return self._process.pid if self._process else None

    def start(self) -> Self:
        """Start the server and return at once."""
        if self._process is not None:
            raise RuntimeError(f"This MLflow server was started before: pid {self.pid}. Stop it first.")
        (self.directory / "artifacts").mkdir(parents=True, exist_ok=True)
        self._log = self.log_path.open("ab")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.directory / 'mlflow.db'}"]
        command += ["--artifacts-destination", str(self.directory / "artifacts")]
        # mlflow starts uvicorn by name, so the interpreter's own scripts come first on the path.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        settings = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**inherited, **settings, "PATH": path},
            cwd=self.directory,
            start_new_session=True,
        )
        return self

    def wait_ready(self, timeout_seconds: float = 180.0) -> Self:
        """Return when the server answers ``/health``.

        Raises:
            RuntimeError: it ended, with the last lines of its log.
            TimeoutError: it did not answer in time; it is stopped.
        """
        if self._process is None:
            raise RuntimeError("This MLflow server was not started. Call start() first.")
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                code = self._process.returncode
                self.stop()
                raise RuntimeError(f"The MLflow server ended with code {code}. Its log ends:\n{self._log_tail()}")
            if self._healthy():
                return self
            time.sleep(0.25)
        self.stop()
        raise TimeoutError(f"No answer from MLflow after {timeout_seconds:g} s. Its log ends:\n{self._log_tail()}")

    def stop(self, grace_seconds: float = 30.0) -> None:
        """End the server: TERM to its own process group, then KILL after the grace. Safe to call twice."""
        process, self._process = self._process, None
        if process is not None:
            _signal_group(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=grace_seconds)
            except subprocess.TimeoutExpired:
                _signal_group(process.pid, signal.SIGKILL)
                process.wait()
            # The server's child may outlive it; the group is ours alone.
            _signal_group(process.pid, signal.SIGKILL)
        if self._log is not None:
            self._log.close()
            self._log = None

    def __enter__(self) -> Self:
        return self.start().wait_ready()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _log_tail(self) -> str:
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-20:])


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
