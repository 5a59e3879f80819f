"""What a browser is told to fetch with the address of a page."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.testclient import TestClient

from airflow_ml.plugin.lazy_app import LazyApp
from airflow_ml.plugin.preload import Preload, wanted

ODD = "scheduled__2013-05-11T00:00:00+00:00"
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@pytest.mark.parametrize(
    ("path", "query", "asked"),
    [
        ("/plugin/ml", "", "overview"),
        ("/plugin/ml/models", "", "models"),
        ("/plugin/ml/data", "", "datasets"),
        ("/plugin/ml/model", "model=a%20b%2Fc", "models/a%20b%2Fc"),
        ("/plugin/ml/canary", "model=m", "rollouts/m"),
        ("/plugin/ml/canary", "model=m&epoch=4", "rollouts/m?epoch=4"),
        ("/plugin/ml/dataset", "name=rows", "datasets/rows?limit=50&offset=0"),
        ("/plugin/ml/run", f"dag_id=d&run_id={quote(ODD)}", "dags/d/run?run_id=" + quote(ODD)),
        ("/plugin/ml/sweep", "task_id=t&dag_id=d&run_id=r~1&trial=t1", "dags/d/sweep?run_id=r%7E1&task_id=t"),
        ("/plugin/ml/snapshot", "dag_id=d&run_id=a+b&task_id=t", "dags/d/snapshot?run_id=a+b&task_id=t"),
        ("/plugin/ml/task", "dag_id=d&run_id=r&task_id=t&map_index=3", "dags/d/task?run_id=r&task_id=t&map_index=3"),
        ("/plugin/ml/task", "dag_id=d&run_id=r&task_id=t&map_index=-1", "dags/d/task?run_id=r&task_id=t"),
        (f"/team/dags/d/runs/{ODD}/plugin/ml-run", "", "dags/d/run?run_id=" + quote(ODD)),
        ("/dags/d/runs/r/tasks/g.t/plugin/ml-task", "", "dags/d/task?run_id=r&task_id=g.t"),
        ("/dags/d/runs/r/tasks/t/mapped/3/plugin/ml-task", "", "dags/d/task?run_id=r&task_id=t&map_index=3"),
        ("/plugin/ml/model", "", None),
        ("/plugin/ml/run", "dag_id=d", None),
        ("/plugin/ml/nothing", "", None),
        ("/plugin/mlflow", "", None),
        ("/dags/d/runs/r", "", None),
    ],
)
def test_what_a_page_asks_first(path: str, query: str, asked: str | None) -> None:
    assert wanted(path, query) == asked


@given(NAMES, NAMES, NAMES)
def test_any_name_stays_within_the_address(dag: str, run: str, task: str) -> None:
    asked = wanted("/plugin/ml/sweep", urlencode({"dag_id": dag, "run_id": run, "task_id": task}))
    assert asked is not None
    assert asked.isascii()
    assert not set(asked) & set('<>"\r\n ,;')
    parts = urlsplit(asked)
    assert unquote(parts.path) == f"dags/{dag}/sweep"
    assert parse_qs(parts.query) == {"run_id": [run], "task_id": [task]}


def _server(monkeypatch: pytest.MonkeyPatch, answer: Response) -> TestClient:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/team")

    async def nothing(*_: Any) -> None: ...

    pages = LazyApp(lambda: nothing, lambda _: None)
    return TestClient(Preload(answer, pages), cookies={"_token": "t"})


def test_the_address_of_a_page_names_script_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_ml.plugin.bundle import bundle_url

    client = _server(monkeypatch, HTMLResponse("<p>"))
    script, answer = client.get("/plugin/ml/model?model=m").headers["link"].split(", ")
    assert script == f"<{bundle_url()}>; rel=modulepreload"
    assert bundle_url().startswith("/team/airflow-ml/static/")
    assert answer == "</team/airflow-ml/api/models/m>; rel=preload; as=fetch; crossorigin=anonymous"
    for path in ("/", "/plugin/other", "/plugin/ml/model", f"/plugin/ml/model?model={'m' * 4_100}"):
        assert "link" not in client.get(path).headers, path
    client.cookies.clear()
    assert "link" not in client.get("/plugin/ml").headers, "nobody is there to be answered"


def test_an_error_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    client = _server(monkeypatch, JSONResponse({}, status_code=401))
    assert "link" not in client.get("/plugin/ml").headers


def test_what_is_broken_here_breaks_no_page_of_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise ImportError("no module named anything")

    client = _server(monkeypatch, HTMLResponse("<p>whole"))
    monkeypatch.setattr("airflow_ml.plugin.bundle.bundle_url", broken)
    found = client.get("/plugin/ml/models")
    assert (found.status_code, found.text) == (200, "<p>whole")
    assert "link" not in found.headers
