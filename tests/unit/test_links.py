"""Links carry nothing but http and https."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_ml.links import (
    CanaryPageLink,
    ModelPageLink,
    ModelVersionLink,
    QueryHistoryLink,
    SweepPageLink,
    TaskPageLink,
    push_links,
    query_history_url,
    safe_url,
)


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


@pytest.mark.parametrize("url", ["/plugin/ml/task?dag_id=a", "/"])
def test_a_path_on_the_same_host_is_kept(url: str) -> None:
    assert safe_url(url) == url


@pytest.mark.parametrize("url", ["//evil.example/x", "/\\evil.example", "/a b", "\t/x", "/x\n", "/ü"])
def test_a_path_that_is_none_is_dropped(url: str) -> None:
    assert safe_url(url) == ""


TASK = SimpleNamespace(
    dag_id="flights & more", run_id="manual__2026-01-01T00:00:00+00:00", task_id="train.shards", map_index=3
)


@pytest.mark.parametrize("base", ["", "https://airflow.example.com/team", "javascript:alert(1)//"])
def test_links_to_the_pages(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base)
    link = SweepPageLink().get_link(SimpleNamespace(), ti_key=TASK)  # type: ignore[arg-type]
    query = (
        "dag_id=flights%20%26%20more&run_id=manual__2026-01-01T00%3A00%3A00%2B00%3A00&task_id=train.shards&map_index=3"
    )
    assert link == ("" if base.startswith("javascript") else f"{base}/plugin/ml/sweep?{query}")


def test_links_to_a_model() -> None:
    operator = SimpleNamespace(model="churn@champion")
    assert CanaryPageLink().get_link(operator, ti_key=TASK) == "/plugin/ml/canary?model=churn"  # type: ignore[arg-type]
    assert ModelPageLink().get_link(SimpleNamespace(), ti_key=TASK) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("account", "statement", "url"),
    [
        ("Acme-Prod_EU", "", "https://app.snowflake.com/acme/prod_eu/#/compute/history/queries"),
        ("acme-prod", "01b2", "https://app.snowflake.com/acme/prod/#/compute/history/queries"),
        ("acme-prod", "01b2c3d4-0000-11", "https://app.snowflake.com/acme/prod/#/compute/history/queries/01b2c3d4-0000-11/detail"),
        ("acme-prod.privatelink", "x/../y", "https://app.snowflake.com/acme/prod/#/compute/history/queries"),
        ("xy12345.eu-west-1", "", ""),
        ("acme-prod/evil", "", ""),
        ("", "", ""),
    ],
)  # fmt: skip
def test_the_warehouses_query_history(account: str, statement: str, url: str) -> None:
    assert query_history_url({"account": account}, statement) == url


def test_links_are_pushed_by_the_keys_that_airflow_reads() -> None:
    pushed: dict[str, str] = {}
    ti = SimpleNamespace(**vars(TASK), xcom_push=lambda key, value: pushed.update({key: value}))
    operator = SimpleNamespace(operator_extra_links=(TaskPageLink(), QueryHistoryLink()))
    push_links(operator, ti)  # type: ignore[arg-type]
    assert list(pushed) == ["_link_TaskPageLink", "_link_QueryHistoryLink"]
    assert pushed["_link_QueryHistoryLink"] == "", "no connection, no link"
