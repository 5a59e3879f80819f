"""Links carry nothing but http and https."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_ml.links import ModelVersionLink, safe_url


@pytest.mark.parametrize("url", ["http://ml:5000/#/models/churn", "https://ml.example.com/a?b=c"])
def test_kept(url: str) -> None:
    assert safe_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "\tjavascript:alert(1)",
        "data:text/html,x",
        "//evil.example.com",
        "\\\\evil",
        "https://ok@evil.example.com",
        "https:///path",
        "http://a b",
        "http://[::1",
        "https://[bad]/x",
        "https://ex\u0430mple.com",
        "https://ok\u2028.example.com",
        "https://ok.example.com\x7f",
        "",
    ],
)
def test_dropped(url: str) -> None:
    assert safe_url(url) == ""


@pytest.mark.parametrize(
    ("operator", "path"),
    [
        pytest.param({"mlflow_conn_id": "ml", "name": "churn"}, "/#/models/churn", id="registered"),
        pytest.param({"mlflow_conn_id": "ml", "model": "churn@champion"}, "/#/models/churn", id="by alias"),
        pytest.param({"mlflow_conn_id": "ml", "name": "a/b c"}, "/#/models/a%2Fb%20c", id="quoted"),
        pytest.param({"mlflow_conn_id": "ml"}, "", id="no model"),
    ],
)
def test_model_version_link(monkeypatch: pytest.MonkeyPatch, operator: dict[str, str], path: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ML", '{"conn_type": "mlflow", "host": "https://ml.example.com"}')
    link = ModelVersionLink().get_link(SimpleNamespace(**operator), ti_key=None)  # type: ignore[arg-type]
    assert link == (f"https://ml.example.com{path}" if path else "")


def test_no_link_without_a_connection() -> None:
    operator = SimpleNamespace(mlflow_conn_id="nowhere", name="churn")
    assert ModelVersionLink().get_link(operator, ti_key=None) == ""  # type: ignore[arg-type]


def test_no_link_with_a_password_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ML", '{"conn_type": "mlflow", "host": "https://ann:hunter22@ml.example.com"}')
    operator = SimpleNamespace(mlflow_conn_id="ml", name="churn")
    assert ModelVersionLink().get_link(operator, ti_key=None) == ""  # type: ignore[arg-type]
