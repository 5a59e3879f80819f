"""The parts that DAGs speak to, started once: a warehouse with three weeks of flights, MLflow, a gateway, a store."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.mlflow_server import MLflowServer
from airflow_ml.testing.warehouse import LocalWarehouse
from demo import flights

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
        """Return when MLflow, too, answers."""
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
    with ExitStack() as stack:
        mlflow = MLflowServer(root / "mlflow")
        stack.callback(mlflow.stop)
        mlflow.start()  # takes longest; whoever needs it says wait_ready() when all else is there
        warehouse = stack.enter_context(LocalWarehouse(root / "warehouse"))
        gateway = LocalGateway(root / "gateway", store.as_uri(), token=secrets.token_urlsafe(16))
        stack.enter_context(gateway)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in warehouse.environment().items():
                patch.setitem(os.environ, name, value)
            load(warehouse)
        yield Parts(warehouse, mlflow, gateway, store.as_uri())


def load(warehouse: LocalWarehouse) -> None:
    """Fill the warehouse, and make a spoiled copy of the flights beside them."""
    written = flights.load(warehouse.connect, until=LOADED_UNTIL)
    assert written["flights"] > 15_000
    assert all(flights.poison(warehouse.connect).values())


@pytest.fixture(scope="session")
def dags_examples() -> Path:
    return Path(__file__).parents[2] / "dags_examples"
