"""Workers that die at random, by seed: every trial has exactly one result, and none is lost."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from faulty_runner import DUPLICATE_SHARE
from sweep_parts import plan_of

from airflow_ml.core.shards import shard_ref
from airflow_ml.errors import CallFailed
from airflow_ml.runtime.leaderboard import collect, read_rows
from airflow_ml.runtime.ledger import BATCH_TRIALS
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.sweep_plan import shard_job

#: Share of trials whose process kills itself, before or after its work.
KILLED_SHARE = 0.05
MORTAL = """
def train(data, params, trial):
    import os, random, signal
    doomed = random.Random(f"kill {trial.seed}").random() < SHARE
    with open(f"{params['folder']}/{trial.id}", "ab", buffering=0) as file:
        file.write(b"x")
    if doomed:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0
""".replace("SHARE", str(KILLED_SHARE))


@pytest.mark.parametrize(
    ("groups", "per_group", "shards"),
    [
        (8, 50, 3),
        pytest.param(200, 100, 8, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_every_trial_has_exactly_one_result_although_workers_die(tmp_path, groups, per_group, shards):
    counts = tmp_path / "counts"
    counts.mkdir()
    plan, store = plan_of(
        tmp_path, MORTAL, groups=tuple(f"g{number:03d}" for number in range(groups)), trials_per_group=per_group,
        max_shards=shards, min_success_fraction=0.9, seed=11,
        space={"folder": {"distribution": "choice", "values": [str(counts)]}},
    )  # fmt: skip
    outcomes = [
        run_shard(shard_job(plan, shard, workers=2), store_uri=store.uri, log=lambda line: None)
        for shard in range(plan.shards)
    ]
    total = groups * per_group
    assert sum(outcome.ran for outcome in outcomes) == total
    committed = [name for shard in range(plan.shards) for name in _committed(plan, store, shard)]
    assert len(committed) == len(set(committed)) == total
    runs = {file.name: file.stat().st_size for file in counts.iterdir()}
    assert runs == dict.fromkeys(committed, 1)
    board = collect(plan, store)
    kinds = Counter(row["status"] for row in read_rows(store.path(board.artifact)))
    assert set(kinds) == {"succeeded", "killed"}
    assert 0.5 * KILLED_SHARE < kinds["killed"] / total < 2 * KILLED_SHARE
    again = run_shard(shard_job(plan, 0, workers=2), store_uri=store.uri, log=lambda line: None)
    assert again.ran == 0


@pytest.mark.fault("A1")
@pytest.mark.parametrize(
    ("groups", "per_group", "shards", "seed"),
    [
        (8, 50, 2, 5),
        pytest.param(200, 100, 8, 11, marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
    ],
)
def test_kills_duplicates_and_late_reports_leave_one_result_of_each_trial(
    tmp_path, record_property, groups, per_group, shards, seed
):
    counts = tmp_path / "counts"
    counts.mkdir()
    plan, store = plan_of(
        tmp_path, MORTAL, groups=tuple(f"g{number:03d}" for number in range(groups)), trials_per_group=per_group,
        max_shards=shards, min_success_fraction=0.9, seed=seed,
        space={"folder": {"distribution": "choice", "values": [str(counts)]}},
    )  # fmt: skip
    total, luck, deaths, superseded = groups * per_group, random.Random(seed), 0, 0
    job, faults = tmp_path / "job.json", tmp_path / "faults"
    script = str(Path(__file__).parent / "faulty_runner.py")
    for shard in range(plan.shards):
        job.write_text(json.dumps(shard_job(plan, shard, workers=2).to_dict()))
        for attempt in range(3):
            # The runner itself is killed twice somewhere in the shard.
            die_after = luck.randrange(60, total // shards // 2) if attempt < 2 else 0
            command = [sys.executable, script, str(job), store.uri, str(luck.random()), str(die_after), str(faults)]
            done = subprocess.run(command, capture_output=True, text=True)
            deaths += done.returncode == -signal.SIGKILL
            assert done.returncode in (0, -signal.SIGKILL), done.stderr[-2000:]
            superseded += int(done.stdout.split()[-1]) if done.returncode == 0 else 0
    committed = [name for shard in range(plan.shards) for name in _committed(plan, store, shard)]
    assert len(committed) == len(set(committed)) == total, "every trial has one result, none is lost"
    board = collect(plan, store)
    rows = list(read_rows(store.path(board.artifact)))
    assert Counter(row["status"] for row in rows)["lost"] == 0
    # First commit wins: of a late one the rival's value counts, of one that is told twice the first value.
    assert {row["value"] for row in rows if row["status"] == "succeeded"} == {1.0, 2.0}
    runs = {file.name: file.stat().st_size for file in counts.iterdir()}
    again = sum(runs.values()) - total
    # In flight when the runner died: the results of the last 50 ms, 50 at most, and what its two workers ran.
    told = Counter(faults.read_text())
    assert again <= deaths * (BATCH_TRIALS + 2)
    assert deaths == 2 * plan.shards
    assert superseded > 0
    assert 0.5 * total * DUPLICATE_SHARE < told["d"] < 2 * total * DUPLICATE_SHARE
    assert told["l"] > 0
    figures = {"trials": total, "runner deaths": deaths, "run again": again, "told twice": told["d"], "late": told["l"]}
    record_property("faults", figures)
    print(figures)


RUNNER_KILLED = """
def train(data, params, trial):
    import os, pathlib, random, signal, time
    with open(f"{params['folder']}/{trial.id}", "ab", buffering=0) as file:
        file.write(b"x")
    mark = pathlib.Path(params["folder"] + "-dead", trial.id)
    if random.Random(f"kill {trial.seed}").random() < SHARE and not mark.exists():
        mark.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(30)
    time.sleep(0.06)  # longer than a commit may be behind: it is durable before its worker begins another
    return 1.0
""".replace("SHARE", str(KILLED_SHARE))


@pytest.mark.fault("A1")
def test_a_runner_that_dies_again_and_again_repeats_only_what_was_in_flight(tmp_path):
    counts, dead = tmp_path / "counts", tmp_path / "counts-dead"
    counts.mkdir()
    dead.mkdir()
    plan, store = plan_of(
        tmp_path, RUNNER_KILLED, trials_per_group=30, seed=4,
        space={"folder": {"distribution": "choice", "values": [str(counts)]}},
    )  # fmt: skip
    died = 0
    while True:
        try:
            outcome = run_shard(shard_job(plan, 0, workers=2), store_uri=store.uri, log=lambda line: None)
            break
        except CallFailed:
            died += 1
            assert died <= 60
    assert died == len(list(dead.iterdir())) > 1
    assert outcome.succeeded == 60
    committed = _committed(plan, store, 0)
    assert len(committed) == len(set(committed)) == 60
    runs = {file.name: file.stat().st_size for file in counts.iterdir()}
    assert set(runs) == set(committed)
    assert sum(runs.values()) - 60 <= 2 * died


def _committed(plan: Any, store: Any, shard: int) -> list[str]:
    history = store.history(shard_ref(plan.sweep, shard, plan.shards))
    return [item["trial"] for entry in history for item in entry.value["trials"]]
