"""How fast ``airflow-ml`` answers over a store of many runs: wall clock of each verb, from the shell to its end.

    python benchmarks/cli.py [--runs 10000] [--repeats 5] [--store FOLDER]

Prints JSON, in milliseconds: the median and the slowest of ``--repeats`` fresh processes, and beside them what a Python
that does nothing takes. The store is made of the product's own records: each run is a whole line, from its snapshot to
a registered version, and a `@task.ml` call. ``--store`` keeps it, or takes the one that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

DAG = "flights"
PROGRAM = "import sys; from airflow_ml.cli import main; sys.exit(main())"


def make_store(folder: Path, runs: int) -> None:
    """Write the store, unless it is there."""
    from airflow_ml.adapters.folder_store import FolderStore
    from airflow_ml.core.call import Call, FunctionRef
    from airflow_ml.core.fingerprint import digest_json
    from airflow_ml.testing.recorded_line import NOW, Line

    if folder.exists():
        return
    synced, os.fsync = os.fsync, lambda _: None  # type: ignore[assignment]  # the disk's speed is not what is measured
    line = Line(FolderStore(folder), dag=DAG)
    for number in range(runs):
        began = NOW + timedelta(minutes=20 * number)
        run = _run(number)
        line.record_run(run, began=began, trials=4)
        function = FunctionRef(kind="source", module="dag.py", qualname="clean", digest=digest_json(number // 100))
        call = Call(function=function, arguments={"day": number}, seed=1, environment=digest_json("environment"))
        line.record_call(run, "clean", call, began=began)
    os.fsync = synced


def _run(number: int) -> str:
    return f"run {number:05d} of the night"


def verbs(store: Path, runs: int) -> dict[str, list[str]]:
    """Return the questions that are asked; among them those about the oldest and the newest run."""
    from airflow_ml.client import find_run

    last, first = _run(runs - 1), _run(0)
    (made,) = find_run(DAG, last, store=str(store))["build_features"].provenance.outputs
    return {
        "runs": ["runs"],
        "runs of one dag": ["runs", DAG, "--limit", "20"],
        "show latest": ["show", f"{DAG}/latest"],
        "show oldest": ["show", f"{DAG}/{first}"],
        "show by beginning": ["show", f"{DAG}/{last[:9]}"],
        "lineage of a model": ["lineage", f"{DAG}_model"],
        "lineage down": ["lineage", made.digest, "--down"],
        "diff of runs": ["diff", f"{DAG}/before", f"{DAG}/latest"],
        "diff of models": ["diff", f"{DAG}_model@{runs - 1}", f"{DAG}_model@{runs}"],
        "diff of old models": ["diff", f"{DAG}_model@1", f"{DAG}_model@2"],
        "why": ["why", DAG, "latest", "clean"],
        "why oldest": ["why", DAG, first, "clean"],
        "sweep": ["sweep", f"{DAG}/latest"],
        "notebook": ["notebook", DAG, "latest", "clean", "--force", "--into", str(store.parent / "clean.ipynb")],
        "refs": ["refs", f"models/prod/{DAG}_model"],
    }


def milliseconds(command: list[str], store: Path) -> float:
    """Return how long a process takes from its start to its end; it must succeed."""
    environment = {**os.environ, "AIRFLOW__ML__ARTIFACT_STORE": f"file://{store}"}
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    spent = time.perf_counter() - began
    if done.returncode != 0:
        raise SystemExit(f"{command}: {done.stderr[-2000:]}")
    return spent * 1000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--store", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="airflow-ml-benchmark-") as name:
        store = options.store or Path(name) / "store"
        make_store(store, options.runs)
        asked: dict[str, list[str]] = {"nothing": [sys.executable, "-c", "pass"]}
        asked |= {
            name: [sys.executable, "-c", PROGRAM, *verb, "--output", "json"]
            for name, verb in verbs(store, options.runs).items()
        }
        figures: dict[str, Any] = {"runs": options.runs, "load_before": [round(one, 1) for one in os.getloadavg()]}
        times = {
            name: [milliseconds(command, store) for _ in range(options.repeats)] for name, command in asked.items()
        }
        figures["verbs"] = {
            name: {"median_ms": round(statistics.median(each)), "slowest_ms": round(max(each))}
            for name, each in times.items()
        }
        figures["load_after"] = [round(one, 1) for one in os.getloadavg()]
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
