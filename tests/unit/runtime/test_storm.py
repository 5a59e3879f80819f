"""A sweep whose trials nearly all fail alike is stopped, and says why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import plan_of

from airflow_ml.core.trials import PlannedTrial, TrialResult
from airflow_ml.errors import SweepFailed
from airflow_ml.runtime.leaderboard import collect, committed_results, read_rows
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.shard import scouts_first
from airflow_ml.runtime.storm import STORM_TRIALS, Storm
from airflow_ml.runtime.sweep_plan import shard_job


def failed(reason: str) -> TrialResult:
    return TrialResult(trial="t", status="failed", reason=reason)


GOOD = TrialResult(trial="t", status="succeeded", metrics={"score": 1.0})


@given(st.lists(st.sampled_from(["good", "pruned", "a", "b"]), max_size=40))
def test_only_the_first_results_count_and_nearly_all_must_fail_alike(kinds):
    storm, said = Storm(), ""
    for kind in kinds:
        result = {"good": GOOD, "pruned": TrialResult(trial="t", status="pruned", reason="x")}.get(kind, failed(kind))
        said = said or storm.add(result)
    first = kinds[:STORM_TRIALS]
    alike = max(first.count("a"), first.count("b"))
    assert bool(said) == (len(first) == STORM_TRIALS and alike >= 19)


def test_numbers_and_addresses_do_not_make_another_error():
    storm = Storm()
    said = [storm.add(failed(f"OSError: no file /tmp/x{number} at 0x7f{number:02x}")) for number in range(20)]
    assert said[:-1] == [""] * 19
    assert said[-1] == "20 of the first 20 trials failed alike: OSError: no file /tmp/x0 at 0x7f00"


@given(st.integers(1, 60), st.integers(1, 5))
def test_scouts_come_from_as_many_groups_as_there_are(groups, per_group):
    trials = [
        PlannedTrial(trial=f"t{g:03d}{n}", group=f"g{g}", shard=0, params={}, seed=0)
        for g in range(groups)
        for n in range(per_group)
    ]
    order = scouts_first(trials)
    assert sorted(order, key=lambda item: item.trial) == trials
    assert len({item.group for item in order[:STORM_TRIALS]}) >= min(groups, STORM_TRIALS)


BROKEN = "def train(data, params, trial):\n    raise KeyError('column')\n"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_broken_function_is_not_run_to_the_end(tmp_path, sampler, workers):
    groups = tuple(f"g{number:02d}" for number in range(30))
    plan, store = plan_of(tmp_path, BROKEN, groups=groups, trials_per_group=10, sampler=sampler)
    lines: list[str] = []
    outcome = run_shard(shard_job(plan, 0, workers=workers), store_uri=store.uri, log=lines.append)
    assert outcome.stopped == "20 of the first 20 trials failed alike: KeyError: 'column'"
    assert outcome.ran == outcome.failed == STORM_TRIALS
    assert "280 of 300 trials were not started" in lines[-1]
    results = committed_results(plan, store)
    assert len(results) == 20
    group_of = {trial: int(trial[1:]) // 10 for trial in results}
    # Each further worker may end a group's second trial while the last group's first one still runs.
    assert len(set(group_of.values())) >= STORM_TRIALS - (workers - 1)
    with pytest.raises(SweepFailed) as caught:
        collect(plan, store)
    text = str(caught.value)
    assert "0 of 300 trials succeeded, none did: most common error (20 times): KeyError: 'column'; 280 trials" in text
    again = run_shard(shard_job(plan, 0, workers=workers), store_uri=store.uri, log=lines.append)
    assert (again.ran, len(committed_results(plan, store))) == (20, 40)


def test_one_bad_group_is_no_storm(tmp_path):
    text = "def train(data, params, trial):\n    assert trial.group != 'g0'\n    return 1.0\n"
    groups = tuple(f"g{number}" for number in range(4))
    plan, store = plan_of(tmp_path, text, groups=groups, trials_per_group=30, min_success_fraction=0.7)
    outcome = run_shard(shard_job(plan, 0, workers=2), store_uri=store.uri, log=lambda line: None)
    assert (outcome.ran, outcome.failed, outcome.stopped) == (120, 30, "")
    board: Any = collect(plan, store)
    assert (board.failed, board.not_run, board.groups_without_success) == (30, 0, ("g0",))
    assert {row["status"] for row in read_rows(store.path(board.artifact))} == {"succeeded", "failed"}
