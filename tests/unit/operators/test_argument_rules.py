"""Arguments that cannot work are refused when the DAG file is parsed; templates and outputs of tasks pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk import DAG, XComArg, task

import airflow_ml
from airflow_ml.core.argument_rules import Rule
from airflow_ml.errors import AirflowMLError, ConfigurationError
from airflow_ml.operators.base import MLOperator
from airflow_ml.operators.sweep import CollectSweepOperator, PlanSweepOperator, RunShardOperator
from airflow_ml.operators.sweep_tracking import TrackSweepOperator

VIEW = airflow_ml.FeatureView("v", key="k", predict_at="p", label=airflow_ml.Label("y", known_at="z"), inputs=["a"])


def scale(value: float, a: Any = None) -> float:
    return value


def fit(data: Any, params: Any) -> float:
    return 1.0


#: Arguments with which each operator can be made.
GIVEN: dict[type[MLOperator], dict[str, Any]] = {
    airflow_ml.SnapshotDatasetOperator: {"sql": "SELECT 1"},
    airflow_ml.GateDatasetOperator: {"subject": {}, "expectations": "suite.json"},
    airflow_ml.BuildFeaturesOperator: {
        "view": VIEW,
        "spine": {},
        "split": airflow_ml.TimeSplit(validate="1d", test="1d"),
    },
    airflow_ml.SelectModelOperator: {"leaderboard": {}},
    airflow_ml.GateModelOperator: {
        "selection": {},
        "data": {},
        "checks": [airflow_ml.MinMetric("brier", at_most=0.2)],
    },
    airflow_ml.RegisterModelOperator: {"selection": {}, "name": "m"},
    airflow_ml.CallJobOperator: {"python_callable": scale, "inputs": [1]},
    airflow_ml.CanaryOperator: {"model": "m"},
    airflow_ml.ABTestOperator: {"model": "m"},
    airflow_ml.ShadowOperator: {"model": "m"},
    airflow_ml.RollbackOperator: {"model": "m", "reason": "because"},
    airflow_ml.ReapJobsOperator: {},
    airflow_ml.ReconcileRolloutsOperator: {},
    airflow_ml.PredictOperator: {"model": "m@champion", "spine": "SELECT 1", "into": "t"},
    airflow_ml.MonitorOperator: {"scores": {}},
    PlanSweepOperator: {
        "python_callable": fit,
        "data": {},
        "space": {"a": airflow_ml.Choice(1)},
        "metric": "auc",
        "direction": "maximize",
    },
    RunShardOperator: {"plan": {}, "shard": 0},
    CollectSweepOperator: {"plan": {}},
    TrackSweepOperator: {"leaderboard": {}},
}
#: Arguments that are checked by other means, or can be anything.
OTHERWISE = {"python_callable", "compute", "task_id", "plan", "notifiers", "drift_asset"}


def _made(kind: type[MLOperator], **changes: Any) -> MLOperator:
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        return kind(**{**GIVEN[kind], "task_id": "t", **changes})


def _arguments(kind: type[MLOperator]) -> list[str]:
    named = [base for base in kind.__mro__ if base.__module__.startswith("airflow_ml.") and base is not MLOperator]
    found = {name for base in named for name in inspect.signature(base.__init__).parameters}
    return sorted(found - {"self", "args", "kwargs"} - OTHERWISE)


@pytest.mark.parametrize("kind", GIVEN, ids=lambda kind: kind.__name__)
def test_every_argument_has_a_rule(kind: type[MLOperator]) -> None:
    _made(kind)
    assert [name for name in _arguments(kind) if name not in kind.argument_rules] == []


def _ruled() -> list[tuple[type[MLOperator], str]]:
    return [(kind, name) for kind in GIVEN for name in kind.argument_rules]


@pytest.mark.parametrize(("kind", "name"), _ruled(), ids=lambda value: getattr(value, "__name__", value))
def test_nonsense_is_refused_and_what_comes_later_passes(kind: type[MLOperator], name: str) -> None:
    if name not in ("name", "alias"):  # the registered model's own, refused by words of their own
        with pytest.raises(AirflowMLError, match=name):
            _made(kind, **{name: {1, 2}})
    if name not in kind.template_fields or name in ("table", "completions"):  # which exclude another
        return
    _made(kind, **{name: "{{ params.it }}"})
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        kind(**{**GIVEN[kind], "task_id": "t", name: XComArg(_source())})


def _source() -> Any:
    @task
    def source() -> None: ...

    return source().operator


WRONG: list[tuple[type[MLOperator], dict[str, Any], str]] = [
    (airflow_ml.SnapshotDatasetOperator, {"sql": None, "table": 3}, "table"),
    (airflow_ml.SnapshotDatasetOperator, {"sql": ""}, "sql"),
    (airflow_ml.SnapshotDatasetOperator, {"delay": "2 parsecs"}, "duration"),
    (airflow_ml.SnapshotDatasetOperator, {"as_of": "yesterday"}, "as_of"),
    (airflow_ml.SnapshotDatasetOperator, {"min_rows": -1}, "min_rows"),
    (airflow_ml.GateDatasetOperator, {"on_bad_rows": "bogus"}, "Give one of block, quarantine, warn"),
    (airflow_ml.GateDatasetOperator, {"expectations": []}, "no expectations"),
    (airflow_ml.GateDatasetOperator, {"max_quarantine_fraction": 5}, "from 0 to 1"),
    (airflow_ml.GateDatasetOperator, {"subject": None}, "subject"),
    (airflow_ml.BuildFeaturesOperator, {"view": None}, "view"),
    (airflow_ml.BuildFeaturesOperator, {"view": "typo", "views": [VIEW]}, "typo"),
    (airflow_ml.BuildFeaturesOperator, {"split": {"validate": "1d"}}, "split"),
    (airflow_ml.BuildFeaturesOperator, {"spine": {"record": "Leaderboard"}}, "DatasetSnapshot"),
    (airflow_ml.SelectModelOperator, {"refit": "bogus"}, "none, train"),
    (airflow_ml.SelectModelOperator, {"timeout_seconds": -5}, "above 0"),
    (airflow_ml.SelectModelOperator, {"constraints": {"seconds": 5}}, "constraint"),
    (airflow_ml.GateModelOperator, {"checks": []}, "checks"),
    (airflow_ml.GateModelOperator, {"checks": [{"check": "MinMetrik"}]}, "MinMetric"),
    (airflow_ml.CallJobOperator, {"min_success_fraction": 95}, "from 0 to 1"),
    (airflow_ml.CallJobOperator, {"inputs": 3}, "inputs"),
    (airflow_ml.CallJobOperator, {"seed": "x"}, "seed"),
    (airflow_ml.CanaryOperator, {"steps": [50, 5]}, "rising percentages"),
    (airflow_ml.CanaryOperator, {"steps": []}, "steps"),
    (airflow_ml.CanaryOperator, {"steps": ["five"]}, "step"),
    (airflow_ml.CanaryOperator, {"direction": "up"}, "direction"),
    (airflow_ml.CanaryOperator, {"limits": {"failure_limits": 1}}, "failure_limit"),
    (airflow_ml.CanaryOperator, {"limits": {"failure_limit": -7}}, "failure_limit"),
    (airflow_ml.CanaryOperator, {"poll_interval_seconds": 600}, "lease"),
    (airflow_ml.CanaryOperator, {"alpha": 5}, "alpha"),
    (airflow_ml.CanaryOperator, {"guardrails": ["log_loss"]}, "guardrail"),
    (airflow_ml.CanaryOperator, {"challengers": []}, "challengers"),
    (airflow_ml.CanaryOperator, {"hypothesis": "non_inferiority"}, "margin"),
    (airflow_ml.ABTestOperator, {"weight_percent": 100}, "below 100"),
    (airflow_ml.ABTestOperator, {"least_data_days": 50}, "max_data_days"),
    (airflow_ml.ShadowOperator, {"least_data_days": -1}, "least_data_days"),
    (airflow_ml.PredictOperator, {"model": "churn"}, "<name>@<alias>"),
    (airflow_ml.MonitorOperator, {"scores": None}, "scores"),
    (airflow_ml.MonitorOperator, {"drift_asset": "drift"}, "asset"),
    (airflow_ml.ReconcileRolloutsOperator, {"round_seconds": -1}, "round_seconds"),
    (PlanSweepOperator, {"trials_per_group": -1}, "from 1"),
    (PlanSweepOperator, {"trials_per_group": "many"}, "from 1"),
    (PlanSweepOperator, {"seed": "x"}, "seed"),
    (PlanSweepOperator, {"timeout_seconds": 0}, "timeout_seconds"),
    (PlanSweepOperator, {"sampler": "tep"}, "tep"),
    (PlanSweepOperator, {"space": {"lr": 0.1}}, "lr"),
    (PlanSweepOperator, {"space": {}}, "space"),
    (PlanSweepOperator, {"also": {"seconds": "less"}}, "seconds"),
    (PlanSweepOperator, {"min_success_fraction": 95}, "from 0 to 1"),
    (PlanSweepOperator, {"metric": "{{ params.metric }}"}, "not templated"),
    (PlanSweepOperator, {"data": None}, "FeatureSet"),
    (TrackSweepOperator, {"tracked_trials": "most"}, "all"),
]


@pytest.mark.parametrize(("kind", "changes", "told"), WRONG, ids=lambda value: str(getattr(value, "__name__", value)))
def test_what_cannot_work_is_refused_with_a_remedy(kind: type[MLOperator], changes: dict[str, Any], told: str) -> None:
    with pytest.raises(AirflowMLError, match=told) as caught:
        _made(kind, **changes)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "changes", [{"seed": "x"}, {"cache": "yes"}, {"timeout_seconds": -1}, {"trusted": 1}, {"environment": 3}]
)
def test_ml_task_refuses_what_cannot_work(changes: dict[str, Any]) -> None:
    from airflow_ml.decorators.ml import ml_task

    decorated = ml_task(**changes)(scale)
    with (
        DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)),
        pytest.raises(ConfigurationError, match=next(iter(changes))),
    ):
        decorated(1.0)


def test_sweep_refuses_what_cannot_work_where_it_is_called() -> None:
    from airflow_ml.decorators.sweep import sweep_task

    decorated = sweep_task(space={"a": airflow_ml.Choice(1)}, maximize="auc", keep_top=-1)(fit)
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)), pytest.raises(ConfigurationError, match="keep_top"):
        decorated({})


def test_what_a_template_gave_is_checked_before_the_task_works() -> None:
    operator = _made(airflow_ml.SelectModelOperator, refit="{{ params.refit }}", timeout_seconds="{{ params.t }}")
    operator.refit, operator.timeout_seconds = "train", "60"  # type: ignore[attr-defined]
    operator.check_arguments(rendered=True)
    operator.refit = "bogus"  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match="bogus"):
        operator.check_arguments(rendered=True)


def test_rule_reads_numbers_of_templates_only() -> None:
    from airflow_ml.core.argument_rules import number

    def verdict(rule: Rule, value: object, *, templated: bool) -> bool:
        return rule.holds(value, templated)

    whole: Callable[..., Rule] = number
    assert verdict(whole(whole=True), "7", templated=True)
    assert not verdict(whole(whole=True), "7", templated=False)
    assert not verdict(whole(whole=True), "7.5", templated=True)
    assert not verdict(whole(), float("nan"), templated=True)
    assert not verdict(whole(), True, templated=False)
    assert verdict(whole(least=0), 10**400, templated=False) is False
