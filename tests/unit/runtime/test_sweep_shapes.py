"""Sweeps that are no search with groups: listed trials, spread points, conditions, one big study in batches."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import plan_of

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.space import parse_space
from airflow_ml.core.trials import TrialResult
from airflow_ml.errors import CallFailed, ConfigurationError, InvalidSpace, MissingDependency
from airflow_ml.runtime.codecs import load_value
from airflow_ml.runtime.leaderboard import collect, committed_results, read_rows
from airflow_ml.runtime.low_discrepancy import spread_points
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.sequence import Sequences
from airflow_ml.runtime.shard import planned_trials
from airflow_ml.runtime.sweep_plan import shard_job

TEXT = "def train(data, params, trial):\n    return float(params['a'])"
UNIT = {
    "a": {"distribution": "uniform", "low": 0.0, "high": 1.0},
    "n": {"distribution": "int_uniform", "low": 1, "high": 8},
}


def run(plan: Any, store: Any, **options: Any) -> Any:
    return run_shard(shard_job(plan, 0, workers=2), store_uri=store.uri, log=lambda line: None, **options)


def test_listed_trials(tmp_path):
    listed = [{"a": 1, "how": "one"}, {"a": 2.5}]
    plan, store = plan_of(tmp_path, TEXT, space=None, trials=listed)
    assert [dict(trial.params) for trial in planned_trials(plan, store)] == [*listed, *listed]
    run(plan, store)
    board = collect(plan, store)
    assert (board.best.value, board.best.params, board.trials) == (2.5, {"a": 2.5}, 4)
    assert [row["param_how"] for row in read_rows(store.path(board.artifact))] == [None, "one", None, "one"]
    apart, _ = plan_of(tmp_path, TEXT, space=None, trials={"EWR": listed[:1], "JFK": listed})
    assert (apart.trials, apart.sweep != plan.sweep) == (3, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trials": [{"a": 1}]}, "either listed or searched for"),
        ({"space": None, "trials": []}, "not a list of parameters"),
        ({"space": None, "trials": ["a"]}, "not a list of parameters"),
        ({"space": None, "trials": {"EWR": [{"a": 1}]}}, "without a list: JFK"),
        ({"space": None, "trials": {"EWR": [{}], "JFK": [{}], "LGA": [{}]}}, "not in the data: LGA"),
        ({"space": None, "trials": [{"a": object()}]}, "not JSON"),
        ({"space": None}, "needs parameters"),
        ({"sampler": "QMCSampler", "batch_size": 4}, "QMCSampler runs one trial after the other"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, options, said):
    with pytest.raises(InvalidSpace, match=said):
        plan_of(tmp_path, TEXT, **options)


def test_a_batch_has_trials(tmp_path):
    with pytest.raises(ConfigurationError, match="batch_size=0"):
        plan_of(tmp_path, TEXT, batch_size=0)


KEPT = """
def train(data, params, trial):
    return params["a"], {"mean": float(data.train.y.mean()), "a": params["a"]}
"""


def test_the_best_models_of_each_group_are_kept(tmp_path):
    plan, store = plan_of(tmp_path, KEPT, space=UNIT, trials_per_group=4, keep_top=2)
    assert run(plan, store).failed == 0
    rows = list(read_rows(store.path(collect(plan, store).artifact)))
    for group in ("EWR", "JFK"):
        here = [row for row in rows if row["group"] == group]
        assert [row["model"] is not None for row in here] == [True, True, False, False]
        for row in here[:2]:
            model = load_value(Artifact.from_dict(json.loads(row["model"])), store)
            assert model["a"] == row["value"] == row["param_a"]
            assert 0 < model["mean"] < 1
    assert plan.sweep != plan_of(tmp_path, KEPT, space=UNIT, trials_per_group=4)[0].sweep


def test_a_function_that_returns_no_model_has_none_to_keep(tmp_path):
    plan, store = plan_of(tmp_path, TEXT, space=UNIT, keep_top=1)
    run(plan, store)
    (reason,) = {item.reason for item in committed_results(plan, store).values()}
    assert "keep_top keeps models, the function returned none: float. Return (metrics, model)." in reason
    with pytest.raises(ConfigurationError, match="keep_top counts models: -1"):
        plan_of(tmp_path, TEXT, keep_top=-1)


@pytest.mark.parametrize("sampler", ["sobol", "halton", "qmc"])
def test_spread_points_fill_the_space_evenly_and_are_planned(tmp_path, sampler):
    plan, store = plan_of(tmp_path, TEXT, space=UNIT, sampler=sampler, trials_per_group=16)
    trials = planned_trials(plan, store)
    for group in ("EWR", "JFK"):
        values = sorted(trial.params["a"] for trial in trials if trial.group == group)
        cells = {int(value * 8) for value in values}
        assert cells == set(range(8)), "a random sample of 16 leaves one of 8 cells empty in 2 of 3 cases"
    assert [t.params for t in trials[:16]] != [t.params for t in trials[16:]]
    more, _ = plan_of(tmp_path, TEXT, space=UNIT, sampler=sampler, trials_per_group=32)
    assert [t.params for t in planned_trials(more, store)[:16]] == [t.params for t in trials[:16]]


def test_spread_points_need_scipy(monkeypatch):
    monkeypatch.setattr("airflow_ml.runtime.low_discrepancy.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match="'sobol' needs a package: scipy"):
        spread_points(parse_space(UNIT), "sobol", groups=["a"], count=1, seed=1)


CONDITIONAL = {
    "kind": {"distribution": "choice", "values": ["flat", "deep"]},
    "depth": {
        "distribution": "when",
        "of": {"distribution": "int_uniform", "low": 1, "high": 9},
        "where": {"kind": ["deep"]},
    },
}
DEEP = """
def train(data, params, trial):
    assert ("depth" in params) == (params["kind"] == "deep")
    return float(params.get("depth", 0))
