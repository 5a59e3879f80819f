"""An XComArg or Jinja at any depth of any operator argument makes an edge and is rendered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator, XComArg

import airflow_ml
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator

#: Without Airflow's own pod operator, whose arguments become objects of Kubernetes while it is made.
OPERATORS = sorted(name for name in airflow_ml.__all__ if name.endswith("Operator") and name != "GpuPodOperator")


def scale(value: float, a: Any = None) -> float:
    return value


class Source(BaseOperator):
    def execute(self, context: Any) -> None: ...


#: The arguments that an operator cannot do without.
REQUIRED: dict[str, dict[str, Any]] = {
    "SnapshotDatasetOperator": {"sql": "SELECT 1"},
    "GateDatasetOperator": {"subject": {}, "expectations": "suite.json"},
    "BuildFeaturesOperator": {"view": "{{ params.view }}", "spine": {}, "split": {"validate": "1d", "test": "1d"}},
    "SelectModelOperator": {"leaderboard": {}},
    "GateModelOperator": {"selection": {}, "data": {}, "checks": [airflow_ml.MinMetric("brier", at_most=0.2)]},
    "RegisterModelOperator": {"selection": {}, "name": "m"},
    "CallJobOperator": {"python_callable": scale, "inputs": []},
    "CanaryOperator": {"model": "m"},
    "ReapJobsOperator": {},
    "ReconcileRolloutsOperator": {},
    "RollbackOperator": {"model": "m", "reason": "because"},
    "ABTestOperator": {"model": "m"},
    "ShadowOperator": {"model": "m"},
    "PredictOperator": {"model": "m@champion", "spine": "SELECT 1", "into": "t"},
    "MonitorOperator": {"scores": {}},
}


#: Each of them excludes one of the required arguments.
EXCLUSIVE = {("SnapshotDatasetOperator", "table"), ("CallJobOperator", "completions")}


def _fields() -> list[tuple[str, str]]:
    return [
        (name, field)
        for name in OPERATORS
        for field in getattr(airflow_ml, name).template_fields
        if (name, field) not in EXCLUSIVE
    ]


def test_the_table_covers_every_operator() -> None:
    assert sorted(REQUIRED) == OPERATORS


@pytest.mark.parametrize(("name", "field"), _fields())
def test_xcomarg_at_any_depth_makes_an_edge(name: str, field: str) -> None:
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        source = Source(task_id="source")
        deep = {"a": [{"b": XComArg(source)}]}
        operator: MLOperator = getattr(airflow_ml, name)(**{**REQUIRED[name], field: deep, "task_id": "t"})
    assert operator.upstream_task_ids == {"source"}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_says_what_retry_clear_kill_and_timeout_do(name: str) -> None:
    text = (getattr(airflow_ml, name).__doc__ or "").lower()
    assert [word for word in ("retry", "clear", "kill", "timeout") if word not in text] == []


def test_plain_turns_objects_into_data() -> None:
    view = airflow_ml.FeatureView("v", key="k", predict_at="p", label=airflow_ml.Label("y", known_at="z"), inputs=["a"])
    moment = datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert plain([view, {"at": moment, "for": timedelta(minutes=2)}]) == [
        view.to_dict(),
        {"at": "2024-05-01T12:00:00Z", "for": "120s"},
    ]


def test_plain_leaves_an_xcomarg_alone() -> None:
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        arg = Source(task_id="source").output
    assert plain({"x": (arg,)})["x"][0] is arg
