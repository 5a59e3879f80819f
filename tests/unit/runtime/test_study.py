"""Samplers and pruners of the real Optuna, in real runners."""

from __future__ import annotations

import json
import math
import random
import sys
import threading
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import plan_of

from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.sampler import PRUNERS
from airflow_ml.core.trials import PlannedTrial
from airflow_ml.errors import CallFailed, InvalidSpace, MissingDependency
from airflow_ml.runtime.leaderboard import collect, committed_results, read_rows
from airflow_ml.runtime.optuna_parts import require_optuna
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.study import StudyTrial, history_line
from airflow_ml.runtime.sweep_plan import shard_job

SPACE = {
    "x": {"distribution": "uniform", "low": -5.0, "high": 5.0},
    "rate": {"distribution": "log_uniform", "low": 1e-4, "high": 1.0},
    "depth": {"distribution": "int_uniform", "low": 1, "high": 9},
    "width": {"distribution": "log_int_uniform", "low": 1, "high": 512},
    "layers": {"distribution": "choice", "values": [[8], [8, 8], None, "none", 1, True]},
}


def run(plan: Any, store: Any, **options: Any) -> Any:
    return [
        run_shard(shard_job(plan, shard, workers=2), store_uri=store.uri, log=lambda line: None, **options)
        for shard in range(plan.shards)
    ]


def chosen(plan: Any, store: Any) -> dict[str, dict[str, Any]]:
    return {name: dict(item.params) for name, item in sorted(committed_results(plan, store).items())}


def rows_of(plan: Any, store: Any) -> list[dict[str, Any]]:
    board = collect(replace(plan, min_success_fraction=0.0), store)
    return list(read_rows(store.path(board.artifact)))


BOWL = """
def train(data, params, trial):
    loss = (params["x"] - 1) ** 2 + (params["depth"] - 4) ** 2 + (params["layers"] != [8, 8])
    if trial.id.endswith("7"):
        raise ValueError("seven")
    return {"score": -loss}
"""


def test_tpe_learns_and_its_choices_do_not_depend_on_workers_and_shards(tmp_path):
    plans = {}
    for name, shards in (("one", 1), ("many", 9)):
        (tmp_path / name).mkdir()
        plans[name] = plan_of(
            tmp_path / name, BOWL, space=SPACE, sampler="tpe", trials_per_group=40, max_shards=shards, seed=5
        )
        run(*plans[name])
    (one, store), (many, _) = plans["one"], plans["many"]
    assert one.sweep == many.sweep
    assert (one.shards, many.shards) == (1, 2)
    assert chosen(*plans["one"]) == chosen(*plans["many"])
    rows = rows_of(one, store)
    assert sum(row["status"] == "failed" for row in rows) == 8
    params = {row["trial"]: json.loads(row["params"]) for row in rows}
    assert all(set(item) == set(SPACE) for item in params.values())
    for group in ("EWR", "JFK"):
        values = [row["value"] for row in sorted(rows, key=lambda r: r["trial"]) if row["group"] == group]
        early, late = ([v for v in part if v is not None] for part in (values[:15], values[25:]))
        assert sum(late) / len(late) > sum(early) / len(early)
    kinds = {canonical_json(item["layers"]) for item in params.values()}
    assert kinds <= {canonical_json(value) for value in SPACE["layers"]["values"]}
    assert len(kinds) > 3
    assert params["t00000"] != params["t00040"]


SLOW = BOWL.replace("    loss =", "    import time; time.sleep(0.03)\n    loss =")


