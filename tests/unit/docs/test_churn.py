"""The DAG of the first ten minutes, before and after: both load, and the second one's values become artifacts."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.sdk import DAG

from airflow_ml.adapters.object_store import open_store
from airflow_ml.core.artifact import Artifact
from airflow_ml.runtime.codecs import load_value, store_value

HERE = Path(__file__).parent


def churn(name: str) -> DAG:
    return runpy.run_path(str(HERE / name))["churn"]()


@pytest.mark.parametrize("name", ["churn_before.py", "churn_after.py"])
def test_loads_with_the_same_edges(name: str) -> None:
    dag = churn(name)
    assert {task_id: task.downstream_task_ids for task_id, task in dag.task_dict.items()} == {
        "read": {"train"},
        "train": set(),
    }


def test_a_frame_goes_in_and_a_model_comes_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{tmp_path}/store")
    store = open_store(f"file://{tmp_path}/store")
    customers = pd.DataFrame({"age": [20, 30, 40, 50], "visits": [9, 7, 2, 1], "has_left": [0, 0, 1, 1]})
    train: Any = churn("churn_after.py").task_dict["train"]
    train.op_args = [store_value(customers, store).to_dict()]
    model = load_value(Artifact.from_dict(train.run({})), store)
    assert model.predict(customers[["age", "visits"]]).tolist() == [0, 0, 1, 1]
    assert train.run({}) == train.run({})
