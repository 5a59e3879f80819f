"""A piece of a production run, run again from the store alone: identical, equivalent, or what differs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import function_of, plan_of

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.cli import main
from airflow_ml.core.call import Call
from airflow_ml.core.provenance import Provenance, bounded, find_handles, index_ref, task_ref, without_records
from airflow_ml.core.shards import shard_ref
from airflow_ml.errors import ArtifactNotFound, NotPortable
from airflow_ml.runtime.call import run_here
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.codecs import store_value
from airflow_ml.runtime.cpus import available_cpus, cpu_name
from airflow_ml.runtime.environment import environment_digest
from airflow_ml.runtime.leaderboard import committed_results
from airflow_ml.runtime.reproduce import Place, reproduce_call, reproduce_trial
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.sweep_plan import shard_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRAIN = """
import numpy as np

def scale(x):
    return x * 3.0

def train(data, params, trial):
    X, y = data.train.xy()
    if params["n"] % 2 and trial.group == "JFK":
        raise ValueError("odd")
    return {"score": float(scale(X["x"]).mean() + np.random.normal()), "rows": len(y)}
"""


def here(folder: Path, **more: Any) -> Place:
    return Place(into=folder, log=lambda line: None, **more)


def provenance(task: str, **fields: Any) -> Provenance:
    known: dict[str, Any] = {
        "dag": "d", "run": "manual__2026-01-01T00:00:00+00:00", "task": task, "namespace": "prod", "operator": "x",
        "airflow_ml": "0", "python": "3", "platform": "p", "cpu": cpu_name(), "cpus": available_cpus(),
        "environment": environment_digest(),
        "started_at": NOW, "ended_at": NOW, "outcome": "succeeded",
    }  # fmt: skip
    return Provenance(**{**known, **fields})


def write(store: FolderStore, record: Provenance) -> None:
    head: dict[str, Any] = {
        "dag": record.dag,
        "run": record.run,
        "namespace": "prod",
        "started_at": "2026-01-01T00:00:00Z",
    }
    store.append(index_ref("prod", record.dag), head, after=0)
    store.append(task_ref("prod", record.dag, record.run, record.task, record.map_index), record.to_dict(), after=0)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, FolderStore, Provenance]:
    plan, store = plan_of(tmp_path_factory.mktemp("sweep"), TRAIN)
    run_shard(shard_job(plan, 0), store_uri=store.uri, log=lambda line: None)
    shard = provenance("train.shards", map_index=0, inputs=tuple(find_handles("plan", plan)))
    write(store, shard)
    return plan, store, shard


@pytest.mark.parametrize("trial", ["2", "t00002"])
def test_a_trial_is_identical(sweep: Any, tmp_path: Path, trial: str) -> None:
    _, store, shard = sweep
    before = sorted(store.refs())
    found = reproduce_trial([shard], trial, store, here(tmp_path))
    assert found.comparison.verdict == "identical", found
    assert isinstance(found.here, Mapping)
    assert set(found.here["metrics"]) == {"score", "rows"}
    assert found.notes == () or "CPUs" in found.notes[0]
    assert sorted(store.refs()) == before  # production's store was only read


def test_the_command_says_so(sweep: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, store, _ = sweep
    arguments = ["reproduce", "d", "latest", "train", "--store", store.uri, "--trial", "1"]
    assert main([*arguments, "--map-index", "0", "--output", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["verdict"], said["what"]) == ("identical", "trial t00001 of train, group EWR")
    assert main([*arguments, "--map-index", "9"]) == 1
    assert "No such task" in capsys.readouterr().err


def test_a_result_that_was_not_so_is_different(sweep: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same sweep, one committed metric changed: the reproduction must notice."""
    plan, store, shard = sweep
    forged = FolderStore(tmp_path / "store")
    for artifact in (plan.plan, plan.function.package, find_artifact(plan)):
        forged.put_file(store.path(artifact), format=artifact.format)
    ref = shard_ref(plan.sweep, 0, plan.shards)
    trials = [item for entry in store.history(ref) for item in entry.value["trials"]]  # type: ignore[union-attr]
    changed = [{**item, "metrics": {**item["metrics"], "rows": 7.0}} if "metrics" in item else item for item in trials]  # type: ignore[dict-item,index]
    forged.append(ref, {"trials": changed}, after=0)  # type: ignore[dict-item]
    write(forged, shard)
    assert main(["reproduce", "d", "latest", "train", "--store", forged.uri, "--trial", "0"]) == 3
    assert "metrics.rows: 7.0 was recorded, 36.0 came here" in capsys.readouterr().out


