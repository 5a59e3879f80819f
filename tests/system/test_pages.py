"""The pages at a real API server: under a path, with two workers, over a store that was written before."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.testing.airflow_api import AirflowAPI
from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.recorded_line import Line

pytestmark = [pytest.mark.system, pytest.mark.integration, pytest.mark.long]

BASE = "/team/airflow"
ENTER_A_DAG = """
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.utils.session import create_session

with create_session() as session:
    session.merge(DagBundleModel(name="tests"))
    session.flush()
    session.add(DagModel(dag_id="flights", bundle_name="tests", is_stale=False))
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    """An API server alone: nothing here needs a scheduler."""
    root = tmp_path_factory.mktemp("pages")
    line = Line(FolderStore(root / "store"))
    line.record_run("run")
    line.record_rollout("canary", end=False, looks=3)
    environment = {
        "AIRFLOW__ML__ARTIFACT_STORE": (root / "store").as_uri(),
        "AIRFLOW__API__WORKERS": "2",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
    }
    instance = AirflowInstance(root / "home", root, env=environment, dag_files=("none.py",))
    instance = AirflowInstance(
        root / "home", root, env={**environment, "AIRFLOW__API__BASE_URL": f"{instance.base_url}{BASE}",
                                  "AIRFLOW__API__PORT": str(instance.port)}, dag_files=("none.py",)
    )  # fmt: skip
    instance.base_url = instance.environment()["AIRFLOW__API__BASE_URL"]
    instance.api = AirflowAPI(instance.base_url, instance.username, instance.password)
    instance.prepare()
    subprocess.run([sys.executable, "-c", ENTER_A_DAG], env=instance.environment(), cwd=root, check=True)
    instance.start(timeout_seconds=400, components=["api-server"])
    try:
        yield instance
    finally:
        instance.stop()


def test_pages_under_a_path_with_two_workers(airflow: AirflowInstance) -> None:
    """Twenty requests meet both workers: each answers the same, and neither anybody without a session."""
    login = {"username": airflow.username, "password": airflow.password}
    dag = "/airflow-ml/api/dags/flights"
    with httpx.Client(base_url=airflow.base_url, trust_env=False, timeout=120) as client:
        token = client.post("/auth/token", json=login).json()["access_token"]
        bearer = {"Authorization": f"Bearer {token}"}
        for path in (f"{dag}/run?run_id=run", f"{dag}/sweep?run_id=run&task_id=train.plan", "/airflow-ml/api/models"):
            assert {client.get(path).status_code for _ in range(5)} == {401}
            answers = {client.get(path, headers=bearer).text for _ in range(20)}
            assert len(answers) == 1, path
        overview = client.get("/airflow-ml/api/overview", headers=bearer).json()
        assert overview["user"] == "admin"
        assert [one["name"] for one in overview["models"]] == ["flights_model"]
        bundle = next(
            one["react_apps"][0]["bundle_url"]
            for one in airflow.api.request("GET", "/plugins")["plugins"]
            if one["name"] == "airflow_ml"
        )
        assert bundle.startswith(f"{BASE}/airflow-ml/static/airflow_ml.js?v=")
        host = airflow.base_url.removesuffix(BASE)
        assert httpx.get(f"{host}{bundle}", headers=bearer, trust_env=False).status_code == 200


def test_an_action_by_cookie_is_seen_by_every_worker(airflow: AirflowInstance) -> None:
    """As a browser does it: the session's cookie, and the origin of Airflow's own page."""
    login = {"username": airflow.username, "password": airflow.password}
    path = "/airflow-ml/api/dags/flights/rollouts/flights_model/actions"
    with httpx.Client(base_url=airflow.base_url, trust_env=False, timeout=120) as client:
        token = client.post("/auth/token", json=login).json()["access_token"]
        cookie = {"Cookie": f"_token={token}"}
        body = {"action": "roll_back", "reason": "nobody leads it any more", "epoch": 1}
        assert client.post(path, json=body, headers={**cookie, "Origin": "https://evil.example"}).status_code == 403
        origin = airflow.base_url.removesuffix(BASE)
        done = client.post(path, json=body, headers={**cookie, "Origin": origin, "Sec-Fetch-Site": "same-origin"})
        assert done.status_code == 200, done.text
        for _ in range(10):
            page = client.get("/airflow-ml/api/rollouts/flights_model", headers=cookie).json()
            assert (page["pending"], page["actions"][0]["by"]) == ("rolled_back", "admin")


def test_nothing_went_wrong_unseen(airflow: AirflowInstance) -> None:
    log = Path(airflow.log_directory / "api-server.log").read_text()
    assert "Traceback" not in log
    assert "Skipping invalid plugin" not in log
