"""Builds the driver of a rollout from connection ids, for operators, triggers and the reconciler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_ml.core.aliases import CHAMPION, PRODUCTION
from airflow_ml.core.record import parse_as
from airflow_ml.errors import ConfigurationError, MetricUnreadable
from airflow_ml.hooks.connection import base_url, get_connection
from airflow_ml.hooks.gateway import GatewayHook
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.hooks.store import artifact_store
from airflow_ml.hooks.warehouse import sql_metrics, warehouse_router

if TYPE_CHECKING:
    from airflow_ml.core.metric_series import PrometheusQueries
    from airflow_ml.core.ports import ArtifactStore, MetricSource, Reading, Router
    from airflow_ml.runtime.callable_metrics import MetricFunction
    from airflow_ml.runtime.rollout import RolloutDriver


def rollout_driver(
    model: str,
    *,
    namespace: str = PRODUCTION,
    router_conn_id: str,
    mlflow_conn_id: str | None,
    lease_seconds: float = 180.0,
    router_seconds: float = 300.0,
    source: Mapping[str, Any] | None = None,
    function: MetricFunction | None = None,
) -> RolloutDriver:
    """Return a driver over the deployment's store, a router and a registry. Blocking: call it in a thread.

    Args:
        model: The registered model whose alias ``champion`` a promotion is checked against.
        namespace: Whose alias that is.
        router_conn_id: Airflow connection of a gateway, which is router and metric source, or of a warehouse.
        source: Where the metric is read if not from the gateway: a metric source in wire form, see `metric_source`.
        function: Reads the metric instead of all of these.
        mlflow_conn_id: Airflow connection of the registry; None where nothing will be promoted.
        lease_seconds: How long a rollout may go without a look.
        router_seconds: After this time without a write the router serves the champion by itself.

    Raises:
        ConnectionMissing: a connection is not defined.
        ConfigurationError: the store is not configured.
    """
    # Not while a DAG file is parsed:
    from airflow_ml.adapters.namespaced_registry import in_namespace
    from airflow_ml.runtime.callable_metrics import CallableMetrics
    from airflow_ml.runtime.rollout import RolloutDriver

    store = artifact_store()
    router = router_of(router_conn_id, store)
    champion_of: Callable[[], str | None] | None = None
    if mlflow_conn_id is not None:
        registry = in_namespace(MLflowHook(mlflow_conn_id).registry(), namespace)

        def champion_of() -> str | None:
            found = registry.by_alias(model, CHAMPION)
            return found.version if found else None

    return RolloutDriver(
        store,
        router,
        CallableMetrics(function) if function is not None else metric_source(source, router_conn_id),
        clock=lambda: datetime.now(UTC),
        lease_seconds=lease_seconds,
        router_seconds=router_seconds,
        champion_of=champion_of,
        router_name=router_conn_id,
    )


def router_of(conn_id: str, store: ArtifactStore) -> Router:
    """Return the router behind an Airflow connection: a gateway, or the warehouse itself.

    Raises:
        ConnectionMissing: it is not defined.
        ConfigurationError: its type divides no traffic.
    """
    kind = get_connection(conn_id, conn_type=GatewayHook.conn_type).conn_type
    if kind == GatewayHook.conn_type:
        return GatewayHook(conn_id).router()
    if kind == "snowflake":
        return warehouse_router(conn_id, store)
    raise ConfigurationError(
        f"The connection {conn_id!r} has a type that divides no traffic",
        repr(kind),
        f"Use one of the type {GatewayHook.conn_type} or snowflake.",
    )


def metric_source(source: Mapping[str, Any] | None, router_conn_id: str) -> MetricSource:
    """Return where a rollout's metric is read.

    Args:
        source: A `SqlOutcomes` or `PrometheusQueries` in wire form, with ``conn_id`` if it is not the router's own;
        None
            for a gateway's log.
        router_conn_id: The rollout's router.

    Raises:
        ConfigurationError: the router has no metric of its own, or the source is none.
    """
    if not source:
        kind = get_connection(router_conn_id, conn_type=GatewayHook.conn_type).conn_type
        if kind == GatewayHook.conn_type:
            return GatewayHook(router_conn_id).metrics()
        if kind == "snowflake":
            return _NoSource()  # who only ends rollouts, such as the reconciler, reads nothing
    from airflow_ml.core.metric_query import SqlOutcomes
    from airflow_ml.core.metric_series import PrometheusQueries

    conn_id = str((source or {}).get("conn_id") or router_conn_id)
    if (source or {}).get("record") == PrometheusQueries.__name__:
        return _prometheus(conn_id, parse_as(PrometheusQueries, source))
    return sql_metrics(conn_id, parse_as(SqlOutcomes, source))


def _prometheus(conn_id: str, queries: PrometheusQueries) -> MetricSource:
    from airflow_ml.adapters.prometheus import PrometheusMetrics

    connection = get_connection(conn_id, conn_type="http")
    url = base_url(connection, default_port=9090)
    return PrometheusMetrics(url, queries, user=connection.login or "", password=connection.password or "")


class _NoSource:
    """A warehouse without a query has no metric."""

    def read(self, model: str, *, metric: str, epoch: int) -> Reading:
        raise MetricUnreadable(
            f"The warehouse does not know how to read {metric} of {model}",
            "source is empty",
            "Give canary(source=SqlOutcomes(outcomes=..., watermark=...)).",
        )
