"""The pages at a real API server: under a path, with two workers, over a store of before; and in a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.runtime.rollout_evidence import rollout_ref
from airflow_ml.testing.airflow_api import AirflowAPI
from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.recorded_line import Line

pytestmark = [pytest.mark.system, pytest.mark.integration, pytest.mark.long]

BASE = "/team/airflow"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
#: Milliseconds.
WAIT = 120_000
TRAIN = "dag_id=flights&run_id=run"
#: Each page, and words that stand on it once its answer is drawn.
PAGES = {
    "": "Running sweeps",
    "models": "Champions and challengers",
    "model?model=flights_model": "Promotion history",
    "canary?model=flights_model": "Samples per arm",
    f"sweep?{TRAIN}&task_id=train.plan": "Leaderboard",
    f"sweep?{TRAIN}&task_id=train.plan&trial=t00003": "Run it again",
    "data": "Newest snapshots",
    "dataset?name=flights_rows": "flights_rows",
    f"snapshot?{TRAIN}&task_id=gate_dataset": "First rows",
    f"run?{TRAIN}": "Compared with",
    f"task?{TRAIN}&task_id=select_model": "Provenance",
    "task?dag_id=flights&run_id=run&task_id=nothing": "Nothing is recorded",
}

ENTER_A_DAG = """
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.utils.session import create_session

with create_session() as session:
    session.merge(DagBundleModel(name="tests"))
    session.flush()
    for dag in ("flights", "led", "parked"):
        session.add(DagModel(dag_id=dag, bundle_name="tests", is_stale=False))
"""
#: A task that waits for an answer on Airflow's page of required actions, as a parked canary does.
ASK = """
import uuid
from datetime import UTC, datetime
from airflow.models.dag_version import DagVersion
from airflow.models.dagrun import DagRun
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import insert

with create_session() as session:
    instance, now = uuid.uuid4(), datetime.now(UTC)
    version = DagVersion(dag_id="parked", version_number=1, bundle_name="tests")
    session.add(version)
    session.flush()
    session.add(DagRun(dag_id="parked", run_id="canary", run_type="manual", state="running", run_after=now))
    session.flush()
    session.execute(insert(TaskInstance.__table__).values(
        id=instance, task_id="canary", dag_id="parked", run_id="canary", map_index=-1, state="awaiting_input",
        dag_version_id=version.id, pool="default_pool", pool_slots=1, priority_weight=1, queue="default",
        try_number=1, max_tries=0, custom_operator_name="", executor_config=b"", context_carrier={},
        next_method="answered", next_kwargs={}))
    session.add(HITLDetail(ti_id=instance, options=["Approve", "Reject"], subject="Go on?", body="",
                           defaults=["Reject"], multiple=False, params={}, assignees=[]))
"""
#: What the browser did, as Airflow's own record of the question says it.
ANSWERED = """
import json
from airflow.models.hitl import HITLDetail
from airflow.utils.session import create_session
from sqlalchemy import select

with create_session() as session:
    answer = session.scalars(select(HITLDetail)).one()
    print("ANSWER", json.dumps([answer.responded_by["name"], answer.chosen_options, answer.params_input]))
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
        assert "flights_model" in [one["name"] for one in overview["models"]]
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


