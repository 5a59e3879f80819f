"""What a trial may do wrong by itself stays with that trial, and what a plan cannot mean is refused when it is made."""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import plan_of

from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.core.shards import shard_ref
from airflow_ml.core.trials import PlannedTrial, TrialResult
from airflow_ml.errors import ConfigurationError, EmptyDataset, SweepFailed
from airflow_ml.runtime.leaderboard import collect, committed_results, read_rows, sorted_rows
from airflow_ml.runtime.ledger import Ledger
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.shard import planned_trials
from airflow_ml.runtime.sweep_plan import read_groups, shard_job
from airflow_ml.runtime.trial import check_metric, read_metrics

TEXT = r"""
def train(data, params, trial, config):
    config.setdefault("seen", []).append(trial.id)  # a constant of its own for each trial
    X = data.train.X
    X.iloc[0, 0] = 1e9
    if data.train.X.iloc[0, 0] == 1e9:
        raise ValueError("what one trial does to its rows, the next one sees")
    many, name = [(0, "fine"), (0, "n\udcffo"), (50_000, "fine"), (0, "x" * 2_000_000), (3, "fine")][params["case"]]
    return {"score": float(len(config["seen"])), name: 1.0, **{f"m{number}": 1.0 for number in range(many)}}
"""


def test_what_a_trial_returns_or_changes_harms_itself_only(tmp_path: Path) -> None:
    plan, store = plan_of(
        tmp_path, TEXT, groups=("EWR",), space=None, trials=[{"case": number} for number in range(5)],
        constants={"config": {"a": [1]}}, min_success_fraction=0.2,
    )  # fmt: skip
    run_shard(shard_job(plan, 0, workers=1), store_uri=store.uri, log=lambda line: None)
    found = committed_results(plan, store)
    ends = {trial.params["case"]: found[trial.trial] for trial in planned_trials(plan, store)}
    assert [ends[number].status for number in (0, 1, 4)] == ["succeeded"] * 3, [one.reason for one in ends.values()]
    assert {one.metrics["score"] for one in ends.values() if one.status == "succeeded"} == {1.0}
    assert ends[1].metrics["n?o"] == 1.0
    assert (ends[2].status, "50002 metrics" in ends[2].reason) == ("failed", True)
    assert (ends[3].status, "2000000 characters" in ends[3].reason) == ("failed", True)
    assert collect(plan, store).succeeded == 3


def test_where_a_function_fails_is_shown_once_and_in_what_the_sweep_fails_with(tmp_path: Path) -> None:
    text = (
        "\ndef train(data, params):\n    rows = data.train.X\n    raise ValueError(f'no luck with {len(rows)} rows')\n"
    )
    plan, store = plan_of(tmp_path, text, groups=("EWR",), trials_per_group=3)
    lines: list[str] = []
    run_shard(shard_job(plan, 0, workers=1), store_uri=store.uri, log=lines.append)
    told = "\n".join(lines)
    assert told.count("in train") == told.count("later ones alike") == 1
    with pytest.raises(SweepFailed, match=r"(?s)3 times.*line 4, in train.*ValueError: no luck with"):
        collect(plan, store)


def _result(name: str, **changes: Any) -> TrialResult:
    return TrialResult(**{"trial": name, "status": "succeeded", "metrics": {"score": 1.0}, **changes})


@pytest.mark.parametrize(
    "poison",
    [{"reason": "\udcff"}, {"notes": {"a": "x" * (2 << 20)}}, {"params": {"a": float("nan")}}],
    ids=["no text", "too large", "no JSON"],
)
def test_a_result_that_cannot_be_committed_is_a_failure_of_its_trial(poison: dict[str, Any]) -> None:
    store = MemoryStore()
    ledger = Ledger(store, "sweeps/s/0", batch_seconds=1e9)
    for result in (_result("t0"), _result("t1", **poison), _result("t2")):
        ledger.add(result)
    ledger.flush()
    again = Ledger(store, "sweeps/s/0", batch_seconds=1e9).results
    assert {name: one.status for name, one in again.items()} == {"t0": "succeeded", "t1": "failed", "t2": "succeeded"}
    assert "cannot be committed" in again["t1"].reason


