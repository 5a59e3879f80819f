"""Addresses out of connections."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import snowflake.connector
from airflow.sdk import Connection

from airflow_ml.errors import ConfigurationError, ConnectionMissing, SourceError
from airflow_ml.hooks.connection import base_url, get_connection
from airflow_ml.hooks.warehouse import snapshot_source


@pytest.mark.parametrize(
    ("host", "port", "schema", "expected"),
    [
        pytest.param("https://ml.example.com", None, None, "https://ml.example.com", id="url"),
        pytest.param("https://ml.example.com/", 8443, None, "https://ml.example.com:8443", id="url and port"),
        pytest.param(
            "https://ml.example.com/mlflow", 8443, None, "https://ml.example.com:8443/mlflow", id="with a path"
        ),
        pytest.param("http://ml/mlflow", None, None, "http://ml:5000/mlflow", id="a path and the default port"),
        pytest.param("https://ann:pw@ml/x", 8443, None, "https://ann:pw@ml:8443/x", id="a colon in the password"),
        pytest.param("http://[::1]", 5001, None, "http://[::1]:5001", id="IPv6"),
        pytest.param("http://[::1]:7", 5001, None, "http://[::1]:7", id="IPv6 with its port"),
        pytest.param("http://ml:5001", 7, None, "http://ml:5001", id="a port in the url wins"),
        pytest.param("ml", 5001, None, "http://ml:5001", id="host and port"),
        pytest.param("ml", None, None, "http://ml:5000", id="host"),
        pytest.param("ml", None, "https", "https://ml", id="scheme in the schema field"),
        pytest.param(None, None, None, "http://127.0.0.1:5000", id="nothing"),
    ],
)
def test_base_url(host: str | None, port: int | None, schema: str | None, expected: str) -> None:
    connection = Connection(conn_id="c", conn_type="mlflow", host=host, port=port, schema=schema)
    assert base_url(connection, default_port=5000) == expected


def test_missing_connection_says_what_to_do() -> None:
    with pytest.raises(ConnectionMissing, match=r"'no_such'.*AIRFLOW_CONN_NO_SUCH"):
        get_connection("no_such", conn_type="mlflow")


def test_a_connection_of_another_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", '{"conn_type": "postgres", "host": "h"}')
    with pytest.raises(ConfigurationError, match="'postgres'"):
        snapshot_source("warehouse")


def test_a_session_of_snowflake_is_in_utc_whatever_account_and_connection_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else times without a zone, which are read as UTC, would be compared in another one."""
    asked: dict[str, Any] = {}

    def connect(**params: Any) -> Any:
        asked.update(params)
        raise snowflake.connector.errors.OperationalError("nobody there")

    own = {"TIMEZONE": "America/Los_Angeles", "STATEMENT_TIMEOUT_IN_SECONDS": 60}
    extra = {"account": "a", "session_parameters": own}
    connection = {"conn_type": "snowflake", "login": "u", "password": "p", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_ZONED", json.dumps(connection))
    monkeypatch.setattr(snowflake.connector, "connect", connect)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(SourceError, match="nobody there"):
        snapshot_source("zoned").read("SELECT 1", {}, as_of=now, into=tmp_path / "x", tag={})
    assert asked["session_parameters"] == {**own, "TIMEZONE": "UTC"}
