"""What is told of a shard."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import plan_of

from airflow_ml.core.shards import shard_ref
from airflow_ml.core.trials import TrialResult
from airflow_ml.runtime.job import Progress
from airflow_ml.runtime.ledger import Ledger
from airflow_ml.runtime.shard import planned_trials
from airflow_ml.runtime.shard_progress import ShardProgress
from airflow_ml.runtime.sweep_plan import shard_job

TEXT = "def train(data, params, trial):\n    return 1.0\n"


@pytest.mark.parametrize(("direction", "best"), [("maximize", (0.9, "JFK")), ("minimize", (0.1, "EWR"))])
def test_results_are_counted_once_whoever_ran_them(tmp_path, direction, best):
    plan, store = plan_of(tmp_path, TEXT, direction=direction, trials_per_group=3)
    ref = shard_ref(plan.sweep, 0, 1)
    mine, theirs = (Ledger(store, ref, batch_seconds=1000.0) for _ in range(2))
    told: list[Progress] = []
    mine.add(TrialResult(trial="t00000", status="succeeded", metrics={"score": 0.1}))
    mine.flush()
    watch = ShardProgress(shard_job(plan, 0), planned_trials(plan, store), mine, told.append, lambda line: None)
    watch.report(last=False)
    assert told == [], "two seconds are not over"
    mine.add(TrialResult(trial="t00001", status="failed", reason="x"))
    mine.add(TrialResult(trial="t00003", status="succeeded", metrics={"score": 0.9}))
    watch.ran += 2
    mine.flush()
    theirs.read()
    theirs.add(TrialResult(trial="t00002", status="pruned"))
    theirs.flush()
    mine.read()
    watch.report(last=True)
    (progress,) = told
    assert (progress.finished, progress.failed, progress.pruned, progress.trials) == (4, 1, 1, 6)
    assert (progress.best, progress.best_group) == best
    assert (progress.groups, progress.groups_done, dict(progress.just_done)) == (2, 1, {"EWR": 0.1})
    assert progress.eta_seconds == pytest.approx(progress.seconds)
    outcome = watch.outcome(2)
    assert (outcome.succeeded, outcome.failed, outcome.pruned, outcome.ran) == (2, 1, 1, 2)
    assert told[1].just_done == {}
