"""The plugin in a process that never asks for it, and in one where it is broken."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from airflow_ml.plugin import AirflowMLPlugin
from airflow_ml.plugin.lazy_app import LazyApp


def test_loading_the_plugin_imports_no_web_framework() -> None:
    program = (
        "import sys\n"
        "import airflow.sdk.plugins_manager; known = set(sys.modules)\n"
        "from airflow_ml.plugin import AirflowMLPlugin\n"
        "plugin = AirflowMLPlugin(); plugin.fastapi_apps\n"
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - known}))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for name in ("fastapi", "starlette", "pyarrow", "sqlalchemy", "anyio"):
        assert f"'{name}'" not in found.stdout.splitlines()[-1], name


@pytest.mark.parametrize("base", ["", "/team/airflow"])
def test_addresses_carry_the_base_path(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", f"https://airflow.example.com{base}" if base else "")
    plugin = AirflowMLPlugin()
    apps = plugin.react_apps
    assert apps is plugin.react_apps, "Airflow takes out what it refuses, from the list itself"
    assert {one["destination"]: one["url_route"] for one in apps} == {
        "nav": "ml", "dag_run": "ml-run", "task_instance": "ml-task",
    }  # fmt: skip
    for one in apps:
        assert one["bundle_url"].startswith(f"{base}/airflow-ml/static/airflow_ml.js?v=")
        assert one["icon"].startswith(f"{base}/airflow-ml/static/icon-light.svg?v=")
        assert "absent" not in one["bundle_url"] + one["icon"] + one["icon_dark_mode"]


def test_airflow_takes_every_part_of_the_plugin() -> None:
    """A wrong destination would leave out the whole plugin, with one line in a log."""
    from airflow.api_fastapi.core_api.datamodels.plugins import ReactAppResponse

    for one in AirflowMLPlugin().react_apps:
        assert ReactAppResponse.model_validate(one).bundle_url


def test_the_application_is_made_once(tmp_path: Path) -> None:
    made: list[int] = []

    def build() -> Any:
        made.append(1)
        return PlainTextResponse("here")

    client = TestClient(LazyApp(build))
    assert [client.get("/").text for _ in range(3)] == ["here"] * 3
    assert len(made) == 1


def test_a_broken_import_is_a_page_that_says_so(caplog: pytest.LogCaptureFixture) -> None:
    def build() -> Any:
        raise ImportError("secret-detail: no module named pyarrow")

    client = TestClient(LazyApp(build))
    closed = client.get("/api/overview")
    assert (closed.status_code, "log of the API server" in closed.text) == (503, True)
    script = client.get("/static/airflow_ml.js")
    assert (script.status_code, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
    assert "globalThis.AirflowPlugin" in script.text
    assert client.head("/static/airflow_ml.js").text == ""
    assert "secret-detail" not in closed.text + script.text
    told = [record for record in caplog.records if record.name == "airflow_ml.plugin.lazy_app"]
    assert len(told) == 1, "told once a minute, not at every request"
