"""Every example DAG runs, against a real warehouse, MLflow and gateway, in one process without a scheduler."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.child_process import ChildProcess, last_lines
from airflow_ml.testing.warehouse import LocalWarehouse

pytestmark = [pytest.mark.system, pytest.mark.integration, pytest.mark.timeout(600)]

#: In this order: the canary installs what registration registered, and monitoring scores with it.
PLAN: Mapping[str, dict[str, Any]] = {
    "snapshot": {"dag": "example_snapshot"},
    "gate": {"dag": "example_gate"},
    "gate_blocks": {"dag": "example_gate_blocks"},
    "features": {"dag": "example_features"},
    "hindsight": {"dag": "example_features", "conf": {"view": "example_hindsight"}},
    "sweep": {"dag": "example_sweep"},
    "selection": {"dag": "example_selection"},
    "registration": {"dag": "example_registration"},
    "registration again": {"dag": "example_registration"},
    "canary": {"dag": "example_canary"},
    "monitoring": {"dag": "example_monitoring"},
    "monitoring again": {"dag": "example_monitoring"},
}
Results = Mapping[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results(parts: Any, dags_examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    home = tmp_path_factory.mktemp("examples")
    airflow = AirflowInstance(home, dags_examples, connections=parts.connections, env=parts.environment)
    airflow.prepare()
    out = home / "results.json"
    program = str(Path(__file__).with_name("run_dags.py"))
    command = [sys.executable, program, str(dags_examples), json.dumps(list(PLAN.values())), str(out)]
    process = ChildProcess("dags", command, log_path=home / "dags.log", env=airflow.environment(), cwd=home)
    try:
        process.wait_success(timeout_seconds=480)
        assert airflow.running() == []
    finally:
        airflow.stop()
        print(last_lines(home / "dags.log", 200))
    found = dict(zip(PLAN, json.loads(out.read_text()), strict=True))
    print({name: one["seconds"] for name, one in found.items()})
    return found


def test_dev(results):
    Path("/tmp/w2/results.json").write_text(json.dumps(results, indent=1))
    for n, r in results.items():
        print(n, r["seconds"], r["state"], r["tasks"])
