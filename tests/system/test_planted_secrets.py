"""Secrets planted wherever a deployment has them: after a real run, task logs, XCom, store and MLflow hold none."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "runtime"))
from sweep_parts import feature_set

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.provenance import Provenance, task_ref
from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.mlflow_server import MLflowServer

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(600)]

DAG_ID, MARK = "planted_secrets", "planted-"
DAG = """
import json
import os
from pathlib import Path

from airflow.sdk import dag, task

import airflow_ml  # noqa: F401
from airflow_ml import Uniform

FEATURES = json.loads(Path(os.environ["TEST_FEATURES"]).read_text())


@task.ml
def in_worker(key, rows):
    from airflow.sdk import BaseHook, Variable

    found = [key, BaseHook.get_connection("planted_db").password, Variable.get("api_key")]
    print("in worker:", found, "of", rows)
    return {"lengths": [len(one) for one in found]}


@task.ml
def raises(key):
    raise ValueError(f"in error: no login with {key}")


@task.ml(compute="local")
def in_runner(rows):
    import os

    print("in runner:", dict(os.environ))
    return {"variables": dict(os.environ)}


@task.ml(compute="local")
def refused(key):
    return 1


@task.sweep(
    space={"a": Uniform(0, 1)}, by="origin", trials_per_group=3, maximize="score", pictures=False, tracked_trials="all",
    min_success_fraction=0.1,
)
def train(data, params, trial):
    import os

    print("in trial:", dict(os.environ))
    if trial.id.endswith("1"):
        raise RuntimeError(f"all I know: {dict(os.environ)}")
    return params["a"]


@dag(schedule=None, params={"password": "planted-param", "limit": 3})
def planted_secrets():
    key = "{{ conn.planted_db.password }}"
    in_worker(key, rows=3)
    raises(key)
    in_runner(3)
    refused(key)
    train(FEATURES)


planted_secrets()
"""


def everything(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file's name and content; a table's rows as text, since its bytes are packed."""
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if data[:4] == b"PAR1" and data[-4:] == b"PAR1":
                yield path, json.dumps(pq.read_table(path).to_pylist(), default=str)
            yield path, data.decode(errors="replace")


def leaks(folder: Path) -> list[str]:
    found = list(everything(folder))
    assert found, f"{folder} is empty, so nothing is shown"
    return [f"{path}: {text[max(0, text.find(MARK) - 80) :][:160]}" for path, text in found if MARK in f"{path}{text}"]


def checkout(folder: Path) -> Path:
    """Make a checkout of the DAG whose file was changed by hand, with passwords in it."""
    dags = folder / "dags"
    dags.mkdir()
    (dags / "planted.py").write_text(DAG)
    for command in (
        ["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first"],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=dags, check=True)
    changed = '\nDB_PASSWORD = "planted-file"\nDB = "postgresql://ann:planted-address@db/x"\n'
    (dags / "planted.py").write_text(DAG + changed)
    return dags


def test_no_secret_is_left_anywhere(tmp_path: Path) -> None:
    dags, store = checkout(tmp_path), FolderStore(tmp_path / "store")
    described = tmp_path / "features.json"
    described.write_text(json.dumps(feature_set(store, tmp_path).to_dict()))
    with MLflowServer(tmp_path / "mlflow") as mlflow:
        connections: dict[str, dict[str, Any]] = {
            "planted_db": {"conn_type": "postgres", "login": "ann", "password": "planted-connection", "host": "db"},
            "mlflow_default": {
                "conn_type": "mlflow", "host": "127.0.0.1", "port": mlflow.port, "login": "ann",
                "password": "planted-mlflow",
            },
        }  # fmt: skip
        environment = {
            "AIRFLOW__ML__ARTIFACT_STORE": store.uri,
            "AIRFLOW_VAR_API_KEY": "planted-variable",
            "SERVICE_TOKEN": "planted-environment",
            "AWS_SECRET_ACCESS_KEY": "planted-aws",
            "TEST_FEATURES": str(described),
        }
        with AirflowInstance(tmp_path / "airflow", dags, connections=connections, env=environment) as airflow:
            airflow.api.wait_for_dag(DAG_ID)
            airflow.api.unpause(DAG_ID)
            run = airflow.api.trigger(DAG_ID)
            airflow.api.wait_for_run(DAG_ID, run, 300)
            states = {task.task_id: task.state for task in airflow.api.tasks(DAG_ID, run)}
    expected = {"raises": "failed", "refused": "failed"}
    assert states == {task: expected.get(task, "success") for task in states}
    assert {"in_worker", "in_runner", "train.track"} <= set(states)

    logs = airflow.directory / "logs" / f"dag_id={DAG_ID}"
    told = "".join(text for _, text in everything(logs))
    assert told.count("***") >= 3
    for line in ("in worker:", "in error:", "in runner:", "in trial:", "A secret is an argument"):
        assert line in told, "what could have told a secret was told"
    assert leaks(logs) == []

    with sqlite3.connect(airflow.directory / "airflow.db") as database:
        pushed = [str(row) for row in database.execute("select task_id, key, value from xcom")]
    assert len(pushed) > 5
    assert [row for row in pushed if MARK in row] == []

    assert leaks(tmp_path / "store") == []
    entry = store.latest(task_ref("prod", DAG_ID, run, "raises"))
    assert entry is not None
    kept = Provenance.from_dict(entry.value)
    assert kept.params == {"password": "***", "limit": 3}
    assert (kept.call, kept.not_portable) == (None, "an argument holds a secret")
    assert kept.error == "ValueError: in error: no login with ***"
    assert kept.git.dirty == "yes"
    assert kept.git.changes != ""

    assert (tmp_path / "mlflow" / "mlflow.db").exists()
    assert leaks(tmp_path / "mlflow") == []
