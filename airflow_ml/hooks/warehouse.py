"""Opens a snapshot source from a warehouse connection."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, cast

from airflow_ml.errors import ConfigurationError, MissingDependency
from airflow_ml.hooks.connection import get_connection

if TYPE_CHECKING:
    from airflow_ml.adapters.sql_metrics import SqlMetrics
    from airflow_ml.adapters.warehouse_router import SqlRunner, WarehouseRouter
    from airflow_ml.core.metric_query import SqlOutcomes
    from airflow_ml.core.ports import ArtifactStore, SnapshotSource

#: Of logging in; a warehouse that resumes answers within this.
LOGIN_TIMEOUT_SECONDS = 60
#: Of one request with all its retries. A statement may run longer: the connector polls for its result.
NETWORK_TIMEOUT_SECONDS = 300


def snapshot_source(conn_id: str) -> SnapshotSource:
    """Return the warehouse behind an Airflow connection.

    Raises:
        ConnectionMissing: the connection is not defined.
        ConfigurationError: it is of a type without an adapter.
        MissingDependency: the Snowflake provider is not installed.
    """
    connection = get_connection(conn_id, conn_type="snowflake")
    if connection.conn_type != "snowflake":
        raise ConfigurationError(
            f"The connection {conn_id!r} has a type that snapshots cannot read from",
            repr(connection.conn_type),
            "Use a connection of the type snowflake.",
        )
    return _snowflake(conn_id)


def warehouse_router(conn_id: str, store: ArtifactStore) -> WarehouseRouter:
    """Return the warehouse behind an Airflow connection as a router.

    Args:
        conn_id: Of the type snowflake.
        store: Holds the models.

    Raises:
        ConnectionMissing, ConfigurationError, MissingDependency: as `snapshot_source`.
    """
    from airflow_ml.adapters.warehouse_router import WarehouseRouter

    return WarehouseRouter(sql_runner(conn_id), store)


def sql_metrics(conn_id: str, query: SqlOutcomes) -> SqlMetrics:
    """Return the warehouse behind an Airflow connection as a metric source; raises as `warehouse_router`."""
    from airflow_ml.adapters.sql_metrics import SqlMetrics

    return SqlMetrics(sql_runner(conn_id), query)


def sql_runner(conn_id: str) -> SqlRunner:
    """Return what runs statements in the warehouse behind an Airflow connection; raises as `warehouse_router`."""
    return cast("SqlRunner", snapshot_source(conn_id))


def _snowflake(conn_id: str) -> SnapshotSource:
    # The connector otherwise asks cloud metadata addresses where it runs: slow, and traffic nobody asked for.
    os.environ.setdefault("SNOWFLAKE_DISABLE_PLATFORM_DETECTION", "true")
    try:
        from airflow.providers.snowflake.hooks.snowflake import SnowflakeHook
    except ImportError as error:
        raise MissingDependency(
            "Snowflake connections need a package that is not installed",
            "apache-airflow-providers-snowflake",
            "Install airflow-ml[snowflake].",
        ) from error
    from airflow_ml.adapters.snowflake import SnowflakeSource

    hook = SnowflakeHook(snowflake_conn_id=conn_id)

    def connect() -> Any:
        from snowflake import connector

        log = logging.getLogger("snowflake.connector.connection")
        if log.level == logging.NOTSET:
            log.setLevel(logging.WARNING)  # else each connection writes two lines about itself into the task's log
        # The hook's own get_conn sets no time limits, and the connector's defaults wait for a dead server for ever.
        limits = {"login_timeout": LOGIN_TIMEOUT_SECONDS, "network_timeout": NETWORK_TIMEOUT_SECONDS}
        params = hook._get_conn_params()
        # A time without a zone means UTC wherever it is read; an account's own default is Los Angeles.
        session = {**(params.get("session_parameters") or {}), "TIMEZONE": "UTC"}
        return connector.connect(**{**params, **limits, "session_parameters": session})

    return SnowflakeSource(connect, source_name=f"snowflake:{conn_id}")