def find_artifact(plan: Any) -> Any:
    from airflow_ml.core.artifact import Artifact

    return Artifact.from_dict(plan.data["artifact"])


def test_a_notebook_of_a_trial_runs_it_again(sweep: Any, tmp_path: Path) -> None:
    """Valid, and all its code runs."""
    plan, store, _ = sweep
    file = tmp_path / "trial.ipynb"
    asked = ["notebook", "d", "latest", "train", "--trial", "2", "--store", store.uri, "--into", str(file)]
    assert main(asked) == 0
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    names: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "cell", "exec"), names)
    recorded = committed_results(plan, store)["t00002"]
    assert names["result"] == recorded.metrics
    assert names["params"] == names["trial"].planned.params
    assert names["data"].train.X.shape[0] == recorded.metrics["rows"]
    assert "def scale(x)" in "".join(cell.source for cell in notebook.cells)
    assert main([*asked[:-1], str(tmp_path / "none.ipynb"), "--trial", "800"]) == 1


def test_unknown_trials_are_named(sweep: Any, tmp_path: Path) -> None:
    _, store, shard = sweep
    with pytest.raises(ArtifactNotFound, match="t00000 to t00007"):
        reproduce_trial([shard], "800", store, here(tmp_path))
    with pytest.raises(ArtifactNotFound, match="plan"):
        reproduce_trial([provenance("other")], "1", store, here(tmp_path))


def test_a_crash_crashes_again(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, "import os\ndef train(data, params, trial):\n    os._exit(3)\n", trials_per_group=1)
    run_shard(shard_job(plan, 0), store_uri=store.uri, log=lambda line: None)
    shard = provenance("train.shards", inputs=tuple(find_handles("plan", plan)))
    found = reproduce_trial([shard], "0", store, here(tmp_path / "here"))
    assert found.comparison.verdict == "identical"
    assert isinstance(found.here, Mapping)
    assert found.here["status"] == "killed"


def called(folder: Path, text: str, **arguments: Any) -> tuple[Provenance, FolderStore]:
    """Call a function as a task does, and return what it wrote down."""
    store = FolderStore(folder / "store")
    function = as_function_ref(capture(function_of(folder, text, "work")), store)
    call = Call(function=function, arguments=arguments, seed=3, environment=environment_digest())
    value = run_here(call, store)["value"]
    return provenance(
        "work", call=call, outputs=tuple(find_handles("return", value)), returned=bounded(without_records(value))
    ), store


def test_a_function_is_identical(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    frame = store_value(pd.DataFrame({"a": [1.0, 2.0]}), store).to_dict()
    text = "import random\ndef work(frame, by):\n    return frame.assign(b=frame.a * by + random.random())\n"
    source, store = called(tmp_path, text, frame=frame, by=3)
    found = reproduce_call(source, store, here(tmp_path / "here"))
    assert found.comparison.verdict == "identical", found


@pytest.mark.parametrize(("change", "verdict"), [(1e-9, "equivalent"), (0.5, "different")])
def test_a_table_that_differs_is_compared_by_its_cells(tmp_path: Path, change: float, verdict: str) -> None:
    source, store = called(tmp_path, "def work():\n    import pandas\n    return pandas.DataFrame({'a': [1.0, 2.0]})\n")
    other = store_value(pd.DataFrame({"a": [1.0, 2.0 + change]}), store)
    moved = replace(source, outputs=tuple(find_handles("return", other)), returned=bounded(without_records(other)))
    found = reproduce_call(moved, store, here(tmp_path / "here"))
    assert found.comparison.verdict == verdict
    assert found.comparison.where.startswith("a.1: ")
    assert found.comparison.largest_difference == pytest.approx(change / (2.0 + change))


def test_a_failure_fails_again(tmp_path: Path) -> None:
    source, store = called(tmp_path, "def work(by):\n    return 1 / by\n", by=2)
    assert source.call is not None
    failed = replace(
        source,
        call=replace(source.call, arguments={"by": 0}),
        outcome="failed",
        error="ZeroDivisionError: division by zero",
    )
    found = reproduce_call(failed, store, here(tmp_path / "here"))
    assert found.comparison.verdict == "identical"
    fixed = reproduce_call(replace(failed, call=source.call), store, here(tmp_path / "here"))
    assert fixed.comparison.verdict == "different"


def test_what_ran_in_airflow_only_says_so(tmp_path: Path) -> None:
    source = provenance("stage", not_portable="it holds a lock")
    with pytest.raises(NotPortable, match="it holds a lock"):
        reproduce_call(source, FolderStore(tmp_path), here(tmp_path))
