"""Samplers and pruners of Optuna, as objects, classes and plain data."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
from optuna.samplers.nsgaii import SBXCrossover

sys.path.insert(0, str(Path(__file__).parent))
from sweep_parts import plan_of

from airflow_ml.core.sampler import LEARNING, in_sequence, read_choice
from airflow_ml.errors import InvalidSpace, MissingDependency, NotPortable
from airflow_ml.runtime.leaderboard import collect, committed_results
from airflow_ml.runtime.optuna_parts import build, describe, require_optuna
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.sweep_plan import shard_job

samplers, pruners = optuna.samplers, optuna.pruners


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: samplers.TPESampler(), {}),
        (
            lambda: samplers.TPESampler(n_startup_trials=3, multivariate=True, seed=9),
            {"n_startup_trials": 3, "multivariate": True},
        ),
        (
            lambda: samplers.TPESampler(n_ei_candidates=7, constant_liar=False),
            {"n_ei_candidates": 7, "constant_liar": False},
        ),
        (
            lambda: samplers.NSGAIISampler(population_size=8, mutation_prob=0.2),
            {"population_size": 8, "mutation_prob": 0.2},
        ),
        (
            lambda: samplers.NSGAIISampler(crossover=SBXCrossover(eta=3.0)),
            {"crossover": {"optuna": "SBXCrossover", "options": {"eta": 3.0}}},
        ),
        (lambda: samplers.CmaEsSampler(n_startup_trials=4, popsize=6), {"n_startup_trials": 4, "popsize": 6}),
        (lambda: samplers.QMCSampler(qmc_type="halton", scramble=True), {"qmc_type": "halton", "scramble": True}),
        (lambda: pruners.PercentilePruner(25.0, n_warmup_steps=2), {"percentile": 25.0, "n_warmup_steps": 2}),
        (lambda: pruners.SuccessiveHalvingPruner(min_resource=2), {"min_resource": 2}),
        (lambda: pruners.HyperbandPruner(max_resource=27), {"max_resource": 27}),
        (
            lambda: pruners.PatientPruner(pruners.MedianPruner(n_startup_trials=2), patience=3),
            {"wrapped_pruner": {"optuna": "MedianPruner", "options": {"n_startup_trials": 2}}, "patience": 3},
        ),
    ],
)  # fmt: skip
def test_an_object_becomes_plain_data_and_comes_back(make: Any, options: dict[str, Any]) -> None:
    part = make()
    wire = json.loads(json.dumps(describe(part)))
    assert wire == {"optuna": type(part).__name__, "options": options}
    assert describe(build(wire["optuna"], wire["options"])) == wire


class OwnSampler(samplers.RandomSampler):
    """Not Optuna's own."""


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: OwnSampler(), "of Optuna itself .* OwnSampler"),
        (lambda: samplers.TPESampler(gamma=lambda number: 3), "Not all options of this TPESampler can be read"),
        (lambda: object(), "of Optuna itself .* object"),
        (lambda: samplers.GPSampler(deterministic_objective=True), "Not all options of this GPSampler can be read"),
    ],
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_what_cannot_travel_is_refused(make: Any, said: str) -> None:
    try:
        part = make()
    except ImportError:  # the class itself needs a package
        pytest.skip("GPSampler needs torch")
    with pytest.raises(NotPortable, match=said):
        describe(part)


def test_names_are_looked_up() -> None:
    assert read_choice("qmc", kind="Sampler") == ("sobol", {})
    assert read_choice({"optuna": "GPSampler"}, kind="Sampler") == ("GPSampler", {})
    assert not in_sequence("sobol", None)
    assert in_sequence("GPSampler", None)
    for value in ("best", "BaseSampler", 3, {"optuna": "TPESampler", "seed": 1}, None):
        with pytest.raises(InvalidSpace, match="Unknown sampler"):
            read_choice(value, kind="Sampler")
    with pytest.raises(InvalidSpace, match="Unknown pruner: 'axe'"):
        read_choice("axe", kind="Pruner")
    with pytest.raises(InvalidSpace, match="no such class: NoSuchSampler"):
        require_optuna("NoSuchSampler", None)
    with pytest.raises(InvalidSpace, match=r"refuses its options: .*unexpected keyword"):
        build("TPESampler", {"colour": 1})


TEXT = "def train(data, params, trial):\n    return {'score': params['x'], 'cost': (params['x'] - 1) ** 2}"
SPACE = {"x": {"distribution": "uniform", "low": -5.0, "high": 5.0}}


@pytest.mark.parametrize("sampler", list(LEARNING))
def test_each_sampler_runs_or_names_the_package_it_needs(tmp_path: Path, sampler: str) -> None:
    package = LEARNING[sampler][1]
    if package is not None and find_spec(package) is None:
        with pytest.raises(MissingDependency, match=f"sampler '{sampler}' needs a package: {package}"):
            plan_of(tmp_path, TEXT, space=SPACE, sampler=sampler)
        return
    plan, store = plan_of(tmp_path, TEXT, space=SPACE, sampler=sampler, trials_per_group=3, groups=("a",))
    run_shard(shard_job(plan, 0), store_uri=store.uri, log=lambda line: None)
    assert len({str(item.params) for item in committed_results(plan, store).values()}) == 3


def test_options_count_and_are_part_of_the_identity(tmp_path: Path) -> None:
    found = {}
    for number, startup in enumerate((2, 50)):
        sampler = describe(samplers.TPESampler(n_startup_trials=startup))
        folder = tmp_path / str(number)
        folder.mkdir()
        plan, store = plan_of(folder, TEXT, space=SPACE, sampler=sampler, trials_per_group=12, groups=("a",))
        assert (plan.sampler, plan.sampler_options["n_startup_trials"]) == ("TPESampler", startup)
        run_shard(shard_job(plan, 0), store_uri=store.uri, log=lambda line: None)
        found[plan.sweep] = [item.params["x"] for _, item in sorted(committed_results(plan, store).items())]
    first, second = found.values()
    assert first[:2] == second[:2]
    assert first[2:] != second[2:]


def test_several_objectives(tmp_path: Path) -> None:
    plan, store = plan_of(
        tmp_path, TEXT, space=SPACE, sampler="nsgaii", trials_per_group=16, groups=("a",), batch_size=4,
        also={"cost": "minimize"},
    )  # fmt: skip
    run_shard(shard_job(plan, 0, workers=2), store_uri=store.uri, log=lambda line: None)
    board = collect(plan, store)
    assert (board.metric, board.also) == ("score", {"cost": "minimize"})
    rows = pq.read_table(store.path(board.artifact)).to_pylist()
    front = [row for row in rows if row["pareto"]]
    assert rows[0]["pareto"], "the best by the first objective is beaten by none"
    assert 1 <= len(front) < len(rows)
    for row in rows:
        x, cost = row["param_x"], (row["param_x"] - 1) ** 2
        beaten = any(
            other["param_x"] >= x and (other["param_x"] - 1) ** 2 <= cost and other["trial"] != row["trial"]
            for other in rows
        )
        assert row["pareto"] == (not beaten)
    for options, said in (
        ({"pruner": "median"}, "pruner 'median' knows one objective only: score, cost"),
        ({"sampler": "CmaEsSampler"}, "sampler 'CmaEsSampler' knows one objective only"),
    ):
        with pytest.raises(InvalidSpace, match=said):
            plan_of(tmp_path, TEXT, space=SPACE, also={"cost": "minimize"}, **options)
