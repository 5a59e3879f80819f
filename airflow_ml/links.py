"""Operator links. A link is computed in the worker and stored as text; the UI reads nothing but that text."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from airflow.sdk import BaseOperatorLink

from airflow_ml.errors import ConnectionMissing

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


def safe_url(url: str) -> str:
    """Return an absolute http or https URL as it is, and "" for everything else.

    Schemes such as ``javascript:``, addresses with user and password, control characters and look-alike letters (an
    address is ASCII, international names in their ``xn--`` form) never reach a page.
    """
    if not url.isascii() or any(ord(character) < 33 or character in "\\\x7f" for character in url):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that hold no IPv6 address
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        return ""
    return url


class ModelVersionLink(BaseOperatorLink):
    """From a task that made or moved a model version to its page in MLflow."""

    name = "MLflow"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the page of the registered model; "" where there is no such connection, or no safe address in it."""
        from airflow_ml.hooks.connection import base_url, get_connection

        conn_id = getattr(operator, "mlflow_conn_id", None)
        model = str(getattr(operator, "model", None) or getattr(operator, "name", "")).partition("@")[0]
        if not conn_id or not model:
            return ""
        try:
            connection = get_connection(conn_id, conn_type="mlflow")
        except ConnectionMissing:
            return ""  # the task itself says so; a link adds nothing
        return safe_url(f"{base_url(connection, default_port=5000)}/#/models/{quote(model, safe='')}")
