"""What airflow_ml adds to parsing a DAG file, beside the same tasks as plain ``@task``s, in the same run.

Prints JSON: medians of fresh interpreters, in milliseconds of the wall clock and of the processor, the two kinds of DAG
in turn. Before the clocks start Airflow is imported, has looked for the providers' asset schemes, and its objects are
frozen out of the garbage collector: so it is in Airflow's own DAG processor, which forks for each file.

``calibration_ms`` is what a million rounds of plain Python take on this machine, in this run; 90 on an ordinary one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

PLAIN = """
from datetime import UTC, datetime
from airflow.sdk import Asset, Param, dag, task

def stage(name):
    @task(task_id=name)
    def run(*records): return {}
    return run

@dag(schedule=Asset("flights"), start_date=datetime(2013, 1, 1, tzinfo=UTC), params={"view": Param("schedule")})
def train():
    clean = stage("gate_dataset")(stage("snapshot")())
    features = stage("build_features")(clean)
    plan = stage("plan")(features)
    shards = stage("shards")(plan)
    best = stage("select_model")(stage("collect")(shards))
    stage("register_model")(stage("gate_model")(best, features))

@dag(schedule=Asset("mlflow://flight_delays@challenger"), start_date=datetime(2013, 1, 1, tzinfo=UTC))
def release():
    stage("canary")()

@dag(schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC))
def watch():
    stage("monitor")(stage("predict")())

train(); release(); watch()
"""

PROGRAM = """
import gc, json, sys, time
import airflow.sdk, airflow.providers.standard.decorators.python
from airflow.sdk import DAG, BaseOperator, Asset, Param, dag, task, TriggerRule, TaskGroup, XComArg, conf, BaseHook
task.python
Asset("mlflow://model@alias")
source = open({path!r}).read()
gc.collect(); gc.freeze()
before = set(sys.modules)
wall, cpu = time.perf_counter(), time.process_time()
exec(compile(source, {path!r}, "exec"), {{"__name__": "dag", "__file__": {path!r}}})
took = {{"wall_ms": (time.perf_counter() - wall) * 1000, "cpu_ms": (time.process_time() - cpu) * 1000}}
added = set(sys.modules) - before
ours = [name for name in added if name.partition(".")[0] == "airflow_ml"]
print(json.dumps({{**took, "airflow_ml_modules": len(ours), "other_modules": len(added) - len(ours)}}))
"""


def parsed(path: Path) -> dict[str, float]:
    """Parse a DAG file in a fresh interpreter."""
    program = PROGRAM.format(path=str(path))
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    measured: dict[str, float] = json.loads(found.stdout.splitlines()[-1])
    return measured


def calibration_ms() -> float:
    """Return what a million rounds of plain Python take."""
    began, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number * number
    return (time.process_time() - began) * 1000


def main(example: Path, runs: int) -> None:
    """Measure one example beside the plain DAG and print what came of it."""
    machine = [calibration_ms()]
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder, "plain_dag.py")
        plain.write_text(PLAIN)
        for _ in range(runs):
            pairs.append((parsed(example), parsed(plain)))
            machine.append(calibration_ms())
    told: dict[str, float] = {}
    for unit in ("wall_ms", "cpu_ms"):
        told[f"airflow_ml_{unit}"] = statistics.median(ours[unit] for ours, _ in pairs)
        told[f"plain_{unit}"] = statistics.median(theirs[unit] for _, theirs in pairs)
        told[f"added_{unit}"] = statistics.median(ours[unit] - theirs[unit] for ours, theirs in pairs)
    ours, theirs = pairs[-1]
    modules = {
        "airflow_ml_modules": int(ours["airflow_ml_modules"]),
        "other_modules": int(ours["other_modules"]),
        "plain_modules": int(theirs["other_modules"]),
    }
    rounded = {name: round(value, 1) for name, value in told.items()}
    calibrated = {"calibration_ms": round(statistics.median(machine), 1), "runs": runs}
    print(json.dumps({"example": example.name, **rounded, **modules, **calibrated}))


if __name__ == "__main__":
    options = argparse.ArgumentParser(description="What airflow_ml adds to parsing a DAG file")
    options.add_argument("--runs", type=int, default=7, help="fresh interpreters for each of the two kinds of DAG")
    options.add_argument("--example", type=Path, default=ROOT / "dags_examples" / "flight_delays.py")
    given = options.parse_args()
    main(given.example, given.runs)
