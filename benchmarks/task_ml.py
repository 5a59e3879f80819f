"""What @task.ml costs beside @task: the same function, one small DataFrame in and out, both with all that Airflow does
to values between tasks.

    python benchmarks/task_ml.py [--rounds 60] [--store DIRECTORY]

In one process, pandas imported, the two in turn. A round of ``@task`` reads its argument from XCom's JSON, calls the
function and writes the result as XCom's JSON. A round of ``@task.ml`` does the same with records, and besides loads and
verifies its input, stores its result, captures the function and appends its provenance, each write synced to the disk.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

ROWS = 1_000


def add(frame: Any) -> Any:
    return frame.assign(b=frame["a"] * 2)


def main() -> None:
    parser = argparse.ArgumentParser(description="What @task.ml costs beside @task.")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--store", default=None, help="folder of the store; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AIRFLOW__ML__ARTIFACT_STORE"] = f"file://{options.store or folder}/store"
        os.environ.setdefault("AIRFLOW_HOME", folder)
        json.dump(measure(options.rounds), sys.stdout, indent=2)
    print()


def measure(rounds: int) -> dict[str, Any]:
    """Return the medians of both, in milliseconds."""
    import pandas as pd
    from airflow.sdk import DAG, task
    from airflow.sdk.serde import deserialize, serialize

    from airflow_ml.hooks.store import artifact_store
    from airflow_ml.runtime.codecs import store_value

    logging.disable(logging.WARNING)
    frame = pd.DataFrame({"a": range(ROWS)})
    plain_in = json.dumps(serialize(frame))
    ml_in = json.dumps(serialize(store_value(frame, artifact_store()).to_dict()))
    with DAG("benchmark", start_date=datetime(2026, 1, 1, tzinfo=UTC)):
        plain: Any = task(task_id="plain")(add)(None).operator
        versioned: Any = task.ml(task_id="versioned")(add)(None).operator

    def turn(operator: Any, given: str, number: int) -> Callable[[], None]:
        def run() -> None:
            operator.op_args = [deserialize(json.loads(given))]
            json.dumps(serialize(operator.execute(context(operator.task_id, number))))

        return run

    times: dict[str, list[float]] = {"task": [], "task.ml": []}
    for number in range(rounds + 5):
        for name, run in (("task", turn(plain, plain_in, number)), ("task.ml", turn(versioned, ml_in, number))):
            began = time.perf_counter()
            run()
            if number >= 5:  # the first ones import and fill caches
                times[name].append((time.perf_counter() - began) * 1000)
    medians = {name: round(statistics.median(values), 2) for name, values in times.items()}
    return {
        "rounds": rounds,
        "rows": ROWS,
        "median_ms": medians,
        "p90_ms": {name: round(statistics.quantiles(values, n=10)[8], 2) for name, values in times.items()},
        "added_ms": round(medians["task.ml"] - medians["task"], 2),
        "target_ms": 60,
    }


def context(task_id: str, number: int) -> Any:
    """Every round is an instance of its own of a mapped task, in one run."""
    instance = SimpleNamespace(
        dag_id="benchmark",
        run_id="manual__1",
        task_id=task_id,
        map_index=number,
        try_number=1,
    )
    return {"ti": instance, "params": {}}


if __name__ == "__main__":
    main()
