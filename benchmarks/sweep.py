"""Cost of a trial in a sweep, as JSON, each figure beside its peer in the same run.

    python benchmarks/sweep.py --all
    python benchmarks/sweep.py [--groups 200] [--per-group 100] [--shards 4] [--linearity 200000] [--airflow]

``noop``: trials that do nothing, through real shards (a clean interpreter each, forked workers, results durable in a
folder store), planned and collected; ``overhead_ms`` is the time of all shards by the number of trials. ``one_shard``
runs all of them in one: its largest process is the coordinator or a worker. ``fits``: trials of about 50 ms of
scikit-learn beside the same function in bare joblib, on as many processes, in rounds that alternate; the ratio of CPU
seconds says the same with less noise on a busy machine. ``--linearity`` repeats ``noop`` with so many trials.
``--airflow`` runs the ``noop`` sweep and stock mapped tasks through a real Airflow. ``--all`` is all of it, and
``goals`` says at the end which of the project's goals the figures meet; they are set for 20,000 trials on an idle
machine of two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from noop_trial import noop

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.space import Choice, IntUniform, LogUniform
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.cpus import available_cpus
from airflow_ml.runtime.leaderboard import collect
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.shard import planned_trials
from airflow_ml.runtime.sweep_plan import make_plan, shard_job

SPACE = {"lr": LogUniform(1e-4, 1e-1), "depth": IntUniform(2, 12), "booster": Choice("gbdt", "dart")}
ROWS_PER_GROUP = 10
#: Rounds of real fits, each in a sweep and in joblib.
FIT_ROUNDS = 4
#: Stock mapped tasks that are run beside the sweep.
MAPPED_TASKS = 200

AIRFLOW_DAGS = '''
"""The sweep and the stock mapped tasks that are measured."""

import json
import os
from pathlib import Path

from airflow.sdk import dag, task

import airflow_ml  # noqa: F401
from airflow_ml.core.space import Choice, IntUniform, LogUniform

FEATURES = json.loads(Path(os.environ["BENCHMARK_FEATURES"]).read_text())


@task.sweep(
    space={"lr": LogUniform(1e-4, 1e-1), "depth": IntUniform(2, 12), "booster": Choice("gbdt", "dart")},
    by="country", trials_per_group=int(os.environ["BENCHMARK_PER_GROUP"]), maximize="score",
    max_shards=int(os.environ["BENCHMARK_SHARDS"]), mlflow_conn_id=None,
)
def noop(data, params, trial):
    return 1.0


@dag(schedule=None)
def benchmark_sweep():
    noop(FEATURES)


@dag(schedule=None, max_active_tasks=1000)
def benchmark_mapped():
    @task
    def nothing(number):
        return None

    nothing.expand(number=list(range(int(os.environ["BENCHMARK_MAPPED"]))))


benchmark_sweep()
benchmark_mapped()
'''


def fit(data: Any, params: Any, trial: Any = None) -> float:
    """Fit and score trees for about 50 ms, on made-up rows, so that the peer needs no feature set."""
    from sklearn.ensemble import ExtraTreesClassifier

    generator = np.random.default_rng(1)
    X = generator.normal(size=(800, 8))
    y = X[:, 0] + generator.normal(size=800) > 0
    model = ExtraTreesClassifier(n_estimators=20, max_depth=params["depth"], random_state=0).fit(X[:600], y[:600])
    return float(model.score(X[600:], y[600:]))


def features_of(store: FolderStore, folder: Path, groups: int) -> FeatureSet:
    """Store a small feature set with so many groups."""
    total = groups * ROWS_PER_GROUP
    table = pa.table(
        {
            "id": pa.array(range(total)),
            "at": pa.array([1_700_000_000_000_000 + number for number in range(total)], pa.timestamp("us", tz="UTC")),
            "late": pa.array([number % 2 for number in range(total)]),
            "split": pa.array(["train" if number % ROWS_PER_GROUP < 7 else "validate" for number in range(total)]),
            "country": pa.array([f"c{number // ROWS_PER_GROUP:04d}" for number in range(total)]),
            "x": pa.array(np.random.default_rng(3).normal(size=total)),
        }
    )
    path = folder / "features.parquet"
    pq.write_table(table, path)
    artifact = store.put_file(path, format="parquet", rows=total)
    empty = store.put_bytes(b"{}", format="json")
    return FeatureSet(
        view="benchmark", view_digest=empty.digest, definition=empty, artifact=artifact, key="id", predict_at="at",
        label="late", features=("x",), carried=("country",), split_rows={"train": groups * 7}, spine=artifact,
        engine="duckdb", as_of=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def plan_for(folder: Path, function: Any, *, groups: int, per_group: int, shards: int) -> tuple[SweepPlan, FolderStore]:
    """Plan a sweep in a store of its own."""
    folder.mkdir()
    store = FolderStore(folder / "store")
    features = features_of(store, folder, groups)
    plan = make_plan(
        as_function_ref(capture(function), store), features, space=SPACE, by="country", trials_per_group=per_group,
        metric="score", direction="maximize", max_shards=shards, store=store,
    )  # fmt: skip
    return plan, store


def sweep(folder: Path, function: Any, *, groups: int, per_group: int, shards: int) -> dict[str, Any]:
    """Plan, run all shards one after the other, collect; return the figures."""
    began = time.perf_counter()
    plan, store = plan_for(folder, function, groups=groups, per_group=per_group, shards=shards)
    planned = time.perf_counter()
    inside = 0.0
    for shard in range(plan.shards):
        outcome = run_shard(shard_job(plan, shard), store_uri=store.uri, log=lambda line: None)
        inside += outcome.seconds
        workers = outcome.workers
    ran = time.perf_counter()
    board = collect(plan, store)
    collected = time.perf_counter()
    if board.succeeded != plan.trials:
        raise RuntimeError(f"{board.succeeded} of {plan.trials} trials succeeded")
    return {
        "trials": plan.trials,
        "groups": groups,
        "shards": plan.shards,
        "workers": workers,
        "plan_seconds": round(planned - began, 2),
        "shards_seconds": round(ran - planned, 2),
        "collect_seconds": round(collected - ran, 2),
        "overhead_ms": round((ran - planned) / plan.trials * 1000, 3),
        "overhead_inside_ms": round(inside / plan.trials * 1000, 3),
        "total_ms": round((collected - began) / plan.trials * 1000, 3),
        # The largest of the runners and their workers; on Linux in KiB.
        "peak_child_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
    }


def fits(folder: Path, count: int) -> dict[str, Any]:
    """Run real fits in a sweep and in joblib, with the start of their processes and without, in rounds that alternate.

    What a sweep's start costs is the time of one with a trial for each worker."""
    cpus, ours, peer, warm, start, ratios = available_cpus(), 0.0, 0.0, 0.0, 0.0, []
    our_cpu, peer_cpu = 0.0, 0.0
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    for part in range(FIT_ROUNDS):
        plan, store = plan_for(folder / str(part), fit, groups=2, per_group=count // FIT_ROUNDS // 2, shards=1)
        small, small_store = plan_for(folder / f"{part}-start", fit, groups=1, per_group=cpus, shards=1)
        began = time.perf_counter()
        run_shard(shard_job(small, 0), store_uri=small_store.uri, log=lambda line: None)
        start += time.perf_counter() - began
        params = [dict(trial.params) for trial in planned_trials(plan, store)]
        began, cpu = time.perf_counter(), _cpu_seconds()
        outcome = run_shard(shard_job(plan, 0), store_uri=store.uri, log=lambda line: None)
        swept = time.perf_counter() - began
        our_cpu += _cpu_seconds() - cpu
        if outcome.succeeded != len(params):
            raise RuntimeError(f"{outcome.failed} trials failed")
        began, cpu = time.perf_counter(), _cpu_seconds()
        Parallel(n_jobs=cpus)(delayed(fit)(None, one) for one in params)
        bare = time.perf_counter() - began
        began = time.perf_counter()
        Parallel(n_jobs=cpus)(delayed(fit)(None, one) for one in params)  # its processes run and have imported
        warm += time.perf_counter() - began
        get_reusable_executor().shutdown(wait=True)
        peer_cpu += (_cpu_seconds() - cpu) / 2  # the same trials twice in the same processes
        ours, peer, ratios = ours + swept, peer + bare, [*ratios, bare / swept]
    return {
        "trials": count,
        "workers": cpus,
        "fit_ms": round(warm * cpus / count * 1000, 1),
        "sweep_per_second": round(count / ours, 2),
        "joblib_per_second": round(count / peer, 2),
        "throughput_ratio": round(peer / ours, 3),
        "throughput_ratio_without_start": round(
            warm * (count - FIT_ROUNDS * cpus) / count / max(ours - start, 1e-9), 3
        ),
        # CPU seconds of joblib for each one of the sweep, the coordinator and the start included.
        "cpu_seconds_ratio": round(peer_cpu / our_cpu, 3),
        "start_seconds": round(start / FIT_ROUNDS, 2),
        # Far apart, they say that the machine was busy with something else, and the ratio says little.
        "ratio_of_each_round": [round(ratio, 3) for ratio in ratios],
    }


def _cpu_seconds() -> float:
    """Return the CPU seconds of this process and of all children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def in_airflow(folder: Path, *, groups: int, per_group: int, shards: int) -> dict[str, Any]:
    """Run the sweep and stock mapped tasks through one real Airflow, one after the other."""
    from airflow_ml.testing.airflow_instance import AirflowInstance

    dags = folder / "dags"
    dags.mkdir(parents=True)
    store = FolderStore(folder / "store")
    described = folder / "features.json"
    described.write_text(json.dumps(features_of(store, folder, groups).to_dict()))
    (dags / "benchmark.py").write_text(AIRFLOW_DAGS)
    settings = {
        "AIRFLOW__ML__ARTIFACT_STORE": store.uri,
        "BENCHMARK_FEATURES": str(described),
        "BENCHMARK_PER_GROUP": str(per_group),
        "BENCHMARK_SHARDS": str(shards),
        "BENCHMARK_MAPPED": str(MAPPED_TASKS),
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "1000",
    }
    with AirflowInstance(folder / "airflow", dags, env=settings) as airflow:
        seconds = {dag: _run_seconds(airflow.api, dag) for dag in ("benchmark_mapped", "benchmark_sweep")}
    trials = groups * per_group
    rates = {
        "sweep_trials_per_second": trials / seconds["benchmark_sweep"],
        "mapped_tasks_per_second": MAPPED_TASKS / seconds["benchmark_mapped"],
    }
    return {
        "trials": trials,
        "shards": shards,
        "sweep_seconds": round(seconds["benchmark_sweep"], 1),
        "mapped_tasks": MAPPED_TASKS,
        "mapped_seconds": round(seconds["benchmark_mapped"], 1),
        **{name: round(rate, 2) for name, rate in rates.items()},
        "times_faster": round(rates["sweep_trials_per_second"] / rates["mapped_tasks_per_second"], 1),
    }


def _run_seconds(api: Any, dag: str) -> float:
    """Run a DAG and return the seconds from the trigger to its end."""
    api.wait_for_dag(dag)
    api.unpause(dag)
    began = time.perf_counter()
    run = api.trigger(dag)
    state = api.wait_for_run(dag, run, 1200)
    seconds = time.perf_counter() - began
    if state != "success":
        tasks = [task for task in api.tasks(dag, run) if task.state == "failed"]
        raise RuntimeError("\n".join([f"{dag} is {state}", *(api.log(dag, run, tasks[0])[-20:] if tasks else [])]))
    return seconds


#: Where a figure is, its limit, and whether it is the least (1) or the most (-1) that is wanted.
GOALS: tuple[tuple[str, str, float, int], ...] = (
    ("airflow", "sweep_seconds", 60.0, -1),
    ("airflow", "times_faster", 80.0, 1),
    ("noop", "overhead_ms", 1.5, -1),
    ("fits", "throughput_ratio", 0.92, 1),
    ("one_shard", "peak_child_mib", 300.0, -1),
    ("", "seconds_per_trial_ratio", 1.2, -1),
)


def goals(figures: dict[str, Any]) -> dict[str, Any]:
    """Return of each goal that was measured its figure, its limit and whether it is met."""
    found: dict[str, Any] = {}
    for part, name, limit, sign in GOALS:
        place = figures.get(part, {}) if part else figures
        if name in place:
            wanted = f"{'>=' if sign > 0 else '<='} {limit:g}"
            met = sign * place[name] >= sign * limit
            found[f"{part}.{name}".strip(".")] = {"measured": place[name], "wanted": wanted, "met": met}
    return found


def _tell(figures: dict[str, Any]) -> None:
    """Write what is measured so far to standard error: a run that is stopped has not been in vain."""
    name, value = list(figures.items())[-1]
    print(json.dumps({name: value}), file=sys.stderr, flush=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=200)
    parser.add_argument("--per-group", type=int, default=100)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--fits", type=int, default=1600, help="trials of about 50 ms; 0 for none")
    parser.add_argument("--linearity", type=int, default=0, help="also run so many trials that do nothing")
    parser.add_argument("--airflow", action="store_true", help="also run through a real Airflow")
    parser.add_argument("--all", action="store_true", help="--airflow and --linearity 200000")
    options = parser.parse_args()
    options.airflow |= options.all
    options.linearity = options.linearity or (200_000 if options.all else 0)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(143))  # Airflow and the runners are ended on the way
    shape = {"per_group": options.per_group, "shards": options.shards}
    with tempfile.TemporaryDirectory(prefix="airflow-ml-benchmark-") as name:
        folder = Path(name)
        figures: dict[str, Any] = {"cores": available_cpus(), "load_before": [round(one, 1) for one in os.getloadavg()]}
        figures["one_shard"] = sweep(folder / "one", noop, groups=options.groups, per_group=options.per_group, shards=1)
        _tell(figures)
        figures["noop"] = sweep(folder / "noop", noop, groups=options.groups, **shape)
        _tell(figures)
        if options.linearity:
            groups = max(1, options.linearity // options.per_group)
            figures["noop_larger"] = sweep(folder / "larger", noop, groups=groups, **shape)
            ratio = figures["noop_larger"]["total_ms"] / figures["noop"]["total_ms"]
            figures["seconds_per_trial_ratio"] = round(ratio, 3)
            _tell(figures)
        if options.fits:
            (folder / "fits").mkdir()
            figures["fits"] = fits(folder / "fits", options.fits)
            _tell(figures)
        if options.airflow:
            figures["airflow"] = in_airflow(folder / "deployment", groups=options.groups, **shape)
            _tell(figures)
        figures["goals"] = goals(figures)
        figures["load_after"] = [round(one, 1) for one in os.getloadavg()]
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
