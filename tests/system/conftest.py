"""The parts that DAGs speak to, once: a warehouse with three weeks of flights, a store, and if asked for MLflow and a
gateway.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.testing.child_process import free_ports
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.mlflow_server import MLflowServer
from airflow_ml.testing.warehouse import LocalWarehouse
from demo import flights

from .example_runs import Results, play

LOADED_UNTIL = datetime(2013, 1, 21, tzinfo=UTC)


@dataclass(frozen=True)
class Parts:
    """What an Airflow of this session needs to know."""

    warehouse: LocalWarehouse
    mlflow: MLflowServer
    gateway: LocalGateway
    store_uri: str

    @property
    def connections(self) -> Mapping[str, Mapping[str, Any]]:
        """The Airflow connections that the operators take by default."""
        return {
            "snowflake_default": {
                "conn_type": "snowflake",
                "login": "tests",
                "password": "any",
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

    def wait_ready(self) -> None:
        """Return when MLflow, too, answers, if anybody has asked for it."""
        if self.mlflow.pid is not None:
            self.mlflow.wait_ready()

    @property
    def environment(self) -> Mapping[str, str]:
        """Further variables of Airflow's processes."""
        return {
            **self.warehouse.environment(),
            "AIRFLOW__ML__ARTIFACT_STORE": self.store_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    root = tmp_path_factory.mktemp("parts")
    store = root / "store"
    store.mkdir()
    mlflow = MLflowServer(root / "mlflow")
    gateway = LocalGateway(root / "gateway", store.as_uri(), free_ports(1)[0], token=secrets.token_urlsafe(16))
    with LocalWarehouse(root / "warehouse") as warehouse:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in warehouse.environment().items():
                patch.setitem(os.environ, name, value)
            load(warehouse)
        yield Parts(warehouse, mlflow, gateway, store.as_uri())


@pytest.fixture(scope="session")
def serving(parts: Parts) -> Iterator[Parts]:
    """The same with MLflow, which is still starting (see ``wait_ready``), and the gateway."""
    parts.mlflow.start()
    try:
        with parts.gateway:
            yield parts
    finally:
        parts.mlflow.stop()


@pytest.fixture(scope="module")
def results(
    request: pytest.FixtureRequest, parts: Parts, dags_examples: Path, tmp_path_factory: pytest.TempPathFactory
) -> Results:
    """What became of each run of the module's ``PLAN``."""
    return play(request.module.PLAN, parts, dags_examples, tmp_path_factory.mktemp("examples"))


def load(warehouse: LocalWarehouse) -> None:
    """Fill the warehouse, and make a spoiled copy of the flights beside them."""
    written = flights.load(warehouse.connect, until=LOADED_UNTIL)
    assert written["flights"] > 15_000
    assert all(flights.poison(warehouse.connect).values())


@pytest.fixture(scope="session")
def dags_examples() -> Path:
    return Path(__file__).parents[2] / "dags_examples"
