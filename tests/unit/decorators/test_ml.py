"""``@task.ml`` in a real task process stand-in: ``execute`` with what a task runner would render."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from airflow.sdk import DAG, task

from airflow_ml.adapters.object_store import open_store
from airflow_ml.core.artifact import Artifact
from airflow_ml.errors import ConfigurationError
from airflow_ml.runtime.codecs import load_value, store_value


@pytest.fixture
def store_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"file://{tmp_path}/store"
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", uri)
    return uri


def built(decorator: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        return decorator(function)(*args, **kwargs).operator


def total(frame: Any, column: str = "a") -> dict[str, int]:
    return {"total": int(frame[column].sum()), "process": __import__("os").getpid()}


def doubled(frame: Any) -> Any:
    return frame * 2


@pytest.mark.parametrize("compute", ["worker", "local"])
def test_artifacts_arrive_loaded_and_leave_stored(store_uri: str, compute: str) -> None:
    store = open_store(store_uri)
    frame = store_value(pd.DataFrame({"a": [1, 2]}), store).to_dict()
    returned = built(task.ml(compute=compute), doubled, frame).run({})
    assert load_value(Artifact.from_dict(returned), store)["a"].tolist() == [2, 4]


def test_local_is_another_process(store_uri: str) -> None:
    import os

    frame = store_value(pd.DataFrame({"a": [1, 2]}), open_store(store_uri)).to_dict()
    result = built(task.ml(compute="local"), total, frame).run({})
    assert result["total"] == 3
    assert result["process"] != os.getpid()


def test_cache_runs_once(store_uri: str) -> None:
    store = open_store(store_uri)
    frames = [store_value(pd.DataFrame({"a": [1, value]}), store).to_dict() for value in (2, 2, 5)]
    results = [built(task.ml(compute="local", cache=True), total, frame).run({}) for frame in frames]
    assert results[0] == results[1]
    assert results[2]["total"] == 6


def test_unknown_compute() -> None:
    with pytest.raises(ConfigurationError, match="'gpu'"):
        built(task.ml(compute="gpu"), total, {})
