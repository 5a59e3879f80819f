"""The plugin in a process that never asks for it, and in one where it is broken."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from airflow_ml.plugin import AirflowMLPlugin
from airflow_ml.plugin.lazy_app import LazyApp
from airflow_ml.plugin.preload import Preload


def test_loading_the_plugin_imports_no_web_framework() -> None:
    program = (
        "import sys\n"
        "import airflow.sdk.plugins_manager; known = set(sys.modules)\n"
        "from airflow_ml.plugin import AirflowMLPlugin\n"
        "plugin = AirflowMLPlugin(); plugin.fastapi_apps; plugin.fastapi_root_middlewares\n"
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


def test_an_api_server_that_begins_to_serve_has_the_pages_ready() -> None:
    """As Airflow does it with what it takes for a middleware: built once, as the first message to the server comes."""
    from fastapi import FastAPI

    read: list[Any] = []
    done = threading.Event()

    def read_ahead(app: Any) -> None:
        read.append(app)
        done.set()

    pages = LazyApp(lambda: PlainTextResponse("here"), read_ahead)
    server = FastAPI(openapi_url=None)
    server.mount("/airflow-ml", pages)
    server.add_middleware(Preload, pages=pages)
    assert not read, "an application that is only made, as a command does it, costs nothing"
    with TestClient(server) as client:
        assert done.wait(20)
        assert client.get("/airflow-ml/x").text == "here"
    assert len(read) == 1


def test_what_cannot_be_read_ahead_is_no_fault_of_the_server(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(app: Any) -> None:
        raise OSError("the store is away")

    pages = LazyApp(lambda: PlainTextResponse("here"), refuse)
    with caplog.at_level("INFO"):
        pages.prepare().join(20)
    assert TestClient(pages).get("/").text == "here"
    assert "the store is away" in caplog.text
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_airflow_takes_the_plugin_of_an_api_server() -> None:
    """What the pages' list of plugins says of it is checked by Airflow's own model, too."""
    from airflow.api_fastapi.core_api.datamodels.plugins import FastAPIAppResponse, FastAPIRootMiddlewareResponse

    plugin = AirflowMLPlugin()
    (app,), (middleware,) = plugin.fastapi_apps, plugin.fastapi_root_middlewares
    assert middleware["kwargs"]["pages"] is app["app"]
    assert FastAPIAppResponse.model_validate({**app, "app": "LazyApp"})
    assert FastAPIRootMiddlewareResponse.model_validate({**middleware, "middleware": "Preload"})


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
