"""From connection ids to a driver of rollouts, for operators, triggers and the reconciler alike."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_ml.core.registration import CHAMPION
from airflow_ml.hooks.gateway import GatewayHook
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.hooks.store import artifact_store

if TYPE_CHECKING:
    from airflow_ml.runtime.rollout import RolloutDriver


def rollout_driver(
    model: str,
    *,
    router_conn_id: str,
    mlflow_conn_id: str | None,
    lease_seconds: float = 180.0,
    router_seconds: float = 300.0,
) -> RolloutDriver:
    """Return a driver over the deployment's store, a gateway and a registry. Blocking: call it in a thread.

    Args:
        model: The registered model whose alias ``champion`` a promotion is checked against.
        router_conn_id: Airflow connection of the gateway, which is router and metric source.
        mlflow_conn_id: Airflow connection of the registry; None where nothing will be promoted.
        lease_seconds: How long a rollout may go without a look.
        router_seconds: After this time without a write the router serves the champion by itself.

    Raises:
        ConnectionMissing: a connection is not defined.
        ConfigurationError: the store is not configured.
    """
    from airflow_ml.runtime.rollout import RolloutDriver  # not while a DAG file is parsed

    gateway = GatewayHook(router_conn_id)
    champion_of: Callable[[], str | None] | None = None
    if mlflow_conn_id is not None:
        registry = MLflowHook(mlflow_conn_id).registry()

        def champion_of() -> str | None:
            found = registry.by_alias(model, CHAMPION)
            return found.version if found else None

    return RolloutDriver(
        artifact_store(),
        gateway.router(),
        gateway.metrics(),
        clock=lambda: datetime.now(UTC),
        lease_seconds=lease_seconds,
        router_seconds=router_seconds,
        champion_of=champion_of,
        router_name=router_conn_id,
    )
