"""One task of a DAG in this process: arguments from the command line, templates from the DAG, nothing from a run."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, task

sys.path.insert(0, str(Path(__file__).parents[1] / "operators"))
from test_remote import cluster, k8s, places  # noqa: F401

from airflow_ml import LogUniform
from airflow_ml.adapters.object_store import open_store
from airflow_ml.errors import ArtifactNotFound, ConfigurationError
from airflow_ml.plugin.dag_task import find_tasks, main
from airflow_ml.plugin.task_here import run_here, value_of
from airflow_ml.testing.feature_sets import store_feature_set

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{tmp_path}/store")
    return open_store(f"file://{tmp_path}/store")


def add(first: Any, second: Any = 1, where: str = "{{ params.where }}") -> Any:
    return {"sum": first + second, "where": where}


def train(data: Any, params: Any, extra: float = 0.0) -> Any:
    return {"loss": params["a"] + extra}


class Foreign(BaseOperator):
    def execute(self, context: Any) -> int:
        return 7


def dag() -> DAG:
    with DAG("small", start_date=START, params={"where": "here"}) as made:
        first = task.ml(add)(3, where="{{ params.where }}")
        task.ml(add).override(task_id="second")(first)
        task.sweep(
            space={"a": LogUniform(0.1, 1.0)}, minimize="loss", trials_per_group=3, max_shards=2, mlflow_conn_id=None
        )(train)(first)
        Foreign(task_id="foreign")
    return made


def tasks(name: str) -> list[Any]:
    made = dag()
    return [made.task_dict[name]] if name in made.task_dict else [made.task_dict[f"{name}.plan"]]


def test_arguments_templates_and_defaults(store: Any) -> None:
    assert run_here(tasks("add"), {}) == {"sum": 4, "where": "here"}
    assert run_here(tasks("add"), {"second": "10", "where": "there"}) == {"sum": 13, "where": "there"}


def test_what_another_task_gives_must_be_given(store: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"first of second is the output of another task.*--set first="):
        run_here(tasks("second"), {})
    assert run_here(tasks("second"), {"first": "5"}) == {"sum": 6, "where": "{{ params.where }}"}


def test_a_sweep_from_plan_to_leaderboard(store: Any) -> None:
    features = store_feature_set(store)
    store_text = json.dumps(features.to_dict())
    board = run_here(tasks("train"), {"data": store_text, "trials_per_group": "2"})
    assert board["record"] == "Leaderboard"
    assert (board["trials"], board["succeeded"]) == (2, 2)


def test_names_are_checked(store: Any) -> None:
    with pytest.raises(ConfigurationError, match="add has no argument: third"):
        run_here(tasks("add"), {"third": "1"})
    with pytest.raises(ConfigurationError, match="foreign is no task of airflow-ml: Foreign"):
        run_here(tasks("foreign"), {})


def test_values() -> None:
    assert value_of("3") == 3
    assert value_of('"a/b"') == "a/b"
    assert value_of("plain text") == "plain text"


def test_an_address_that_leads_nowhere(store: Any) -> None:
    with pytest.raises(ArtifactNotFound):
        value_of("no_dag/no_task@latest")


def test_a_dag_is_found_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(
        "from datetime import datetime, UTC\nfrom airflow.sdk import DAG, task\n"
        "with DAG('one', start_date=datetime(2024, 1, 1, tzinfo=UTC)):\n"
        "    task.ml(lambda: 7).override(task_id='only')()\n"
    )
    (tmp_path / "broken.py").write_text("from airflow.sdk import DAG\nraise ValueError('no such thing')\n")
    assert [one.task_id for one in find_tasks("one", "only", str(tmp_path))] == ["only"]
    with pytest.raises(ConfigurationError, match="No task other in DAG one: only"):
        find_tasks("one", "other", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"No DAG two in .*there are one.*broken\.py.*no such thing"):
        find_tasks("two", "only", str(tmp_path))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train", {"compute": "local", "calls": 4}),
        ("single", {"compute": "local", "calls": 1}),
        ("plain", {"error": ["ConfigurationError: plain is no task with compute=", "_PythonDecoratedOperator"]}),
    ],
)
def test_a_task_is_described(name: str, said: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.py").write_text(
        "from datetime import datetime, UTC\nfrom airflow.sdk import DAG, task\nfrom airflow_ml import LogUniform\n"
        "@task.sweep(space={'a': LogUniform(0.1, 1.0)}, minimize='loss', max_shards=4)\n"
        "def train(data, params): ...\n"
        "@task.ml(compute='local')\n"
        "def single(): ...\n"
        "@task\n"
        "def plain(): ...\n"
        "with DAG('one', start_date=datetime(2024, 1, 1, tzinfo=UTC)):\n"
        "    train(single())\n    plain()\n"
    )
    asked = {"dag": "one", "task": name, "dags": str(tmp_path)}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(asked)))
    code = main("describe", tmp_path / "answer.json")
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert code == ("error" in said)
    assert answer == said or answer["error"][:2] == said["error"]


def test_a_task_runs_on_a_cluster_and_is_waited_for(k8s: Any, places: Path, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    assert run_here(tasks("add"), {"first": "20"}, "k8s") == {"sum": 21, "where": "here"}
    store = open_store(f"file://{places.parent}/store")
    board = run_here(
        tasks("train"), {"data": json.dumps(store_feature_set(store).to_dict())}, "k8s"
    )  # fmt: skip
    assert (board["record"], board["compute"], board["succeeded"]) == ("Leaderboard", "k8s", 3)
    assert {one["metadata"]["annotations"]["airflow-ml/task"] for one in k8s.jobs()} >= {"add", "train.plan"}
