"""Play DAGs one after the other, against a real warehouse, MLflow and gateway, in one process without a scheduler."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.child_process import ChildProcess

#: What is played, in order: a name for it, the DAG, and the run's conf.
Plan = Mapping[str, dict[str, Any]]
Results = Mapping[str, dict[str, Any]]


def play(plan: Plan, parts: Any, dags_examples: Path, home: Path) -> Results:
    """Return what became of each run of a plan: ``state``, ``tasks``, ``xcoms`` and ``seconds``."""
    folder = shutil.copytree(dags_examples, home / "dags")
    shutil.copy(Path(__file__).with_name("dags") / "ml_task.py", folder)
    airflow = AirflowInstance(home, folder, connections=parts.connections, env=parts.environment)
    airflow.prepare()
    parts.wait_ready()
    out = home / "results.json"
    program = str(Path(__file__).with_name("run_dags.py"))
    command = [sys.executable, program, str(folder), json.dumps(list(plan.values())), str(out)]
    process = ChildProcess("dags", command, log_path=home / "dags.log", env=airflow.environment(), cwd=home)
    try:
        process.wait_success(timeout_seconds=480)
        assert airflow.running() == []
    finally:
        airflow.stop()
    found = dict(zip(plan, json.loads(out.read_text()), strict=True))
    print({name: one["seconds"] for name, one in found.items()})
    return found


def xcom(found: Mapping[str, Any], task: str, key: str = "return_value") -> Any:
    return found["xcoms"][task][key]


def states(found: Mapping[str, Any]) -> dict[str, set[str]]:
    return {task: set(each) for task, each in found["tasks"].items()}


def outcomes(found: Mapping[str, Any]) -> set[str]:
    """The states of a run and of all its tasks."""
    return {found["state"]}.union(*states(found).values())