def test_a_killed_shard_goes_on_with_the_choices_it_would_have_made(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    options: dict[str, Any] = {"space": SPACE, "sampler": "tpe", "trials_per_group": 25, "seed": 5}
    whole = plan_of(tmp_path / "whole", BOWL, **options)
    run(*whole)
    plan, store = plan_of(tmp_path / "killed", SLOW, **options)
    stop = threading.Event()

    def stop_soon() -> None:
        limit = time.monotonic() + 30
        while len(committed_results(plan, store)) < 20 and time.monotonic() < limit:
            time.sleep(0.01)
        stop.set()

    thread = threading.Thread(target=stop_soon)
    thread.start()
    with pytest.raises(CallFailed, match="Stopped"):
        run(plan, store, stop=stop)
    thread.join()
    assert 20 <= len(committed_results(plan, store)) < 50
    (outcome,) = run(plan, store)
    assert outcome.ran < 31
    assert chosen(plan, store) == chosen(*whole)


CURVES = """
def train(data, params, trial):
    from math import exp
    for step in range(1, 28):
        trial.report(step, params["x"] * (1 - exp(-step / 5)))
        if trial.should_prune():
            STOP
    return params["x"]
"""


@pytest.mark.parametrize("pruner", ["median", "asha", "hyperband"])
@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_pruner_ends_hopeless_trials(tmp_path, pruner, sampler):
    stop = "return None" if pruner != "median" else "import optuna; raise optuna.TrialPruned"
    space = {"x": {"distribution": "uniform", "low": 0.0, "high": 1.0}}
    plan, store = plan_of(
        tmp_path, CURVES.replace("STOP", stop), space=space, sampler=sampler, pruner=pruner, trials_per_group=20
    )
    (outcome,) = run(plan, store)
    board = collect(plan, store)
    assert (board.failed, board.not_run) == (0, 0)
    assert board.pruned == outcome.pruned > 3
    assert board.succeeded == 40 - board.pruned
    results = committed_results(plan, store)
    pruned = [row for row in rows_of(plan, store) if row["status"] == "pruned"]
    assert all(row["value"] is None and row["reason"].startswith("pruned after") for row in pruned)
    assert all(0 < len(results[row["trial"]].reports) <= 27 for row in pruned)
    for group, names in (("EWR", range(20)), ("JFK", range(20, 40))):
        here = [results[f"t{number:05d}"] for number in names]
        values = [float(str(item.params["x"])) for item in here]
        expected = native(PRUNERS[pruner], f"{plan.sweep} {group}", values)
        assert [(item.status, len(item.reports)) for item in here] == expected


def native(pruner: str, name: str, values: list[float]) -> list[tuple[str, int]]:
    """What one long-lived study of Optuna does with trials of these values: how each ends, after how many reports."""
    study = optuna.create_study(study_name=name, direction="maximize", pruner=getattr(optuna.pruners, pruner)())
    ended: list[tuple[str, int]] = []
    for x in values:
        trial = study.ask()
        for step in range(1, 28):
            trial.report(x * (1 - math.exp(-step / 5)), step)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                ended.append(("pruned", step))
                break
        else:
            study.tell(trial, x)
            ended.append(("succeeded", 27))
    return ended


NEEDS_CMAES = pytest.mark.skipif(find_spec("cmaes") is None, reason="cmaes is not installed")


@pytest.mark.parametrize("sampler", ["nsgaii", "QMCSampler", pytest.param("cmaes", marks=NEEDS_CMAES)])
def test_other_samplers_pass_through(tmp_path, sampler):
    plan, store = plan_of(tmp_path, BOWL, space=SPACE, sampler=sampler, trials_per_group=12)
    run(plan, store)
    points = chosen(plan, store)
    assert len(points) == 24
    for names in (range(12), range(12, 24)):
        assert len({canonical_json(points[f"t{number:05d}"]["x"]) for number in names}) == 12


def test_a_trial_whose_process_dies_keeps_its_parameters(tmp_path):
    text = 'import os\n\ndef train(data, params, trial):\n    return os._exit(3) if trial.id == "t00003" else 1.0'
    plan, store = plan_of(tmp_path, text, space=SPACE, sampler="tpe", trials_per_group=8, groups=("a",))
    run(plan, store)
    result = committed_results(plan, store)["t00003"]
    assert (result.status, set(result.params)) == ("killed", set(SPACE))


def test_a_warm_start_comes_first(tmp_path):
    text = 'def train(data, params, trial):\n    return params["x"]'
    warm = {"a": [{"x": 2.5, "depth": 3, "layers": [8, 8]}]}
    plan, store = plan_of(
        tmp_path, text, space=SPACE, sampler="tpe", trials_per_group=3, groups=("a", "b"), warm_start=warm
    )
    run(plan, store)
    first = chosen(plan, store)["t00000"]
    assert {name: first[name] for name in warm["a"][0]} == warm["a"][0]
    assert set(first) == set(SPACE)


def test_steps_are_whole_numbers_with_a_pruner(tmp_path):
    text = "def train(data, params, trial):\n    trial.report(0.5, 1.0)\n    return 1.0"
    plan, store = plan_of(tmp_path, text, pruner="median", groups=("a",))
    run(plan, store)
    assert {item.reason for item in committed_results(plan, store).values()} == {
        "airflow_ml.errors.ConfigurationError: A pruner counts steps: step=0.5. Report whole numbers from 0 on."
    }


def test_what_is_not_installed_is_said_before_anything_runs(tmp_path, monkeypatch):
    text = "def train(data, params, trial):\n    return 1.0"
    monkeypatch.setattr("airflow_ml.runtime.optuna_parts.find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r"sampler 'tpe' needs a package: optuna. Install airflow-ml\[optuna\]"):
        plan_of(tmp_path, text, sampler="tpe")
    with pytest.raises(MissingDependency, match="pruner 'asha'"):
        require_optuna("random", "asha")
    require_optuna("random", None)
    monkeypatch.setattr(
        "airflow_ml.runtime.optuna_parts.find_spec", lambda name: object() if name == "optuna" else None
    )
    with pytest.raises(MissingDependency, match="sampler 'gp' needs a package: torch"):
        require_optuna("gp", None)
    with pytest.raises(InvalidSpace, match="Unknown sampler: 'bayes'"):
        plan_of(tmp_path, text, sampler="bayes")


def test_choices_are_a_function_of_seed_position_and_history_alone(tmp_path):
    text = "def train(data, params, trial):\n    return 1.0"
    plan, _ = plan_of(tmp_path, text, space=SPACE, sampler="tpe", seed=3)
    planned = PlannedTrial(trial="t1", group="EWR", shard=0, params={}, seed=1)
    history: list[Any] = []
    draw = random.Random(2)
    for number in range(15):
        first, second = (StudyTrial(plan, planned, history) for _ in range(2))
        assert first.params == second.params
        assert first.params not in [line["params"] for line in history]
        result = {"status": "succeeded", "params": first.params, "metrics": {"score": draw.random()}}
        history.append(history_line({**result, "notes": first.notes, "trial": f"t{number}"}, ["score"]))
        json.dumps(history)
