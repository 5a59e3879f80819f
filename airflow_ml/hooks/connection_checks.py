"""Whether the connections that operators use by default are defined and answer; for ``airflow ml doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from airflow_ml.core.finding import Finding, missing, present, unknown
from airflow_ml.errors import AirflowMLError
from airflow_ml.hooks.connection import get_connection
from airflow_ml.hooks.gateway import GatewayHook
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.hooks.warehouse import sql_runner


def examine_connections() -> Iterator[Finding]:
    """Yield what each default connection answers; one that is not defined is no fault: DAGs may name others."""
    yield _connection("snowflake_default", "snowflake", "snapshots, features, scores", _warehouse)
    yield _connection(
        MLflowHook.default_conn_name, MLflowHook.conn_type, "registration and canaries", _tested(MLflowHook)
    )
    yield _connection(GatewayHook.default_conn_name, GatewayHook.conn_type, "canaries", _tested(GatewayHook))


def _connection(conn_id: str, conn_type: str, used_for: str, ask: Callable[[str], tuple[bool, str]]) -> Finding:
    check = f"connection {conn_id}"
    try:
        get_connection(conn_id, conn_type=conn_type)
    except AirflowMLError as error:
        return unknown(check, "not defined", f"For {used_for}: {error.remedy}")
    try:
        answers, words = ask(conn_id)
    except Exception as error:  # whatever a client library raises
        answers, words = False, f"{type(error).__name__}: {error}"
    return present(check, words) if answers else missing(check, words, "Correct the connection.")


def _tested(hook: type[MLflowHook] | type[GatewayHook]) -> Callable[[str], tuple[bool, str]]:
    return lambda conn_id: hook(conn_id).test_connection()


def _warehouse(conn_id: str) -> tuple[bool, str]:
    sql_runner(conn_id).run("SELECT 1", {}, tag={"task": "doctor"})
    return True, "The warehouse answers"
