"""A real Airflow runs a small line from the warehouse to a champion that real traffic has promoted."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from airflow_ml.testing.airflow_api import TASK_ENDED, TaskState
from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.child_process import ChildProcess, last_lines, stop

pytestmark = [pytest.mark.system, pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DAG, MODEL = "tiny_flights", "tiny_flights"
AS_OF = datetime(2013, 1, 20, tzinfo=UTC)
RUN_SECONDS = 420.0


@dataclass
class Run:
    """What became of the one run of this module."""

    airflow: AirflowInstance
    run_id: str
    state: str = ""
    tasks: list[TaskState] = field(default_factory=list)
    #: Every state that each task was seen in.
    seen: dict[str, set[str]] = field(default_factory=dict)

    def look(self) -> None:
        self.tasks = self.airflow.api.tasks(DAG, self.run_id)
        for task in self.tasks:
            self.seen.setdefault(task.task_id, set()).add(str(task.state))

    def ended(self, task_id: str) -> bool:
        own = [task for task in self.tasks if task.task_id == task_id]
        return bool(own) and all(task.state in TASK_ENDED for task in own)

    def xcom(self, task_id: str, key: str = "return_value", map_index: int | None = None) -> Any:
        return self.airflow.api.xcom(DAG, self.run_id, task_id, key, map_index)

    def failures(self) -> str:
        failed = [task for task in self.tasks if task.state == "failed"]
        return "\n".join(line for task in failed for line in self.airflow.api.log(DAG, self.run_id, task)[-15:])


@pytest.fixture(scope="module")
def run(serving: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    home = tmp_path_factory.mktemp("airflow")
    airflow = AirflowInstance(
        home, Path(__file__).with_name("dags"), connections=serving.connections, env=serving.environment, parallelism=3
    )
    airflow.start()
    try:
        serving.wait_ready()
        airflow.api.wait_for_dag(DAG)
        airflow.api.unpause(DAG)
        found = Run(airflow, airflow.api.trigger(DAG, run_after=AS_OF))
        follow(found, serving, home / "traffic.log")
        yield found
    finally:
        killed = airflow.stop()
        assert airflow.running() == []
    # Airflow's dag-processor logs in its signal handler, and locks itself up where that meets another line of its log.
    assert [one for one in killed if not one.endswith("airflow dag-processor")] == []


def follow(run: Run, parts: Any, log: Path) -> None:
    """Look until the run has ended; send traffic once there is a champion."""
    deadline = time.monotonic() + RUN_SECONDS
    while not run.ended("install"):
        pause(run, deadline)
    with traffic(parts, log):
        while (state := run.airflow.api.run_state(DAG, run.run_id)) not in ("success", "failed"):
            pause(run, deadline)
    run.look()
    run.state = str(state)


def pause(run: Run, deadline: float) -> None:
    run.look()
    assert not run.failures(), run.failures()
    assert time.monotonic() < deadline, [(task.task_id, task.state) for task in run.tasks]
    time.sleep(0.3)


@contextmanager
def traffic(parts: Any, log: Path) -> Iterator[None]:
    """Replay flights from 21 January until the rollout ends; nothing is sent before the challenger has weight."""
    command = [sys.executable, "-m", "demo.replay", "--gateway", parts.gateway.url, "--store", parts.store_uri]
    command += ["--model", MODEL, "--start", "2013-01-21", "--days", "12", "--seconds-per-day", "1"]
    command += ["--wait-for-split-seconds", "240", "--until-rollout-ends"]
    env = {**os.environ, "AIRFLOW_ML_GATEWAY_TOKEN": parts.gateway.token}
    process = ChildProcess("traffic", command, log_path=log, env=env, cwd=ROOT)
    try:
        yield
        assert process.exit_code in (None, 0), last_lines(log)
    finally:
        stop([process.id], grace_seconds=10)


def test_the_run_succeeds(run: Run) -> None:
    assert run.state == "success", run.failures()
    assert {task.state for task in run.tasks} == {"success"}
    assert {task.try_number for task in run.tasks} == {1}


def test_the_data_is_that_of_the_moment_the_run_stands_for(run: Run) -> None:
    snapshot = run.xcom("snapshot")
    assert (snapshot["record"], snapshot["as_of"]) == ("DatasetSnapshot", "2013-01-20T00:00:00Z")
    assert snapshot["rows"] == 16_321


def test_a_function_gives_a_frame_to_a_function(run: Run) -> None:
    assert run.xcom("origins")["record"] == "Artifact"
    assert run.xcom("count") == {"origins": ["EWR", "JFK", "LGA"], "rows": 16_321}


def test_the_shards_are_mapped_and_their_trials_are_on_the_leaderboard(run: Run) -> None:
    shards = sorted(task.map_index for task in run.tasks if task.task_id == "train.shards")
    assert shards == [0, 1]
    results: list[Mapping[str, Any]] = [run.xcom("train.shards", map_index=index) for index in shards]
    assert [(one["trials"], one["failed"]) for one in results] == [(1, 0), (1, 0)]
    board = run.xcom("train.collect")
    assert (board["trials"], board["succeeded"]) == (2, 2)
    assert board["best"]["params"] == {"wrong": False}


def test_two_models_are_two_versions(run: Run) -> None:
    worst, best = run.xcom("register_worst"), run.xcom("register_best")
    assert (worst["version"], best["version"]) == ("1", "2")
    assert worst["model_digest"] != best["model_digest"]
    assert run.xcom("install")["outcome"] == "installed"


def test_traffic_promotes_the_better_one_while_its_task_is_deferred(run: Run) -> None:
    assert "deferred" in run.seen["promote"]
    rollout = run.xcom("promote")
    assert (rollout["outcome"], rollout["champion"], rollout["challenger"]) == ("promoted", "1", "2")
    assert rollout["weights"][0] == 50
    assert rollout["effect"] < 0
    assert rollout["interval"][1] < 0, "shown to be better, not just seen so"
    assert min(rollout["samples"].values()) > 30
    assert rollout["evidence"]["rows"] != 0


def test_the_promotion_is_told_as_an_asset_event(run: Run) -> None:
    uris = [event["uri"] for event in run.airflow.api.asset_events(source_dag_id=DAG)]
    assert f"mlflow://{MODEL}@champion" in uris
    assert uris.count(f"mlflow://{MODEL}@challenger") == 2


def test_it_listens_on_this_machine_only(run: Run) -> None:
    listening = [
        connection.laddr.ip
        for pid in run.airflow.running()
        for connection in psutil.Process(pid).net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert set(listening) == {"127.0.0.1"}


def test_the_password_is_its_owners_alone(run: Run) -> None:
    assert run.airflow.passwords_path.stat().st_mode & 0o077 == 0


def test_the_pages_are_part_of_it_and_closed(run: Run) -> None:
    """Airflow leaves out a whole plugin of which one word does not fit; and it protects no route of one."""
    (ours,) = [one for one in run.airflow.api.request("GET", "/plugins")["plugins"] if one["name"] == "airflow_ml"]
    assert {one["destination"] for one in ours["react_apps"]} == {"nav", "dag_run", "task_instance"}
    assert [one["url_prefix"] for one in ours["fastapi_apps"]] == ["/airflow-ml"]
    login = {"username": run.airflow.username, "password": run.airflow.password}
    with httpx.Client(base_url=run.airflow.base_url, trust_env=False, timeout=60) as client:
        token = client.post("/auth/token", json=login).json()["access_token"]
        bundle = ours["react_apps"][0]["bundle_url"]
        for path in ("/airflow-ml/api/overview", bundle, "/airflow-ml/docs"):
            assert client.get(path).status_code == 401
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.get(bundle).headers["content-type"].startswith("text/javascript")
        assert client.get("/airflow-ml/docs").status_code == 404
        assert client.get("/airflow-ml/api/overview").status_code == 200
