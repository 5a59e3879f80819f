"""``airflow-ml sweep`` over a real store, while a sweep runs and afterwards."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))
from sweep_parts import plan_of

from airflow_ml.cli import main
from airflow_ml.cli import sweep as verb
from airflow_ml.core.provenance import Handle, Provenance, index_ref, run_ref, task_ref
from airflow_ml.core.record import encode
from airflow_ml.core.shards import shard_ref
from airflow_ml.core.trials import TrialResult
from airflow_ml.runtime.ledger import Ledger

TEXT = "def train(data, params, trial):\n    return 1.0\n"


def told(store: Any, task: str, *, outputs: tuple[Handle, ...] = (), ago_seconds: float = 0.0) -> None:
    """Write a task's provenance as an operator does."""
    now = datetime.now(UTC) - timedelta(seconds=ago_seconds)
    record = Provenance(
        dag="d", run="r1", task=task, namespace="prod", operator="X", airflow_ml="0", python="3", platform="x", cpu="x",
        cpus=2, environment="e", beside=outputs, started_at=now, ended_at=now, outcome="succeeded",
    )  # fmt: skip
    head = {"dag": "d", "run": "r1", "namespace": "prod", "started_at": encode(now), "triggered_by": "manual"}
    if store.latest(run_ref("prod", "d", "r1")) is None:
        store.append(index_ref("prod", "d"), head, after=0)
        store.append(run_ref("prod", "d", "r1"), head, after=0)
    store.append(task_ref("prod", "d", "r1", task, -1), record.to_dict(), after=0)


@pytest.fixture
def place(tmp_path: Path) -> Any:
    plan, store = plan_of(tmp_path, TEXT, direction="minimize")
    handle = Handle(name="plan", record="SweepPlan", digest=plan.fingerprint, contains={}, value=plan.to_dict())
    told(store, "train.plan", outputs=(handle,), ago_seconds=100.0)
    book = Ledger(store, shard_ref(plan.sweep, 0, plan.shards), batch_seconds=1000.0)
    for number, (status, value) in enumerate(
        [("succeeded", 0.5), ("succeeded", 0.25), ("failed", 0.0), ("pruned", 0.0)]
    ):
        metrics = {"score": value} if status == "succeeded" else {}
        book.add(TrialResult(trial=f"t{number + 1:05d}", status=status, metrics=metrics))
    book.flush()
    return store, book


def test_how_far_it_is_by_group(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = place
    assert main(["sweep", "d/latest", "--store", store.uri]) == 0
    head, names, first, second = capsys.readouterr().out.splitlines()
    assert head.startswith("train: 4 of 8 trials, 1 failed, 1 pruned, best score 0.25 (t00002 {'n': ")
    assert head.endswith(" s to go")
    assert names.split() == ["group", "trials", "finished", "failed", "pruned", "best", "best_trial"]
    assert first.split() == ["EWR", "4", "3", "1", "0", "0.25", "t00002"]
    assert second.split() == ["JFK", "4", "1", "0", "1"]


def test_as_json_with_the_time_to_go(place: Any, capsys: pytest.CaptureFixture[str]) -> None:
    store, _ = place
    assert main(["sweep", "d/r1", "--store", store.uri, "--output", "json", "--task", "train"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert 100 <= found["eta_seconds"] < 200
    assert (found["total"]["finished"], found["total"]["best_trial"]) == (4, "t00002")


def test_watching_ends_with_the_leaderboard(
    place: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, book = place
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 1:
            for number in (0, 5, 6, 7):
                result = TrialResult(trial=f"t{number:05d}", status="succeeded", metrics={"score": 0.125})
                book.add(result)
            book.flush()
        else:
            told(store, "train.collect")

    monkeypatch.setattr(verb.time, "sleep", sleep)
    assert main(["sweep", "d/latest", "--store", store.uri, "--watch"]) == 0
    assert looks == [verb.WATCH_SECONDS] * 2
    out = capsys.readouterr().out
    assert "8 of 8 trials, 1 failed, 1 pruned, best score 0.125" in " ".join(out.split())


@pytest.mark.parametrize("options", [[], ["--task", "other"]])
def test_a_run_without_a_sweep(place: Any, tmp_path: Path, options: list[str], capsys: Any) -> None:
    store, _ = place
    address = "d/latest" if options else "none/latest"
    assert main(["sweep", address, "--store", store.uri, *options]) == 1
    assert "no" in capsys.readouterr().err
