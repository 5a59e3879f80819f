"""Start and stop a local gateway: for tests and the demo."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from airflow_ml.errors import RouterFailed

_READY_SECONDS = 90.0


class LocalGateway:
    """A gateway process on 127.0.0.1.

    Args:
        directory: Its state; a new start in the same directory takes up the old traffic.
        store_uri: The artifact store with the models.
        port: None takes a free one at the first start and keeps it.
        token: Control token, asked for where traffic is written.
    """

    def __init__(self, directory: Path, store_uri: str, port: int | None = None, token: str | None = None) -> None:
        self.directory = directory
        self.store_uri = store_uri
        self.port = port
        self.token = token
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LocalGateway:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Base address, once it was started."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    @property
    def log_path(self) -> Path:
        """What it writes to stderr."""
        return self.directory / "gateway.log"

    def start(self) -> None:
        """Start the process; ``wait_ready`` returns when it serves."""
        self.directory.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        if self.token:
            environment["AIRFLOW_ML_GATEWAY_TOKEN"] = self.token
        (self.directory / "address").unlink(missing_ok=True)
        command = [sys.executable, "-m", "airflow_ml.gateway", "--directory", str(self.directory)]
        command += ["--store", self.store_uri, "--port", str(self.port or 0)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def wait_ready(self, timeout_seconds: float = _READY_SECONDS) -> None:
        """Return when every champion that it knows is up.

        Raises:
            RouterFailed: it ended, or was not ready in time.
        """
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self.pid is None:
                raise RouterFailed("The gateway ended", self._last_words(), "See its log.")
            if self._healthy():
                return
            time.sleep(0.05)
        raise RouterFailed(
            f"The gateway was not ready within {timeout_seconds:g} s", self._last_words(), "See its log."
        )

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Ask it to end, then make it end; it takes its model processes with it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout_seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """End it without a farewell, as a crash would; model processes leave when their socket closes."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _healthy(self) -> bool:
        try:
            address = (self.directory / "address").read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return False
        self.port = urlsplit(address).port
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _last_words(self) -> str:
        text = self.log_path.read_text(encoding="utf-8", errors="replace") if self.log_path.exists() else ""
        return " ".join(text.split())[-400:]
