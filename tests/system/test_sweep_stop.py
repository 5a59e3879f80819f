"""Stop means stop, under a real scheduler: a shard that is marked failed ends its trials; cleared, it runs the rest."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "runtime"))
from sweep_parts import feature_set

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.runtime.leaderboard import committed_results
from airflow_ml.testing.airflow_instance import AirflowInstance

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(900)]

DAG = """
import json
import os
from pathlib import Path

from airflow.sdk import dag, task

import airflow_ml  # noqa: F401
from airflow_ml import Uniform

FEATURES = json.loads(Path(os.environ["TEST_FEATURES"]).read_text())


@task.sweep(
    space={"a": Uniform(0, 1)}, by="origin", trials_per_group=60, maximize="score", max_shards=1, mlflow_conn_id=None,
    pictures=False, min_success_fraction=0.0,
)
def train(data, params, trial, folder):
    import os
    import time
    from pathlib import Path

    with Path(folder, trial.id).open("ab", buffering=0) as file:
        file.write(b"%d " % os.getpid())
    time.sleep(1.0)
    return params["a"]


@dag(schedule=None)
def stopped_sweep():
    train(FEATURES, folder=os.environ["TEST_COUNTS"])


stopped_sweep()
"""


def wait_for(condition: Callable[[], Any], seconds: float) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.2)
    return time.monotonic() - began


def test_a_shard_that_is_marked_failed_ends_its_trials_within_a_minute_and_a_clear_runs_the_others(
    tmp_path: Path,
) -> None:
    dags, counts = tmp_path / "dags", tmp_path / "counts"
    dags.mkdir()
    counts.mkdir()
    store = FolderStore(tmp_path / "store")
    described = tmp_path / "features.json"
    described.write_text(json.dumps(feature_set(store, tmp_path).to_dict()))
    (dags / "stopped.py").write_text(DAG)
    settings = {
        "AIRFLOW__ML__ARTIFACT_STORE": store.uri,
        "TEST_FEATURES": str(described),
        "TEST_COUNTS": str(counts),
    }
    with AirflowInstance(tmp_path / "airflow", dags, env=settings) as airflow:
        api, dag = airflow.api, "stopped_sweep"
        api.wait_for_dag(dag)
        api.unpause(dag)
        run = api.trigger(dag)
        plan_of_run: list[SweepPlan] = []

        def done() -> int:
            if not plan_of_run and (wire := api.xcom(dag, run, "train.plan", key="plan")):
                plan_of_run.append(SweepPlan.from_dict(wire))
            return len(committed_results(plan_of_run[0], store)) if plan_of_run else 0

        wait_for(lambda: done() >= 4, 240)
        path = f"/dags/{dag}/dagRuns/{run}/taskInstances/train.shards/0"
        api.request("PATCH", path, body={"new_state": "failed"})
        assert wait_for(lambda: not _workers(counts), 60) < 60
        begun, kept = len(list(counts.iterdir())), done()
        time.sleep(3)
        assert len(list(counts.iterdir())) == begun < 120, "nothing further begins"
        assert kept >= begun - 4, "what had ended is committed"
        api.wait_for_run(dag, run, 120)
        body = {"dag_run_id": run, "task_ids": ["train.shards"], "dry_run": False, "include_downstream": True}
        api.request("POST", f"/dags/{dag}/clearTaskInstances", body={**body, "only_failed": False})
        wait_for(lambda: done() == 120, 300)
        assert api.wait_for_run(dag, run, 180) == "success"
        board = api.xcom(dag, run, "train.collect")
    assert (board["trials"], board["succeeded"]) == (120, 120)
    runs = [len(file.read_text().split()) for file in counts.iterdir()]
    assert (len(runs), sum(runs) - 120 <= 4) == (120, True), "only what was in flight ran twice"


def _workers(counts: Path) -> set[int]:
    """Return the processes that ran trials and are still there."""
    pids = {int(pid) for file in counts.iterdir() for pid in file.read_text().split()}
    return {pid for pid in pids if _command(pid)}


def _command(pid: int) -> bool:
    try:
        return b"airflow_ml.runtime" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
