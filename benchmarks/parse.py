"""What airflow_ml adds to parsing a DAG file, beside the same tasks as plain ``@task``s, in the same run.

Prints JSON: medians of fresh interpreters, in milliseconds. Airflow is imported before the clock starts, as it is
in Airflow's own DAG processor, which forks for each file.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
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
import sys, time
import airflow.sdk, airflow.providers.standard.decorators.python
from airflow.sdk import DAG, BaseOperator, Asset, Param, dag, task, TriggerRule, TaskGroup, XComArg, conf, BaseHook
task.python
source = open({path!r}).read()
began = time.perf_counter()
exec(compile(source, {path!r}, "exec"), {{"__name__": "dag", "__file__": {path!r}}})
print((time.perf_counter() - began) * 1000)
"""


def milliseconds(path: Path) -> float:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(path=str(path))], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return float(found.stdout.splitlines()[-1])


def main(runs: int = 7) -> None:
    plain = ROOT / "benchmarks" / ".plain_dag.py"
    plain.write_text(PLAIN)
    try:
        pairs = [(milliseconds(ROOT / "dags_examples" / "flight_delays.py"), milliseconds(plain)) for _ in range(runs)]
    finally:
        plain.unlink()
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    added = statistics.median(left - right for left, right in pairs)
    print(
        json.dumps(
            {"airflow_ml_ms": round(ours, 1), "plain_ms": round(theirs, 1), "added_ms": round(added, 1), "runs": runs}
        )
    )


if __name__ == "__main__":
    main()
