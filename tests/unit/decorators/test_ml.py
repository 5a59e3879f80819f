"""``@task.ml`` in a real task process stand-in: ``execute`` with what a task runner would render."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from airflow.sdk import DAG, task

from airflow_ml import Rows
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.object_store import open_store
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.errors import ConfigurationError
from airflow_ml.runtime.codecs import load_value, store_value
from airflow_ml.runtime.values import open_value
from airflow_ml.testing.feature_sets import flights, store_feature_set


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


def test_unknown_compute(store_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="compute is not a profile"):
        built(task.ml(compute=7), total, {})
    file = tmp_path / "profiles.toml"
    file.write_text('[gpu-large]\nkind = "local"\n')
    monkeypatch.setenv("AIRFLOW__ML__COMPUTE_PROFILES", str(file))
    with pytest.raises(ConfigurationError, match="Did you mean gpu-large"):
        built(task.ml(compute="gpu-lage"), total, {}).run({})


def test_outside_of_a_dag_it_is_the_plain_function() -> None:
    decorated = task.ml(seed=3)(doubled)
    assert decorated(pd.DataFrame({"a": [1]}))["a"].tolist() == [2]
    assert decorated.override(task_id="other")(4) == 8


def features_of(data: Any, rows: Any, context: Any = None) -> dict[str, Any]:
    return {
        "record": data.record.view,
        "train": len(data.train.X),
        "rows": [rows.rows, rows.name, len(rows.frame(["carrier"])), sum(len(one) for one in rows.batches(7))],
    }


@pytest.mark.parametrize("compute", ["worker", "local"])
def test_records_arrive_as_their_data(store_uri: str, compute: str) -> None:
    store = FolderStore(Path(store_uri.removeprefix("file://")))
    frame = flights(60)
    features = store_feature_set(store, frame)
    rows = DatasetSnapshot(
        name="flights", artifact=features.artifact, as_of=features.as_of, rows=60, consistency="plain_read",
        statement_id="1", statement_digest="2", source="duckdb",
    )  # fmt: skip
    found = built(task.ml(compute=compute), features_of, features, rows).run({})
    assert found["record"] == features.view
    assert 0 < found["train"] < 60
    assert found["rows"] == [60, "flights", 60, 60]


def lazily(frame: Rows) -> str:
    with pytest.raises(AttributeError, match=r"use .frame\(\)"):
        frame.groupby  # noqa: B018
    return type(frame).__name__ + str(frame.frame()["a"].sum())


def test_a_parameter_may_ask_for_rows(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = store_value(pd.DataFrame({"a": [1, 2]}), open_store(store_uri)).to_dict()
    assert built(task.ml(), lazily, wire).run({}) == "Rows3"
    monkeypatch.setattr("airflow_ml.runtime.values.LARGE_BYTES", 10)
    assert built(task.ml(task_id="t"), lambda frame: type(frame).__name__, wire).run({}) == "Rows"


def given_back(*values: Any, **named: Any) -> list[str]:
    return [f"{type(item).__name__} {item!r}" for item in (*values, *named.values())]


@pytest.mark.parametrize("compute", ["worker", "local"])
def test_arguments_keep_their_types(store_uri: str, compute: str) -> None:
    moment = datetime(2024, 1, 1, tzinfo=UTC)
    values: list[Any] = [moment, moment.date(), timedelta(hours=1), (1, (2,)), {3}, {"a": [None, True]}]
    assert built(task.ml(compute=compute), given_back, *values, last=1.5).run({}) == given_back(*values, last=1.5)


def ask(run_id: str, params: Any = None, other: int = 3) -> list[Any]:
    return [run_id, params, other]


def test_what_a_function_asks_of_the_context_is_given(store_uri: str) -> None:
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        operator: Any = task.ml()(ask)().operator
    assert operator.run({"run_id": "r", "params": {"a": 1}, "other": 9}) == ["r", {"a": 1}, 3]
    assert operator.call.arguments == {"run_id": "r", "params": {"a": 1}}


def listed(count: int) -> list[Any]:
    return [pd.DataFrame({"a": [number]}) for number in range(count)]


def long_rows(count: int) -> list[dict[str, str]]:
    return [{"text": "x" * 1000} for _ in range(count)]


def mixed() -> dict[str, Any]:
    return {"frame": pd.DataFrame({"a": [1]}), "rows": 1, "deep": [np.arange(3), "text"]}


def long_text() -> str:
    return "x" * 40_000


def test_returns(store_uri: str) -> None:
    store = open_store(store_uri)
    frames = built(task.ml(), listed, 3).run({})
    assert [open_value(one, store)["a"].tolist() for one in frames] == [[0], [1], [2]]
    assert built(task.ml(), long_rows, 3).run({}) == long_rows(3)
    assert [one["format"] for one in built(task.ml(), long_rows, 50).run({})] == ["json"] * 50
    found = built(task.ml(), mixed).run({})
    assert (found["frame"]["format"], found["rows"], found["deep"][0]["format"], found["deep"][1]) == (
        "parquet", 1, "npy", "text",
    )  # fmt: skip
    large = built(task.ml(), long_text).run({})
    assert (large["format"], open_value(large, store)) == ("text", long_text())
    split = built(task.ml(task_id="t", multiple_outputs=True), lambda: {"a": long_text(), "b": 1}).run({})
    assert (split["a"]["format"], split["b"]) == ("text", 1)


def unpickled(path: Any) -> str:
    return repr(path)


def test_a_pickle_needs_trust_and_a_clean_interpreter(store_uri: str, tmp_path: Path) -> None:
    file = tmp_path / "model.pkl"
    file.write_bytes(pickle.dumps({"weights": [1, 2]}))
    store = open_store(store_uri)
    artifact = store_value(file, store)
    assert "PosixPath" in built(task.ml(), unpickled, artifact.to_dict()).run({})
    assert built(task.ml(trusted=True), unpickled, artifact.to_dict()).run({}) == "{'weights': [1, 2]}"
    with pytest.raises(ConfigurationError, match="not loaded in this process"):
        load_value(artifact, store, trusted=True)


def test_an_image_needs_a_cluster(store_uri: str) -> None:
    with pytest.raises(ConfigurationError, match="on a cluster only"):
        built(task.ml(environment="registry/team/image:1"), total, {}).run({})


def parts() -> dict[str, Any]:
    return {"a": "x" * 20_000, "b": "y" * 20_000}


@pytest.mark.parametrize("compute", ["worker", "local"])
def test_a_cached_result_has_the_same_parts(store_uri: str, compute: str) -> None:
    decorator = task.ml(compute=compute, cache=True, multiple_outputs=True)
    first = built(decorator, parts).run({})
    assert set(first) == {"a", "b"}
    assert built(decorator, parts).run({}) == first
    whole = built(task.ml(compute=compute, cache=True), parts).run({})
    assert built(decorator, parts).run({}) == first
    assert open_value(whole, open_store(store_uri)) == parts()


def frame_of(rows: int) -> Any:
    return pd.DataFrame({"a": range(rows)})


@pytest.mark.parametrize("kept", [frame_of, listed])
def test_a_cached_result_whose_bytes_are_gone_is_made_again(store_uri: str, kept: Any) -> None:
    store = open_store(store_uri)
    first = built(task.ml(cache=True), kept, 2).run({})
    digest = (first if isinstance(first, dict) else first[1])["digest"]
    assert isinstance(store, FolderStore)
    store.path(Artifact.from_dict(first if isinstance(first, dict) else first[1])).unlink()
    operator = built(task.ml(cache=True), kept, 2)
    assert operator.run({}) == first
    assert operator.cache_outcome == "miss"
    store.verify(digest)


def drawn() -> float:
    return __import__("random").random()


def test_a_cached_call_is_seeded_by_what_its_key_says(store_uri: str) -> None:
    import random

    unseeded = built(task.ml(cache=True), drawn).run({})
    assert unseeded == random.Random(0).random()


@pytest.mark.parametrize("compute", ["worker", "local"])
def test_arguments_within_others_keep_their_types(store_uri: str, compute: str) -> None:
    values: list[Any] = [{1: "a", "1": "b", (2, 3): None}, [(1, 2), {"deep": ({4},)}], {True: 1.5}]
    assert built(task.ml(compute=compute), given_back, *values).run({}) == given_back(*values)
