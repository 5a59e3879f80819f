"""How many tasks of a run can make progress at once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_ml.operators.slots import free_slots
from airflow_ml.runtime.cpus import available_cpus


@pytest.mark.parametrize(
    ("parallelism", "executor", "of_dag", "of_task", "slots"),
    [
        (32, "CeleryExecutor", 16, None, 16),
        (8, "CeleryExecutor", 16, None, 8),
        (32, "CeleryExecutor", 16, 3, 3),
        (0, "CeleryExecutor", 16, None, 16),
        (32, "LocalExecutor", 16, None, min(16, available_cpus())),
        (32, "LocalExecutor", 16, 1, 1),
        (32, "my.package.CeleryExecutor,LocalExecutor", 5, None, 5),
    ],
)
def test_the_smallest_limit_counts(monkeypatch, parallelism, executor, of_dag, of_task, slots):
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", str(parallelism))
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", executor)
    dag = SimpleNamespace(max_active_tasks=of_dag)
    assert free_slots(dag, executor=None, max_active_tis_per_dagrun=of_task) == slots


def test_a_task_with_its_own_executor_and_without_a_dag(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__CORE__PARALLELISM", "64")
    assert free_slots(None, executor="LocalExecutor", max_active_tis_per_dagrun=None) == min(64, available_cpus())
    assert free_slots(None, executor=None, max_active_tis_per_dagrun=None) == 64
