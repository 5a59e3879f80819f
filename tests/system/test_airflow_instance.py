"""The instance itself: a real Airflow comes up, runs what it is told, and leaves nothing behind."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from airflow_ml.core.canary import Rollout
from airflow_ml.core.record import Record
from airflow_ml.testing.airflow_api import ApiError
from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.child_process import ChildFailed
from demo.progress import Line

pytestmark = [pytest.mark.system, pytest.mark.integration, pytest.mark.long]

DAGS = """
from airflow.sdk import Asset, Param, dag, get_current_context, task

CHALLENGER = Asset("mlflow://tiny@challenger")

@dag(schedule=None, params={"fail": Param(False, type="boolean")})
def tiny_train():
    @task(outlets=[CHALLENGER])
    def register_model():
        context = get_current_context()
        if context["params"]["fail"]:
            raise ValueError("told to fail")
        return str(context["dag_run"].run_after)
    register_model()

@dag(schedule=CHALLENGER)
def tiny_release():
    @task
    def canary():
        from airflow_ml.core.canary import Rollout
        rollout = Rollout(model="tiny", namespace="prod", champion="", challenger="1", outcome="installed",
                          reason="there was no champion", epoch=1)
        return rollout.to_xcom()
    canary()

tiny_train()
tiny_release()
"""
APRIL = datetime(2013, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowInstance]:
    dags = tmp_path_factory.mktemp("dags")
    (dags / "tiny.py").write_text(DAGS)
    (dags / "other.py").write_text("import airflow, dag_that_nobody_has")
    instance = AirflowInstance(tmp_path_factory.mktemp("home"), dags, dag_files=("tiny.py",), parallelism=2)
    instance.start()
    try:
        for dag_id in ("tiny_train", "tiny_release"):
            instance.api.wait_for_dag(dag_id)
            instance.api.unpause(dag_id)
        yield instance
    finally:
        killed = instance.stop()
        assert instance.running() == []
    # Airflow's dag-processor logs in its signal handler, and locks itself up where that meets another line of its log.
    assert [one for one in killed if not one.endswith("airflow dag-processor")] == []


def test_a_run_of_the_past_starts_at_once_and_its_asset_starts_the_next(airflow: AirflowInstance) -> None:
    line = Line(airflow.api, "line", "tiny_train", airflow.api.trigger("tiny_train", run_after=APRIL))
    state = airflow.api.wait_for_run(*next(iter(line.runs)), timeout_seconds=90)
    assert state == "success"
    assert airflow.api.xcom(*next(iter(line.runs)), "register_model") == "2013-04-01 00:00:00+00:00"
    deadline = time.monotonic() + 60
    while (release := line.run_of("tiny_release")) is None and time.monotonic() < deadline:
        line.look()
    assert release is not None
    assert airflow.api.wait_for_run(*release, timeout_seconds=60) == "success"
    line.look()
    assert line.ended
    assert not line.failed
    found: list[Record] = line.records()
    assert [(type(one), getattr(one, "outcome", "")) for one in found] == [(Rollout, "installed")]
    assert {one.stage.name for one in line.stages if one.state == "success"} == {"registration", "canary"}


def test_a_failed_task_shows_its_error(airflow: AirflowInstance) -> None:
    run_id = airflow.api.trigger("tiny_train", conf={"fail": True})
    line = Line(airflow.api, "line", "tiny_train", run_id)
    assert airflow.api.wait_for_run("tiny_train", run_id, timeout_seconds=90) == "failed"
    line.look()
    assert line.failed
    assert line.run_of("tiny_release") is None
    (failure,) = line.failures()
    assert "register_model failed" in failure
    assert "told to fail" in failure


def test_only_the_chosen_file_is_loaded(airflow: AirflowInstance) -> None:
    assert airflow.api.import_errors() == []


def test_a_dag_that_does_not_exist_is_told(airflow: AirflowInstance) -> None:
    with pytest.raises(ApiError, match="no import error either"):
        airflow.api.wait_for_dag("nowhere", timeout_seconds=0)


def test_a_component_that_cannot_start_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        instance = AirflowInstance(tmp_path / "home", tmp_path)
        instance.port = taken.getsockname()[1]
        with pytest.raises(ChildFailed, match=r"(?s)api-server ended with code.*address already in use"):
            instance.start()
        assert instance.running() == []
