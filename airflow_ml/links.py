"""Operator links. A link is computed in the worker and stored as text; the UI reads nothing but that text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from airflow.sdk import BaseOperatorLink

from airflow_ml.errors import ConnectionMissing

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


def safe_url(url: str) -> str:
    """Return an absolute http or https URL, or a path on Airflow's own host, as it is; "" for everything else.

    Schemes such as ``javascript:``, addresses with user and password, control characters and look-alike letters (an
    address is ASCII, international names in their ``xn--`` form) never reach a page.
    """
    if not url.isascii() or any(ord(character) < 33 or character in "\\\x7f" for character in url):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no IPv6 address
        return ""
    if url.startswith("/") and not url.startswith("//") and not parts.scheme and not parts.netloc:
        return url
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return ""
    return url


#: A Snowflake account's name as its pages have it: the organization's name and the account's own.
_ACCOUNT = re.compile(r"([A-Za-z0-9_]+)-([A-Za-z0-9_]+)(?:\.privatelink)?\Z")
_STATEMENT = re.compile(r"[0-9a-f-]{8,64}\Z")


def query_history_url(extra: Mapping[str, Any], statement_id: str = "") -> str:
    """Return a statement's page in Snowflake, or the list of all statements; "" for an account without such pages.

    Args:
        extra: The connection's extra fields: ``account`` as ``organization-account``. An account locator (``xy12345``)
            has another address in every region, so it has no link.
        statement_id: The statement; default the list.
    """
    account = _ACCOUNT.match(str(extra.get("account") or ""))
    if account is None:
        return ""
    place = f"https://app.snowflake.com/{account[1].lower()}/{account[2].lower()}/#/compute/history/queries"
    return safe_url(f"{place}/{statement_id}/detail" if _STATEMENT.match(statement_id) else place)


def page_url(page: str, query: Mapping[str, Any]) -> str:
    """Return the address of one of the pages: ``<base_url>/plugin/ml/<page>?<query>``.

    Absolute where the worker knows ``[api] base_url``, else a path on the host that shows the link.
    """
    from airflow.sdk import conf

    base = str(conf.get("api", "base_url", fallback="") or "").rstrip("/")
    asked = urlencode({name: value for name, value in query.items() if value not in (None, "")}, quote_via=quote)
    return safe_url(f"{base}/plugin/ml/{page}?{asked}")


def push_links(operator: BaseOperator, ti: Any) -> None:
    """Push all links of a task now, as Airflow does when it ends: so they are there while it runs.

    Raises:
        Exception: whatever the push raises; a link itself never does.
    """
    for link in operator.operator_extra_links:
        ti.xcom_push(key=link.xcom_key, value=link.get_link(operator, ti_key=ti))


class _PageLink(BaseOperatorLink):
    """To one of the pages about the task itself."""

    page: str = "task"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page's address."""
        position = getattr(ti_key, "map_index", -1)
        names = {"dag_id": ti_key.dag_id, "run_id": ti_key.run_id, "task_id": ti_key.task_id}
        mapped = position if position is not None and position >= 0 else None
        return page_url(self.page, {**names, "map_index": mapped})


class TaskPageLink(_PageLink):
    """To what went in and came out of the task, why it was run, and how to reproduce it."""

    name = "ML task"


class SweepPageLink(_PageLink):
    """To the sweep's progress and leaderboard."""

    name = "Sweep"
    page = "sweep"


class SnapshotPageLink(_PageLink):
    """To the data's profile and what its gate found."""

    name = "Data"
    page = "snapshot"


class _ModelPageLink(BaseOperatorLink):
    """To one of the pages about the task's model."""

    page: str = "model"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page's address; "" for a task without a model."""
        model = _model_of(operator)
        return page_url(self.page, {"model": model}) if model else ""


class ModelPageLink(_ModelPageLink):
    """To the model's versions and their history."""

    name = "Model"


class CanaryPageLink(_ModelPageLink):
    """To the canary, live."""

    name = "Canary"
    page = "canary"


class QueryHistoryLink(BaseOperatorLink):
    """To the warehouse's own query history: all statements while the task runs, then the task's own."""

    name = "Query history"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page; "" where there is no such connection, or the account has no such page."""
        from airflow_ml.hooks.connection import get_connection

        conn_id = getattr(operator, "snowflake_conn_id", None)
        if not conn_id:
            return ""
        try:
            extra = get_connection(conn_id, conn_type="snowflake").extra_dejson
        except (ConnectionMissing, ValueError):
            return ""  # the task itself says so; a link adds nothing
        return query_history_url(extra, str(getattr(operator, "statement_id", "") or ""))


def _model_of(operator: BaseOperator) -> str:
    return str(getattr(operator, "model", None) or getattr(operator, "name", "")).partition("@")[0]


class ModelVersionLink(BaseOperatorLink):
    """From a task that made or moved a model version to its page in MLflow."""

    name = "MLflow"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page of the registered model; "" where there is no such connection, or no safe address in it."""
        from airflow_ml.hooks.connection import base_url, get_connection

        conn_id = getattr(operator, "mlflow_conn_id", None)
        model = _model_of(operator)
        if not conn_id or not model:
            return ""
        try:
            connection = get_connection(conn_id, conn_type="mlflow")
        except ConnectionMissing:
            return ""  # the task itself says so; a link adds nothing
        return safe_url(f"{base_url(connection, default_port=5000)}/#/models/{quote(model, safe='')}")
