"""The demo's parts: warehouse, MLflow, gateway and Airflow, on free ports of 127.0.0.1; all state in one folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.child_process import MARKER, ProcessId, free_ports, stop
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.mlflow_server import MLflowServer
from airflow_ml.testing.warehouse import LocalWarehouse
from demo.processes import GRACE_SECONDS, DemoState

PROJECT = Path(__file__).resolve().parent.parent


class Stack:
    """Starts and stops the parts, and tells Airflow where they are.

    Args:
        root: Folder of all state; what it holds from an earlier start is used again.
        owner: The process that will stop the parts, for ``state.json``; None where they stay up.
        tell: Receives one line about each part.
    """

    def __init__(self, root: Path, *, owner: ProcessId | None, tell: Callable[[str], None]) -> None:
        self.root = root.resolve()
        self.owner = owner
        self.marker = secrets.token_hex(8)
        self._tell = tell
        warehouse_port, mlflow_port, gateway_port = free_ports(3)
        self.store_uri = (self.root / "store").as_uri()
        self.warehouse = LocalWarehouse(self.root / "warehouse", port=warehouse_port)
        self.mlflow = MLflowServer(self.root / "mlflow", port=mlflow_port)
        self.gateway = LocalGateway(
            self.root / "gateway", self.store_uri, port=gateway_port, token=secrets.token_urlsafe(16)
        )
        self.airflow = AirflowInstance(
            self.root / "airflow",
            PROJECT / "dags_examples",
            connections=self._connections(),
            env={
                **self.warehouse.environment(),
                "AIRFLOW__ML__ARTIFACT_STORE": self.store_uri,
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
            dag_files=("flight_delays*.py",),
            marker=self.marker,
            log_directory=self.logs,
        )

    @property
    def state_path(self) -> Path:
        """Where ``python -m demo down`` finds what to stop."""
        return self.root / "state.json"

    @property
    def logs(self) -> Path:
        """The folder with the log of each part."""
        return self.root / "logs"

    @property
    def state(self) -> DemoState:
        """What runs now."""
        addresses = {
            "airflow": self.airflow.base_url,
            "mlflow": self.mlflow.uri,
            "gateway": self.gateway.url,
            "warehouse": f"https://localhost:{self.warehouse.port}",
        }
        return DemoState(self.marker, self.owner, tuple(self._processes()), addresses)

    def start(self) -> None:
        """Start all parts and return when each is ready.

        Raises:
            RuntimeError, ValueError, TimeoutError: a part did not come up; the message holds the end of its log.
                Nothing is left running.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        (self.root / "store").mkdir(exist_ok=True)
        os.environ[MARKER] = self.marker
        # Noted before anything runs: by the marker, even what a killed demo left behind is found.
        self.state.save(self.state_path)
        try:
            began = time.monotonic()
            self.warehouse.start()
            self.mlflow.start()
            self.gateway.start()
            self._link_logs()
            self.state.save(self.state_path)
            self.airflow.start()
            self.state.save(self.state_path)
            self._tell(f"Airflow is up at {self.airflow.base_url} ({time.monotonic() - began:.0f} s)")
            self.warehouse.wait_ready()
            # The demo itself loads data into the warehouse, under the same authority and settings as Airflow's tasks.
            os.environ.update(self.warehouse.environment())
            self._tell(f"Warehouse is up at https://localhost:{self.warehouse.port}")
            self.mlflow.wait_ready()
            self._tell(f"MLflow is up at {self.mlflow.uri}")
            self.gateway.wait_ready()
            self._tell(f"Gateway is up at {self.gateway.url} ({time.monotonic() - began:.0f} s in all)")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> list[str]:
        """End all parts and whatever they started; return what had to be killed. Safe to call twice."""
        killed = self.airflow.stop(grace_seconds=GRACE_SECONDS)
        others = [one for one in self._processes() if one.name in ("gateway", "mlflow", "warehouse")]
        killed += stop(others, marker=self.marker, grace_seconds=GRACE_SECONDS)
        for part in (self.gateway, self.mlflow, self.warehouse):
            part.stop()
        self.state_path.unlink(missing_ok=True)
        return killed

    def _processes(self) -> list[ProcessId]:
        """Airflow first: its tasks use the others."""
        found = list(self.airflow.processes)
        for name, pid in (
            ("gateway", self.gateway.pid),
            ("mlflow", self.mlflow.pid),
            ("warehouse", self.warehouse.pid),
        ):
            if pid is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    found.append(ProcessId(name, pid, psutil.Process(pid).create_time()))
        return found

    def _connections(self) -> Mapping[str, Mapping[str, Any]]:
        return {
            "snowflake_default": {
                "conn_type": "snowflake",
                "login": "demo",
                "password": secrets.token_urlsafe(8),
                "schema": self.warehouse.schema,
                "extra": self.warehouse.connection_extra(),
            },
            "mlflow_default": {"conn_type": "mlflow", "host": "127.0.0.1", "port": self.mlflow.port},
            "gateway_default": {
                "conn_type": "airflow_ml_gateway",
                "host": "127.0.0.1",
                "port": self.gateway.port,
                "password": self.gateway.token,
            },
        }

    def _link_logs(self) -> None:
        for name in ("warehouse", "mlflow", "gateway"):
            link = self.logs / f"{name}.log"
            link.unlink(missing_ok=True)
            link.symlink_to(Path("..") / name / f"{name}.log")
