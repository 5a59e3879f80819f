"""The pages at a real API server with FAB: its roles decide who sees and who acts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.recorded_line import Line

pytest.importorskip("airflow.providers.fab")
pytestmark = [pytest.mark.system, pytest.mark.integration, pytest.mark.long]

MANAGER = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
#: FAB's own roles; a viewer has no plugins until somebody adds them.
USERS = {"ada": "Admin", "olga": "Op", "vera": "Viewer"}
PREPARE = """
import sys
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.providers.fab.www.app import create_app
from airflow.utils.session import create_session

with create_session() as session:
    session.merge(DagBundleModel(name="tests"))
    session.flush()
    session.add(DagModel(dag_id="flights", bundle_name="tests", is_stale=False))
app = create_app(enable_plugins=False)
with app.app_context():
    security = app.appbuilder.sm
    security.sync_roles()
    for user, role in (pair.split(":") for pair in sys.argv[1:]):
        assert security.add_user(user, user, user, f"{user}@example.com", security.find_role(role), password=user)
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    root = tmp_path_factory.mktemp("fab")
    line = Line(FolderStore(root / "store"))
    line.record_run("run")
    line.record_rollout("canary", end=False, looks=3)
    environment = {
        "AIRFLOW__ML__ARTIFACT_STORE": (root / "store").as_uri(),
        "AIRFLOW__CORE__AUTH_MANAGER": MANAGER,
    }
    instance = AirflowInstance(root / "home", root, env=environment, dag_files=("none.py",))
    instance.prepare()
    subprocess.run(
        [sys.executable, "-c", PREPARE, *(f"{user}:{role}" for user, role in USERS.items())],
        env=instance.environment(), cwd=root, check=True,
    )  # fmt: skip
    instance.start(timeout_seconds=400, components=["api-server"])
    try:
        yield instance
    finally:
        instance.stop()


@pytest.fixture(scope="module")
def clients(airflow: AirflowInstance) -> Iterator[dict[str, httpx.Client]]:
    found = {}
    for user in USERS:
        client = httpx.Client(base_url=f"{airflow.base_url}/", trust_env=False, timeout=120)
        token = client.post("auth/token", json={"username": user, "password": user}).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        found[user] = client
    yield found
    for client in found.values():
        client.close()


def test_nobody_without_a_session(airflow: AirflowInstance) -> None:
    for path in ("api/overview", "api/dags/flights/run?run_id=run", "static/airflow_ml.js"):
        answer = httpx.get(f"{airflow.base_url}/airflow-ml/{path}", trust_env=False, timeout=120)
        assert answer.status_code == 401, path


@pytest.mark.parametrize(("user", "shared"), [("ada", 200), ("olga", 200), ("vera", 403)])
def test_reading(clients: dict[str, httpx.Client], user: str, shared: int) -> None:
    """What a DAG made needs to read that DAG; what no DAG owns needs the view Plugins."""
    for path in ("run?run_id=run", "sweep?run_id=run&task_id=train.plan", "task?run_id=run&task_id=select_model"):
        assert clients[user].get(f"airflow-ml/api/dags/flights/{path}").status_code == 200, path
    for path in ("overview", "models", "models/flights_model", "rollouts/flights_model", "datasets"):
        assert clients[user].get(f"airflow-ml/api/{path}").status_code == shared, path


def test_acting_needs_to_edit_task_instances_and_is_in_the_person_s_name(clients: dict[str, httpx.Client]) -> None:
    path = "airflow-ml/api/dags/flights/rollouts/flights_model/actions"
    body = {"action": "roll_back", "reason": "nobody leads it any more", "epoch": 1}
    assert clients["vera"].post(path, json=body).status_code == 403
    done = clients["olga"].post(path, json=body)
    assert done.status_code == 200, done.text
    page = clients["ada"].get("airflow-ml/api/rollouts/flights_model").json()
    assert [row["reason"] for row in page["actions"]] == ["nobody leads it any more"]
    assert "olga" in page["actions"][0]["by"]
