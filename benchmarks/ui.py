"""The pages' API over a store of 1,000 runs and a sweep of 20,000 trials: time of each endpoint, and memory.

    python benchmarks/ui.py [--runs 1000] [--trials 20000] [--requests 1000] [--store FOLDER]

Prints JSON. The store is made of the product's own records. The application is the one that Airflow mounts, with its
authorization and a SQLite database, served by uvicorn in a process of its own; the client is on the same machine.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import socket
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

DAG, SWEEP_RUN = "flights", "sweep"
#: Tasks of the large sweep: 16 slots at four each, as a sweep plans them by itself.
SHARDS = 64


def make_store(folder: Path, runs: int, trials: int) -> None:
    """Write the store."""
    from airflow_ml.adapters.folder_store import FolderStore
    from airflow_ml.testing.recorded_line import NOW, Line

    os.fsync = lambda _: None  # type: ignore[assignment]  # the disk's speed is not what is measured
    store = FolderStore(folder)
    line = Line(store, dag=DAG)
    for number in range(runs):
        line.record_run(f"run {number:04d}", began=NOW + timedelta(minutes=20 * number), trials=4)
    line.record_watch("watch", str(runs), began=NOW + timedelta(minutes=20 * runs))
    line.record_rollout("canary", looks=2_000, end=False, began=NOW + timedelta(minutes=20 * runs))
    line.record_run(SWEEP_RUN, began=NOW + timedelta(days=60), trials=trials, shards=SHARDS)
    line.record_run("running", began=NOW + timedelta(days=61), trials=trials, shards=SHARDS, collected=False)


def serve(store: str, port: int, ready: Any) -> None:
    """Serve the application; sends its pid and a token. What Airflow prints goes beside the JSON, not into it."""
    os.dup2(2, 1)
    import uvicorn

    from airflow_ml.testing.pages import serve_pages

    with tempfile.TemporaryDirectory() as folder, serve_pages(store, [DAG], Path(folder)) as pages:
        ready.send((os.getpid(), pages.tokens["admin"]))
        uvicorn.run(pages.client.app, host="127.0.0.1", port=port, log_level="error", access_log=False)


def endpoints(runs: int, trials: int) -> dict[str, list[str]]:
    """Return each endpoint with the queries that are asked of it in turn."""
    dag, last = f"api/dags/{DAG}", f"run%20{runs - 1:04d}"
    sweep = f"run_id={SWEEP_RUN}&task_id=train.collect"
    return {
        "overview": ["api/overview"],
        "runs": [f"{dag}/runs?limit=200", f"{dag}/runs?offset=800"],
        "run": [f"{dag}/run?run_id=run%20{number:04d}" for number in range(max(0, runs - 50), runs)],
        "run of the sweep": [f"{dag}/run?run_id={SWEEP_RUN}"],
        "diff": [
            f"{dag}/diff?run_id={last}&with_run_id=run%20{number:04d}" for number in range(max(0, runs - 50), runs)
        ],
        "task": [f"{dag}/task?run_id={last}&task_id={task}" for task in ("gate_dataset", "train.collect", "snapshot")],
        "sweep": [f"{dag}/sweep?{sweep}"],
        "trials": [
            f"{dag}/sweep/trials?{sweep}&{more}"
            for more in (
                "sort=rank",
                f"sort=learning_rate&order=desc&offset={trials // 2}",
                "text=99",
                "status=failed",
                "sort=auc",
            )
        ],
        "chart": [f"{dag}/sweep/chart?{sweep}", f"{dag}/sweep/chart?{sweep}&points=2000"],
        "trial": [f"{dag}/sweep/trial?{sweep}&trial=t{number:05d}" for number in range(7, trials, trials // 40)],
        "running sweep": [f"{dag}/sweep?run_id=running&task_id=train.plan"],
        "models": ["api/models"],
        "model": [f"api/models/{DAG}_model"],
        "lineage": [
            f"api/models/{DAG}_model/lineage?version={version}" for version in (runs, runs - 20, runs - 40, runs - 55)
        ],
        "canary": [f"api/rollouts/{DAG}_model"],
        "datasets": ["api/datasets"],
        "dataset": [f"api/datasets/{DAG}_rows"],
        "snapshot": [f"{dag}/snapshot?run_id={last}&task_id=snapshot"],
    }


def measure(port: int, pid: int, token: str, *, runs: int, trials: int, requests: int) -> dict[str, Any]:
    """Ask every endpoint in turn, and watch the server's memory."""
    import httpx
    import psutil

    server = psutil.Process(pid)
    wanted = endpoints(runs, trials)
    found: dict[str, Any] = {}
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}/airflow-ml/", headers={"Authorization": f"Bearer {token}"}, timeout=120,
        trust_env=False,
    ) as client:  # fmt: skip

        def ask(path: str) -> tuple[float, int]:
            began = time.perf_counter()
            answer = client.get(path)
            spent = time.perf_counter() - began
            if answer.status_code != 200:
                raise SystemExit(f"{path}: {answer.status_code} {answer.text[:300]}")
            return spent * 1000, len(answer.content)

        for name, paths in wanted.items():
            first, size = ask(paths[0])
            found[name] = {"first_ms": round(first, 1), "bytes": size, "times": [], "cpu": 0.0}
        before = server.memory_info().rss
        for number in range(requests):
            name = list(wanted)[number % len(wanted)]
            paths = wanted[name]
            used = sum(server.cpu_times()[:2])
            spent, _ = ask(paths[(number // len(wanted)) % len(paths)])
            found[name]["times"].append(spent)
            found[name]["cpu"] += sum(server.cpu_times()[:2]) - used
        after = server.memory_info().rss
    for row in found.values():
        times = sorted(row.pop("times"))
        # On a machine with other work the server's own processor time says more than the clock.
        row["mean_cpu_ms"] = round(1000 * row.pop("cpu") / len(times), 1)
        row["median_ms"] = round(statistics.median(times), 1)
        row["p95_ms"] = round(times[min(len(times) - 1, int(0.95 * len(times)))], 1)
    return {
        "endpoints": found,
        "slowest_p95_ms": max(row["p95_ms"] for row in found.values()),
        "memory_before_mib": round(before / 2**20, 1),
        "memory_growth_mib": round((after - before) / 2**20, 1),
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--store", type=Path, help="kept and used again; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = (options.store or Path(folder) / "store").resolve()
        os.environ["AIRFLOW_HOME"] = str(Path(folder) / "home")
        context = multiprocessing.get_context("spawn")
        if not (store / "refs").exists():
            writer = context.Process(target=make_store, args=(store, options.runs, options.trials))
            writer.start()
            writer.join()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ours, theirs = context.Pipe()
        server = context.Process(target=serve, args=(store.as_uri(), port, theirs), daemon=True)
        server.start()
        try:
            pid, token = ours.recv()
            _wait(port)
            found = measure(port, pid, token, runs=options.runs, trials=options.trials, requests=options.requests)
        finally:
            server.terminate()
            server.join()
    conditions = {
        "runs": options.runs, "trials": options.trials, "requests": options.requests, "cpus": os.cpu_count(),
        "python": platform.python_version(), "load_1m": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(json.dumps({"conditions": conditions, **found}, indent=1))


def _wait(port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


if __name__ == "__main__":
    main()