"""


@pytest.mark.parametrize("sampler", ["random", "grid", "sobol", "tpe"])
def test_conditional_parameters(tmp_path, sampler):
    plan, store = plan_of(tmp_path, DEEP, space=CONDITIONAL, sampler=sampler, trials_per_group=14, groups=("a",))
    assert run(plan, store).failed == 0
    rows = list(read_rows(store.path(collect(plan, store).artifact)))
    assert {row["param_kind"] for row in rows} == {"flat", "deep"}
    assert all((row["param_depth"] is None) == (row["param_kind"] == "flat") for row in rows)
    assert len(rows) == (10 if sampler == "grid" else 14)


SLOW = "def train(data, params, trial):\n    import time\n    time.sleep(0.05)\n    return -(params['a'] - 0.3) ** 2"


def test_one_big_study_runs_in_batches_is_durable_and_goes_on_with_the_same_choices(tmp_path):
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    options: dict[str, Any] = {"space": UNIT, "sampler": "tpe", "by": None, "trials_per_group": 24, "seed": 3}
    plan, store = plan_of(whole, SLOW, **options)
    assert (plan.batch_size, plan.shards, plan.trials) == (8, 1, 24)
    outcome = run(plan, store)
    assert (outcome.succeeded, outcome.workers) == (24, 2)
    chosen = {name: item.params for name, item in committed_results(plan, store).items()}
    assert len({str(params) for params in chosen.values()}) == 24

    again, other = plan_of(part, SLOW, **options)
    stop = threading.Event()

    def stop_soon() -> None:
        limit = time.monotonic() + 60
        while len(committed_results(again, other)) < 11 and time.monotonic() < limit:
            time.sleep(0.01)
        stop.set()

    thread = threading.Thread(target=stop_soon)
    thread.start()
    with pytest.raises(CallFailed, match="Stopped"):
        run(again, other, stop=stop)
    thread.join()
    assert 11 <= len(committed_results(again, other)) < 24
    assert run(again, other).ran < 14
    assert {name: item.params for name, item in committed_results(again, other).items()} == chosen


def test_a_batch_waits_for_the_one_before_and_learns_from_all_of_it(tmp_path):
    plan, store = plan_of(tmp_path, TEXT, space=UNIT, sampler="tpe", by=None, trials_per_group=7, batch_size=3)
    trials = planned_trials(plan, store)
    done: dict[str, TrialResult] = {
        "t00001": TrialResult(trial="t00001", status="succeeded", metrics={"score": 1.0}, params={"a": 0.1, "n": 2})
    }
    sequences = Sequences(trials, done, metrics=["score"], batch_size=3)
    assert [(one["trial"], one["position"], one["history"]) for one in sequences.first()] == [
        ("t00000", 0, []),
        ("t00002", 2, []),
    ]
    assert sequences.after(TrialResult(trial="t00002", status="failed", reason="x")) == []
    second = sequences.after(TrialResult(trial="t00000", status="succeeded", metrics={"score": 2.0}))
    assert [one["trial"] for one in second] == ["t00003", "t00004", "t00005"]
    assert [line["values"] for line in second[2]["history"]] == [[2.0], [1.0], [None]]
    for name in ("t00005", "t00003"):
        assert sequences.after(TrialResult(trial=name, status="succeeded", metrics={"score": 0.0})) == []
    (last,) = sequences.after(TrialResult(trial="t00004", status="succeeded", metrics={"score": 0.0}))
    assert (last["trial"], last["position"], len(last["history"])) == ("t00006", 6, 6)
    assert sequences.after(TrialResult(trial="t00006", status="succeeded", metrics={"score": 0.0})) == []