@pytest.fixture(scope="module")
def store(airflow: AirflowInstance) -> FolderStore:
    return FolderStore(airflow.directory.parent / "store")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class Visit:
    """Somebody who has signed in, on the pages; and what their browser complained of."""

    def __init__(self, chromium: Any, airflow: AirflowInstance, **options: Any) -> None:
        login = {"username": airflow.username, "password": airflow.password}
        answer = httpx.post(f"{airflow.base_url}/auth/token", json=login, trust_env=False, timeout=120)
        self.base = airflow.base_url
        self.context = chromium.new_context(viewport={"width": 1440, "height": 1000}, **options)
        self.context.set_default_timeout(WAIT)
        self.context.add_cookies([{"name": "_token", "value": answer.json()["access_token"], "url": self.base}])
        self.problems: list[str] = []
        self.page = self.context.new_page()
        self.page.on("console", self._complain)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))

    def _complain(self, message: Any) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text:  # of a task without a record
            self.problems.append(message.text)

    def go(self, path: str, words: str) -> None:
        """Open a page: the first by its address, the others as a link does."""
        address = f"{BASE}/plugin/ml/{path}".rstrip("/")
        if self.page.url == "about:blank":
            self.page.goto(f"{self.base.removesuffix(BASE)}{address}")
        else:
            self.page.evaluate(
                "path => { history.pushState({}, '', path);"
                " dispatchEvent(new PopStateEvent('popstate', {state: {}})); }",
                address,
            )
        self.page.get_by_text(words).first.wait_for()
        self.page.wait_for_function("() => !document.querySelector('[role=status][aria-label=Loading]')")

    def act(self, action: str, reason: str) -> None:
        """Press a button of the canary's page, say why, and wait until the page says what came of it."""
        self.page.get_by_role("button", name=action, exact=True).click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("textbox").fill(reason)
        dialog.get_by_role("button", name=action, exact=True).click()
        dialog.wait_for(state="hidden")
        self.page.get_by_text(reason).first.wait_for()


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_in_a_browser(
    chromium: Any, airflow: AirflowInstance, scheme: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What the server says of real records is drawn, page by page, without a complaint of the browser."""
    visit = Visit(chromium, airflow, color_scheme=scheme)
    pictures = Path(os.environ.get("PAGES_PICTURES") or tmp_path_factory.mktemp("pictures"))
    for number, (path, words) in enumerate(PAGES.items()):
        visit.go(path, words)
        assert visit.page.locator("h1").count() == 1, path
        assert not visit.page.get_by_text("could not be drawn").count(), path
        assert not visit.page.locator("[data-scope=alert][data-status=error]").count(), path
        picture = pictures / f"{number:02d}-{scheme}.png"
        visit.page.screenshot(path=str(picture))
        assert picture.stat().st_size > 20_000, path
    assert visit.problems == []
    visit.context.close()


#: Addresses of the plugin's own that the browser asked for since the page was opened, with who asked.
ASKED = """
() => performance.getEntriesByType('resource')
  .map(one => [new URL(one.name).pathname + new URL(one.name).search, one.initiatorType])
  .filter(([path]) => path.includes('/airflow-ml/api/'))
"""
#: A page or a tab, and the words of its answer.
AHEAD = {
    "/plugin/ml/model?model=flights_model": "Promotion history",
    f"/plugin/ml/sweep?{TRAIN}&task_id=train.plan": "Leaderboard",
    f"/plugin/ml/task?{TRAIN}&task_id=select_model": "Provenance",
    "/dags/flights/runs/run/plugin/ml-run": "Compared with",
    "/dags/flights/runs/run/tasks/select_model/plugin/ml-task": "Provenance",
}


@in_a_browser
@pytest.mark.parametrize("address", AHEAD)
def test_a_page_and_a_tab_have_their_answer_before_they_ask(
    chromium: Any, airflow: AirflowInstance, address: str
) -> None:
    """The address names the first answer, and the page takes that one: nothing is asked twice."""
    visit = Visit(chromium, airflow)
    visit.page.goto(f"{visit.base}{address}")
    visit.page.get_by_text(AHEAD[address]).first.wait_for()
    asked = visit.page.evaluate(ASKED)
    assert asked[0][1] == "link", asked
    assert [path for path, _ in asked].count(asked[0][0]) == 1, asked
    visit.context.close()


@in_a_browser
def test_a_canary_is_led_by_hand(chromium: Any, airflow: AirflowInstance, store: FolderStore) -> None:
    """Hold, resume, roll back: each asks for a reason, and the record has it beside the name of who pressed."""
    line = Line(store, dag="led")
    line.record_rollout("by hand", end=False, looks=4, began=datetime.now(UTC))
    visit = Visit(chromium, airflow)
    visit.go(f"canary?model={line.model}", "Samples per arm")
    visit.act("Hold", "the weather feed stopped")
    visit.act("Resume", "the feed is back")
    visit.act("Roll back", "worse than thought")
    newest = store.latest(rollout_ref(line.model, "prod"))
    assert newest is not None
    state = RolloutState.from_dict(newest.value)
    assert [(one.kind, one.who, one.why) for one in state.acts] == [
        ("hold", "admin", "the weather feed stopped"),
        ("resume", "admin", "the feed is back"),
        ("roll_back", "admin", "worse than thought"),
    ]
    assert state.pending == "rolled_back"
    assert not visit.page.get_by_role("button", name="Hold", exact=True).count(), "nothing more can be done with it"
    assert visit.problems == []
    visit.context.close()


@in_a_browser
def test_a_parked_canary_is_approved(chromium: Any, airflow: AirflowInstance, store: FolderStore) -> None:
    line = Line(store, dag="parked")
    state = line.record_rollout("canary", end=False, looks=2, began=datetime.now(UTC))
    ref = rollout_ref(line.model, "prod")
    newest = store.latest(ref)
    assert newest is not None
    parked = replace(state, state="parked", lease_expires_at=None, weight_percent=0.0)
    store.append(ref, parked.to_dict(), after=newest.sequence)
    run_inside(airflow, ASK)
    visit = Visit(chromium, airflow)
    visit.go(f"canary?model={line.model}", "Samples per arm")
    visit.page.get_by_role("button", name="Approve", exact=True).click()
    dialog = visit.page.get_by_role("dialog")
    dialog.get_by_role("textbox").fill("the loss is noise")
    dialog.get_by_role("button", name="Approve", exact=True).click()
    visit.page.get_by_text("Approved: the rollout goes on").wait_for()
    said = run_inside(airflow, ANSWERED)
    assert 'ANSWER ["admin", ["Approve"], {"reason": "the loss is noise"}]' in said
    assert visit.problems == []
    visit.context.close()


def run_inside(airflow: AirflowInstance, script: str) -> str:
    """Run a script with the instance's settings, as an `airflow` command runs."""
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, env=airflow.environment(), cwd=airflow.directory, check=True, text=True, stdout=subprocess.PIPE
    )
    return done.stdout


def test_nothing_went_wrong_unseen(airflow: AirflowInstance) -> None:
    log = Path(airflow.log_directory / "api-server.log").read_text()
    assert "Traceback" not in log
    assert "Skipping invalid plugin" not in log