def _grouped(tmp_path: Path, values: pa.Array) -> Path:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"split": ["train"] * len(values), "by": values}), path)
    return path


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (pa.array([0.1 + 0.2, 1e300]), ["0.30000000000000004", "1e+300"]),
        (pa.array([True, False]), ["False", "True"]),
        (pa.array([dt.date(2026, 1, 1)]), ["2026-01-01"]),
        (pa.array([dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]), ["2026-01-01 00:00:00+00:00"]),
        (pa.array(["Zürich/ä", "", " 日本\n"]), ["", " 日本\n", "Zürich/ä"]),
        (pa.array(["y", "x"]).dictionary_encode(), ["x", "y"]),
    ],
)
def test_groups_of_many_types_have_names(tmp_path: Path, values: pa.Array, names: list[str]) -> None:
    assert read_groups(_grouped(tmp_path, values), "by") == names


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        (pa.array([1.0, float("nan")]), EmptyDataset, "nan"),
        (pa.array(["a", None]), EmptyDataset, "null"),
        (pa.array([b"x"]), ConfigurationError, "binary"),
        (pa.array([dt.time(1)]), ConfigurationError, "time64"),
        (pa.array([[1]]), ConfigurationError, "list"),
    ],
)
def test_groups_that_cannot_be_found_again_by_name_are_refused(
    tmp_path: Path, values: pa.Array, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        read_groups(_grouped(tmp_path, values), "by")


def test_of_equal_trials_the_one_whose_model_is_kept_comes_first(tmp_path: Path) -> None:
    plan, store = plan_of(tmp_path, "def train(data, params):\n    return 1.0, 1", keep_top=1, groups=("EWR",))
    trials: list[PlannedTrial] = planned_trials(plan, store)
    model = store.put_bytes(b"m", format="bytes").to_dict()
    results = {
        trial.trial: _result(trial.trial, seconds=9.0 - number, model=model if number == 0 else {})
        for number, trial in enumerate(trials)
    }
    rows = sorted_rows(plan, trials, results, {})
    assert rows[0]["trial"] == trials[0].trial, "the others are faster, and have no model"


def test_equal_trials_of_a_run_have_a_model(tmp_path: Path) -> None:
    text = "def train(data, params):\n    return 1.0, {'n': params['n']}\n"
    plan, store = plan_of(tmp_path, text, keep_top=1, groups=("EWR",), trials_per_group=6)
    run_shard(shard_job(plan, 0, workers=2), store_uri=store.uri, log=lambda line: None)
    rows = list(read_rows(store.path(collect(plan, store).artifact)))
    assert [row["model"] is not None for row in rows] == [True, *[False] * 5]


def test_trials_listed_by_group_are_found_by_the_groups_name(tmp_path: Path) -> None:
    text = "def train(data, params):\n    return 1.0\n"
    by_group = {1: [{"a": 1}], "2": [{"a": 2}]}
    plan, store = plan_of(tmp_path, text, groups=("1", "2"), space=None, trials=by_group)
    assert [(trial.group, trial.params["a"]) for trial in planned_trials(plan, store)] == [("1", 1), ("2", 2)]


def test_a_leaderboard_without_groups_begins_every_group(tmp_path: Path) -> None:
    text = "def train(data, params):\n    return 1.0\n"
    plan, store = plan_of(tmp_path, text, warm_start={"all": [{"n": 7}]})
    firsts = {trial.group: trial.params for trial in reversed(planned_trials(plan, store))}
    assert firsts == {"EWR": {"n": 7}, "JFK": {"n": 7}}
    same, _ = plan_of(tmp_path, text, warm_start={"EWR": [{"n": 7}], "JFK": [{"n": 7}]})
    assert same.sweep == plan.sweep


@pytest.mark.parametrize("returned", [("model", {"score": 1.0}), ("model", 0.5)])
def test_a_model_before_its_metrics_is_told(returned: tuple[Any, Any]) -> None:
    problem = check_metric(read_metrics(returned, "score"), "score")
    assert "(metrics, model)" in problem


def test_groups_without_a_success_are_named(tmp_path: Path) -> None:
    text = "def train(data, params):\n    return 1.0\n"
    plan, store = plan_of(tmp_path, text, trials_per_group=1, min_success_fraction=0.9)
    first, second = planned_trials(plan, store)
    ledger = Ledger(store, shard_ref(plan.sweep, 0, plan.shards), batch_seconds=1e9)
    ledger.add(_result(first.trial))
    ledger.add(TrialResult(trial=second.trial, status="failed", reason="ValueError"))
    ledger.flush()
    with pytest.raises(SweepFailed, match="no success in JFK"):
        collect(plan, store)
