"""A real Airflow on one machine: four processes, SQLite, 127.0.0.1 only."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sys
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from airflow_ml.testing.airflow_api import AirflowAPI, ApiError
from airflow_ml.testing.child_process import MARKER, ChildProcess, ProcessId, free_ports, running, stop
from airflow_ml.testing.chosen_dags import CHOSEN

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


class AirflowInstance:
    """Starts and stops an Airflow in a directory of its own. Also a context manager.

    Tasks run by LocalExecutor, in processes forked from the scheduler. No log server is started: it would listen on
    all addresses, and the API server reads the log files itself.

    Args:
        directory: Becomes AIRFLOW_HOME; made if absent, kept by ``stop``. A database in it is used again.
        dags_folder: The one folder DAGs are loaded from, as it is, every second.
        connections: Airflow connections by id, as the JSON Airflow reads (``{"conn_type": ..., "extra": {...}}``). They
            reach the processes through their environment.
        env: Further environment variables, such as ``AIRFLOW__ML__ARTIFACT_STORE``; they win over everything here.
        dag_files: Glob patterns of the names of the files that are loaded, such as ``flight_*.py``; empty for all.
        parallelism: Task instances at the same time; each costs about 200 MB.
        marker: Value of ``ML_INSTANCE`` in every process; None makes one up. A given one may be shared with other
            parts, so ``stop`` does not go by it; who gave it ends what it finds by it.
        log_directory: Of the four processes' own logs; ``logs/components`` in ``directory`` if None.
    """

    username = "admin"

    def __init__(
        self,
        directory: Path,
        dags_folder: Path,
        *,
        connections: Mapping[str, Mapping[str, Any]] | None = None,
        env: Mapping[str, str] | None = None,
        dag_files: Sequence[str] = (),
        parallelism: int = 4,
        marker: str | None = None,
        log_directory: Path | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.dags_folder = dags_folder.resolve()
        self.log_directory = (log_directory or self.directory / "logs" / "components").resolve()
        self.marker = marker or secrets.token_hex(8)
        self._owns_marker = marker is None
        self.password = secrets.token_urlsafe(12)
        self.port, *self._log_ports = free_ports(3)
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.api = AirflowAPI(self.base_url, self.username, self.password)
        self._connections = dict(connections or {})
        self._env = dict(env or {})
        self._dag_files = tuple(dag_files)
        self._parallelism = parallelism
        self._secrets = {name: secrets.token_urlsafe(32) for name in ("jwt", "api")}
        self._fernet_key = urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self._processes: list[ChildProcess] = []

    @property
    def passwords_path(self) -> Path:
        """Where the simple auth manager reads the password; for the owner's eyes only."""
        return self.directory / "passwords.json"

    @property
    def processes(self) -> list[ProcessId]:
        """The processes started so far, in the order in which they are stopped."""
        # The API server goes last: what ends needs it to say so.
        order = {name: position for position, name in enumerate(reversed(COMPONENTS))}
        return sorted((process.id for process in self._processes), key=lambda one: order[_kind(one.name)])

    def environment(self) -> dict[str, str]:
        """Return the whole environment of Airflow's processes, for running ``airflow`` commands beside them.

        The caller's own is handed on without its Airflow settings, so that a developer's deployment is never touched.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
        # Tasks import this package and its DAGs anew in each process; without byte code every one compiles them again.
        inherited.pop("PYTHONDONTWRITEBYTECODE", None)
        connections = {
            f"AIRFLOW_CONN_{name.upper()}": json.dumps(connection) for name, connection in self._connections.items()
        }
        no_proxy = ",".join(filter(None, ["127.0.0.1,localhost", os.environ.get("NO_PROXY", "")]))
        return {
            **inherited,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "NO_PROXY": no_proxy,
            "no_proxy": no_proxy,
            # Processes that rename themselves would otherwise overwrite their environment, and the marker with it.
            "SPT_NOENV": "1",
            MARKER: self.marker,
            CHOSEN: ":".join(self._dag_files),
            **self._settings(),
            **connections,
            **self._env,
        }

    def start(self, timeout_seconds: float = 180.0, *, components: Sequence[str] = COMPONENTS) -> Self:
        """Make the database and start all processes, or some; return when each has reported itself healthy.

        Raises:
            ChildFailed: one ended or was not ready in time, with the end of its log. Nothing is left running.
        """
        try:
            self.prepare()
            for name in components:
                self._start(name)
            for process in self._processes:
                # Every component in turn, so that the message names the one that failed.
                process.wait_until(partial(self._healthy, process.name), timeout_seconds=timeout_seconds)
        except BaseException:
            self.stop(grace_seconds=5)
            raise
        return self

    def prepare(self, timeout_seconds: float = 180.0) -> None:
        """Make the directory and the database; done by ``start``.

        Raises:
            ChildFailed: ``airflow db migrate`` failed.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self.passwords_path.touch(mode=0o600)
        self.passwords_path.write_text(json.dumps({self.username: self.password}))
        self._run("db-migrate", "db", "migrate", timeout_seconds=timeout_seconds)

    def stop(self, grace_seconds: float = 30.0) -> list[str]:
        """End all processes and whatever they started; return what had to be killed. Safe to call twice."""
        marker = self.marker if self._owns_marker else None
        killed = stop(self.processes, marker=marker, grace_seconds=grace_seconds)
        self._processes.clear()
        return killed

    def start_component(self, name: str, timeout_seconds: float = 120.0) -> ProcessId:
        """Start one process more, such as one that was killed; return when Airflow calls its kind healthy.

        Args:
            name: A component; ``triggerer-2`` and the like start a further one of its kind.
        """
        self._processes = [process for process in self._processes if process.exit_code is None]
        self._start(name)
        process = self._processes[-1]
        process.wait_until(partial(self._healthy, _kind(name)), timeout_seconds=timeout_seconds)
        return process.id

    def component(self, name: str) -> psutil.Process:
        """Return a running process by its name.

        Raises:
            KeyError: there is none.
        """
        for one in self.processes:
            if one.name == name and (process := one.find()) is not None:
                return process
        raise KeyError(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a component and all processes below it, as a machine that stops or freezes does."""
        process = self.component(name)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def running(self) -> list[int]:
        """Return the ids of this instance's processes that still run."""
        return [process.pid for process in running(self.marker)]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _start(self, name: str) -> None:
        # The scheduler and the triggerer would serve log files on all addresses.
        kind = _kind(name)
        arguments = [kind, "--skip-serve-logs"] if kind in ("scheduler", "triggerer") else [kind]
        self._processes.append(self._child(name, arguments))

    def _run(self, name: str, *arguments: str, timeout_seconds: float) -> None:
        self._child(name, arguments).wait_success(timeout_seconds)

    def _child(self, name: str, arguments: Sequence[str]) -> ChildProcess:
        command = [sys.executable, "-m", "airflow", *arguments]
        log_path = self.log_directory / f"{name}.log"
        return ChildProcess(name, command, log_path=log_path, env=self.environment(), cwd=self.directory)

    def _healthy(self, name: str) -> bool:
        try:
            if name == "api-server":
                # What tasks speak to is built at its first request, which takes 6 s; the first task would wait.
                self.api.execution_health()
            health = self.api.health()
        except ApiError:
            return False
        return name == "api-server" or health.get(name.replace("-", "_")) == "healthy"

    def _settings(self) -> dict[str, str]:
        sections: dict[str, dict[str, object]] = {
            "core": {
                "executor": "LocalExecutor",
                "parallelism": self._parallelism,
                "dags_folder": self.dags_folder,
                "load_examples": False,
                "dags_are_paused_at_creation": True,
                "execution_api_server_url": f"{self.base_url}/execution/",
                "fernet_key": self._fernet_key,
                "simple_auth_manager_users": f"{self.username}:admin",
                "simple_auth_manager_passwords_file": self.passwords_path,
                # The default asks the name server, which a machine without a network does not have.
                "hostname_callable": "socket.gethostname",
                "test_connection": "Enabled",
            },
            "database": {"sql_alchemy_conn": f"sqlite:///{self.directory / 'airflow.db'}"},
            "api": {
                "host": "127.0.0.1",
                "port": self.port,
                "base_url": self.base_url,
                "workers": 1,
                "secret_key": self._secrets["api"],
            },
            # One secret for all: each process would make up its own, and refuse the others' tokens.
            "api_auth": {"jwt_secret": self._secrets["jwt"]},
            "dag_processor": {
                "refresh_interval": 5,
                "bundle_refresh_check_interval": 1,
                "min_file_process_interval": 15,
                "parsing_processes": 1,
            },
            "scheduler": {"scheduler_idle_sleep_time": 0.5, "job_heartbeat_sec": 5},
            "logging": {
                "base_log_folder": self.directory / "logs",
                "colored_console_log": False,
                # Nothing listens there; the default ports may be another Airflow's.
                "worker_log_server_port": self._log_ports[0],
                "trigger_log_server_port": self._log_ports[1],
            },
            "usage_data_collection": {"enabled": False},
        }
        if self._dag_files:
            sections["core"]["might_contain_dag_callable"] = "airflow_ml.testing.chosen_dags.is_chosen"
        settings = {
            f"AIRFLOW__{section.upper()}__{key.upper()}": str(value)
            for section, options in sections.items()
            for key, value in options.items()
        }
        return {"AIRFLOW_HOME": str(self.directory), **settings}


def _kind(name: str) -> str:
    """Return the component that ``triggerer-2`` is one of."""
    return name.rstrip("0123456789").rstrip("-")
