"""Pages of other systems, by their Airflow connection: an address and nothing else of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from airflow_ml.errors import AirflowMLError
from airflow_ml.hooks.connection import base_url, get_connection
from airflow_ml.links import query_history_url, safe_url
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.plugin.views.summary import RunSummary

#: A registry is asked for a model's aliases at most so often, and waited for so long.
_ALIASES_SECONDS, _TIMEOUT_SECONDS = 30.0, 2.0
_aliases: Lru[Mapping[str, str]] = Lru(200)


def registered_aliases(model: str, conn_id: str | None) -> Mapping[str, str]:
    """Return the versions of a model by alias as MLflow has them; none where it does not answer."""
    if not conn_id:
        return {}

    def ask() -> Mapping[str, str]:
        from airflow_ml.hooks.mlflow import MLflowHook

        try:
            return MLflowHook(conn_id).aliases(model, timeout_seconds=_TIMEOUT_SECONDS)
        except (AirflowMLError, ValueError, KeyError, TypeError, AttributeError, OSError):
            return {}

    return _aliases.get((conn_id, model), ask, seconds=lambda _: _ALIASES_SECONDS)


def mlflow_page(model: str, summaries: Sequence[RunSummary]) -> str | None:
    """Return a model's page in the MLflow where it was registered last; None where that is unknown."""
    rows = (row for summary in summaries for row in summary.versions if row["model"] == model)
    conn_id = next((str(row["mlflow_conn_id"]) for row in rows if row["mlflow_conn_id"]), None)
    if conn_id is None:
        return None
    try:
        address = base_url(get_connection(conn_id, conn_type="mlflow"), default_port=5000)
    except (AirflowMLError, ValueError, OSError):
        return None
    return safe_url(f"{address}/#/models/{quote(model, safe='')}") or None


def query_history_of(source: str, statement_id: str) -> str | None:
    """Return a statement's page in the warehouse; None where there is no such connection, or it has no such page.

    Args:
        source: Kind and connection: ``snowflake:<conn_id>``.
        statement_id: The warehouse's own identifier.
    """
    kind, _, conn_id = source.partition(":")
    if kind != "snowflake" or not conn_id or not statement_id:
        return None
    try:
        connection = get_connection(conn_id, conn_type="snowflake")
        return query_history_url(connection.extra_dejson, statement_id) or None
    except (AirflowMLError, ValueError, OSError):
        return None
