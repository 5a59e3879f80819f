"""Editors and type checkers know the public names as programs do: where they are defined, and what they take."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import airflow_ml

FUNCTIONS = {
    "build_features": "BuildFeaturesOperator",
    "call_job": "CallJobOperator",
    "canary": "CanaryOperator",
    "gate_dataset": "GateDatasetOperator",
    "gate_model": "GateModelOperator",
    "monitor": "MonitorOperator",
    "predict": "PredictOperator",
    "reap_jobs": "ReapJobsOperator",
    "reconcile_rollouts": "ReconcileRolloutsOperator",
    "register_model": "RegisterModelOperator",
    "rollback": "RollbackOperator",
    "select_model": "SelectModelOperator",
    "snapshot": "SnapshotDatasetOperator",
}


def test_type_checkers_find_each_name_where_programs_do() -> None:
    tree = ast.parse(Path(airflow_ml.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    found = {
        alias.asname: part.module
        for part in block.body
        if isinstance(part, ast.ImportFrom)
        for alias in part.names
        if alias.asname
    }
    assert found == airflow_ml._HOME


@pytest.mark.parametrize(("function", "operator"), FUNCTIONS.items())
def test_a_function_takes_what_its_operator_takes(function: str, operator: str) -> None:
    build = getattr(airflow_ml, function)
    own = inspect.signature(build).parameters
    assert own == inspect.signature(getattr(airflow_ml, operator)).parameters
    assert "task_id" in own
    by_position = [name for name, one in own.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert by_position == list(build.__code__.co_varnames[: build.__code__.co_argcount])
