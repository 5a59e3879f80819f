"""Functions and sweeps on a cluster and a queue, through the operators and their trigger, as Airflow drives them."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))
sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))
from job_parts import job_definition
from sweep_parts import feature_set

from airflow_ml import LogUniform
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.record import parse_as
from airflow_ml.core.sweep import Leaderboard, SweepPlan
from airflow_ml.errors import CallFailed, CallTimedOut, JobFailed
from airflow_ml.hooks import job_backend
from airflow_ml.operators.sweep import CollectSweepOperator, PlanSweepOperator, RunShardOperator
from airflow_ml.runtime.leaderboard import leaderboard_digest
from airflow_ml.testing.batch import BatchDouble, batch_double
from airflow_ml.testing.kubernetes import KubernetesDouble, Node, kubernetes_double
from airflow_ml.triggers.job import JobTrigger

_runs = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubernetesDouble]:
    with kubernetes_double(nodes=[Node()], schema_version="1.34") as double:
        yield double


@pytest.fixture(scope="module")
def aws() -> Iterator[BatchDouble]:
    with batch_double(slots=4) as double:
        double.make_queue("queue")
        job_definition(double.client())
        yield double


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A deployment with profiles, and a store; return the profile file."""
    file = tmp_path / "profiles.toml"
    python = json.dumps(sys.executable)
    file.write_text(
        f"""
[k8s]
kind = "kubernetes"
image = "python:here"
python = {python}
cpus = 0.2
memory_gib = 0.5
retries = 0
parallelism = 2
[k8s.kubernetes]
image_by_tag = true
schedule_timeout_seconds = 1
start_timeout_seconds = 1

[batch]
kind = "batch"
python = {python}
memory_gib = 0.5
retries = 0
parallelism = 2
[batch.batch]
queue = "queue"
job_definition = "calls"
"""
    )
    monkeypatch.setenv("AIRFLOW__ML__COMPUTE_PROFILES", str(file))
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{tmp_path}/store")
    job_backend.forget_backends(at_once=True)
    return file


@pytest.fixture
def k8s(cluster: KubernetesDouble, places: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesDouble]:
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(cluster.kubeconfig)}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))
    yield cluster
    cluster.faults.clear()


@pytest.fixture
def batch(aws: BatchDouble, places: Path, monkeypatch: pytest.MonkeyPatch) -> BatchDouble:
    for name, value in aws.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({"conn_type": "aws"}))
    return aws


def a_context(task_id: str, *, run: str | None = None, max_tries: int = 0) -> dict[str, Any]:
    names = {"dag_id": "d", "run_id": run or f"r{next(_runs)}", "task_id": task_id, "map_index": -1}
    return {"ti": SimpleNamespace(**names, max_tries=max_tries, try_number=1)}


def deferred_by(operator: Any, context: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as caught:
        operator.run(context)
    return caught.value


def event_of(deferral: TaskDeferred, *, seconds: float = 240.0) -> dict[str, Any]:
    """Run the trigger as another process would: from its serialized form."""
    name, arguments = deferral.trigger.serialize()
    assert name == "airflow_ml.triggers.job.JobTrigger"
    json.dumps(arguments)
    trigger = JobTrigger(**{**arguments, "poll_interval_seconds": 0.1})

    async def first() -> Any:
        async for event in trigger.run():
            return event.payload
        return None

    return asyncio.run(asyncio.wait_for(first(), seconds))  # type: ignore[no-any-return]  # the payload


def drive(operator: Any, context: Any) -> Any:
    """Run an operator to its end, deferrals and all."""
    try:
        return operator.run(context)
    except TaskDeferred as deferral:
        return getattr(operator, deferral.method_name)(context, event_of(deferral))


def built(decorator: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        return decorator(function)(*args, **kwargs).operator


def total(frame: Any, column: str = "a") -> dict[str, Any]:
    import os

    print("adding up", column)
    return {"total": int(frame[column].sum()), "index": os.environ.get("JOB_COMPLETION_INDEX", "none")}


def unlucky() -> None:
    raise ValueError("an unlucky number")


def counted(file: str) -> int:
    with open(file, "a") as ran:
        ran.write("x")
    return 1


def slow() -> None:
    import time

    time.sleep(60)


def test_one_function_in_a_pod(k8s: KubernetesDouble, places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    from airflow_ml.runtime.codecs import store_value

    frame = store_value(pd.DataFrame({"a": [1, 2]}), FolderStore(places.parent / "store")).to_dict()
    operator, context = built(task.ml(compute="k8s"), total, frame), a_context("total")
    assert drive(operator, context) == {"total": 3, "index": "0"}
    assert operator.call.compute == "k8s"
    assert capsys.readouterr().out.count("adding up a") == 1
    assert drive(operator, context)["total"] == 3  # a retry after a worker died: the result is there, nothing runs
    assert len([one for one in k8s.jobs() if one["metadata"]["annotations"]["airflow-ml/task"] == "total"]) == 1


def talk() -> None:
    import time

    for number in range(6):
        print("word", number)
        time.sleep(0.5)


@pytest.mark.long
def test_what_one_pod_says_is_told_while_it_runs_and_once(
    k8s: KubernetesDouble, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    operator, context = built(task.ml(compute="k8s"), talk), a_context("talk")
    caplog.set_level("INFO")
    event = event_of(deferred_by(operator, context))
    early = caplog.text + capfd.readouterr().out
    assert "word 0" in early
    assert event["log_seen"]
    caplog.clear()
    operator.execute_complete(context, event)
    late = caplog.text + capfd.readouterr().out
    told = [f"word {number}" for number in range(6)]
    assert [(early + late).count(word) for word in told] == [1] * 6
    assert early.index("word 0") < early.index("is succeeded")


def longer(frame: Any, least: int) -> Any:
    return frame[frame["a"] >= least].assign(double=frame["a"] * 2)


def test_what_ran_in_a_pod_is_reproduced_from_the_store_alone(
    k8s: KubernetesDouble, places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    import pandas as pd

    from airflow_ml.cli import main
    from airflow_ml.runtime.codecs import store_value

    store = FolderStore(places.parent / "store")
    frame = store_value(pd.DataFrame({"a": [1, 2, 3]}), store).to_dict()
    operator, context = built(task.ml(compute="k8s", seed=3), longer, frame, 2), a_context("longer", run="in_a_pod")
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context)
    operator.resume_execution(caught.value.method_name, {"event": event_of(caught.value)}, context)
    shutil.copytree(places.parent / "store", tmp_path / "at_home")
    shutil.move(places.parent / "store", tmp_path / "out_of_reach")
    for name in ("AIRFLOW_CONN_KUBERNETES_DEFAULT", "AIRFLOW__ML__COMPUTE_PROFILES", "AIRFLOW__ML__ARTIFACT_STORE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRFLOW_CONN_OTHER", "planted-secret")
    capfd.readouterr()
    asked = ["reproduce", "d", "in_a_pod", "longer", "--store", f"file://{tmp_path}/at_home", "--output", "json"]
    assert main([*asked, "--keep", str(tmp_path / "kept")]) == 0
    said = json.loads(capfd.readouterr().out)
    assert (said["verdict"], said["what"]) == ("identical", "longer, function longer")
    assert said["recorded"] == said["here"]
    assert said["here"]["record"] == "Artifact"
    kept = [path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file()]
    assert not any(b"planted-secret" in data for data in kept)


@pytest.mark.fault("K7", "A9")
def test_a_result_counts_though_its_job_is_gone(k8s: KubernetesDouble, places: Path) -> None:
    import pandas as pd

    from airflow_ml.runtime.codecs import store_value

    frame = store_value(pd.DataFrame({"a": [5]}), FolderStore(places.parent / "store")).to_dict()
    operator, context = built(task.ml(compute="k8s", task_id="gone"), total, frame), a_context("gone")
    deferral = deferred_by(operator, context)
    event_of(deferral)
    jobs = job_backend.remote_jobs()
    attempt = jobs.mine(deferral.trigger.key, 1, 1)[1]
    assert attempt.handle is not None
    job_backend.job_backend(attempt.handle).cancel(attempt.handle)  # the TTL, or somebody
    event = event_of(deferral)
    assert event["status"]["phase"] in ("lost", "cancelled")
    assert operator.execute_complete(context, event)["total"] == 5


def test_what_the_function_raised_is_told(k8s: KubernetesDouble) -> None:
    with pytest.raises(CallFailed, match="an unlucky number"):
        drive(built(task.ml(compute="k8s"), unlucky), a_context("unlucky"))


@pytest.mark.fault("K6")
def test_what_cannot_be_scheduled_fails_once_and_frees_its_place(k8s: KubernetesDouble) -> None:
    from airflow_ml import profile

    operator, context = built(task.ml(compute=profile("k8s", gpus=1)), slow), a_context("slow")
    deferral = deferred_by(operator, context)
    event = event_of(deferral)
    with pytest.raises(AirflowFailException, match=r"unschedulable.*no node has nvidia\.com/gpu"):
        operator.execute_complete(context, event)
    assert event["key"] not in {one["metadata"]["annotations"]["airflow-ml/key"] for one in k8s.jobs()}


@pytest.mark.fault("A10")
def test_a_timeout_of_the_task_ends_the_job(k8s: KubernetesDouble) -> None:
    limited = task.ml(compute="k8s", task_id="late", execution_timeout=timedelta(seconds=1))
    operator, context = built(limited, slow), a_context("late")
    deferral = deferred_by(operator, context)
    event = event_of(deferral)
    assert event["timed_out"]
    with pytest.raises(CallTimedOut):
        operator.execute_complete(context, event)
    assert event["key"] not in {one["metadata"]["annotations"]["airflow-ml/key"] for one in k8s.jobs()}


@pytest.mark.fault("A2", "A3", "A6", "A7", "A12", "K11")
@pytest.mark.parametrize(("state", "cancels"), [("deferred", False), ("None", False), ("failed", True)])
def test_only_the_users_end_of_the_task_ends_the_job(
    k8s: KubernetesDouble, monkeypatch: pytest.MonkeyPatch, state: str, cancels: bool
) -> None:
    operator, context = built(task.ml(compute="k8s", task_id=f"killed-{state}"), slow), a_context("killed")
    trigger = deferred_by(operator, context).trigger
    operator.on_kill()  # a worker's restart, an API server that is away
    monkeypatch.setattr("airflow_ml.triggers.job.task_state", lambda instance: state)
    asyncio.run(trigger.cleanup())  # a triggerer's restart
    asyncio.run(trigger.on_kill())
    attempt = job_backend.remote_jobs().latest(trigger.key)
    assert attempt is not None
    assert attempt.live is not cancels
    monkeypatch.setattr("airflow_ml.triggers.job.task_state", lambda instance: "failed")
    second = deferred_by(operator, {"ti": SimpleNamespace(**{**vars(context["ti"]), "max_tries": 2})}).trigger
    asyncio.run(trigger.on_kill())  # the old attempt's, late
    newest = job_backend.remote_jobs().latest(trigger.key)
    assert newest is not None
    assert newest.live
    with pytest.raises(AirflowFailException, match="FencedOut"):
        operator.execute_complete(context, {**event_of_error(trigger), "key": trigger.key})
    asyncio.run(second.on_kill())


@pytest.mark.fault("A6", "A7")
def test_a_second_triggerer_goes_on_and_two_at_once_do_no_harm(k8s: KubernetesDouble, tmp_path: Path) -> None:
    settings = {"file": str(tmp_path / "ran")}
    operator, context = built(task.ml(compute="k8s", task_id="moved"), counted, **settings), a_context("moved")
    first = deferred_by(operator, context).trigger
    first.poll_interval_seconds = 0.1
    name, kept = first.serialize()
    assert name == "airflow_ml.triggers.job.JobTrigger"
    second = JobTrigger(**json.loads(json.dumps(kept)))  # as the database has it

    async def both() -> list[Any]:
        stopped = asyncio.create_task(anext(first.run()))
        await asyncio.sleep(0.3)
        stopped.cancel()  # the triggerer restarts
        await asyncio.gather(stopped, return_exceptions=True)
        await first.cleanup()
        return await asyncio.gather(anext(first.run()), anext(second.run()))  # and the old one was only frozen

    events = [event.payload for event in asyncio.run(both())]
    assert [event["status"]["phase"] for event in events] == ["succeeded", "succeeded"]
    assert operator.execute_complete(context, events[0]) == operator.execute_complete(context, events[1])
    assert (tmp_path / "ran").read_text() == "x"


@pytest.mark.fault("A4")
def test_nothing_is_ended_while_airflow_cannot_be_asked(k8s: KubernetesDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_ml.operators import reaping

    def away(instance: Any) -> str:
        raise ConnectionError("the API server restarts")

    for module in ("airflow_ml.triggers.job", "airflow_ml.operators.reaping"):
        monkeypatch.setattr(f"{module}.task_state", away)
    here = {"k8s": reaping.compute_profiles()["k8s"]}
    monkeypatch.setattr(reaping, "compute_profiles", lambda: here)
    trigger = deferred_by(built(task.ml(compute="k8s", task_id="asked"), slow), a_context("asked")).trigger
    with pytest.raises(ConnectionError):
        asyncio.run(trigger.on_kill())
    assert [one for one in reaping.ReapJobsOperator().run({}) if one["task"] == "asked"] == []  # type: ignore[union-attr, arg-type]
    attempt = job_backend.remote_jobs().latest(trigger.key)
    assert attempt is not None
    assert attempt.live
    assert trigger.cancel("the end of the test")


@pytest.mark.fault("A11", "A13")
def test_a_try_that_was_failed_by_mistake_is_taken_over_and_runs_once(k8s: KubernetesDouble, tmp_path: Path) -> None:
    settings = {"file": str(tmp_path / "ran")}
    operator, context = built(task.ml(compute="k8s", task_id="stale"), counted, **settings), a_context("stale")
    first = deferred_by(operator, context)
    event = event_of(first)  # and the task resumes; then a late word of another process fails it, and it is tried again
    second = deferred_by(operator, context)
    with pytest.raises(AirflowFailException, match="FencedOut"):
        operator.execute_complete(context, event)
    assert operator.execute_complete(context, event_of(second)) == 1
    assert Path(settings["file"]).read_text() == "x"
    assert len([one for one in k8s.jobs() if one["metadata"]["annotations"]["airflow-ml/task"] == "stale"]) == 1


def event_of_error(trigger: Any) -> dict[str, Any]:
    """Return what an old trigger says when it finds that it does not lead any more."""

    async def first() -> Any:
        async for event in trigger.run():
            return event.payload
        return None

    return asyncio.run(asyncio.wait_for(first(), 30))  # type: ignore[no-any-return]  # the payload


def train(data: Any, params: Any, trial: Any) -> dict[str, float]:
    x, y = data.train.xy()
    return {"loss": float(abs(x["x"].mean() * params["a"] - y.mean())), "rows": float(len(x)), "seed": trial.seed % 97}


def sweep(
    compute: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, groups: tuple[str, ...] = ("EWR", "JFK", "LGA")
) -> tuple[SweepPlan, Leaderboard, str]:
    """Run the same sweep in a store of its own, task by task."""
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{folder}")
    job_backend.forget_backends(at_once=True)
    folder.mkdir()
    store = FolderStore(folder)
    features = feature_set(store, folder, groups=groups, rows=40)
    pushed: dict[str, Any] = {}
    run = a_context("train.plan")
    run["ti"].xcom_push = lambda key, value: pushed.update({key: value})
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        plan = PlanSweepOperator(
            python_callable=train, data=features.to_dict(), space={"a": LogUniform(0.1, 1.0)}, by="origin",
            trials_per_group=5, metric="loss", direction="minimize", seed=3, compute=compute, task_id="plan",
        )  # fmt: skip
        shards = plan.run(run)
        for shard in shards:
            run["ti"].map_index = shard
            drive(RunShardOperator(plan=pushed["plan"], shard=shard, compute=compute, task_id=f"shards{shard}"), run)
        board = CollectSweepOperator(plan=pushed["plan"], pictures=False, task_id="collect").run(
            a_context("train.collect")
        )
    return parse_as(SweepPlan, pushed["plan"]), board, leaderboard_digest(store.path(board.artifact))


def test_a_sweep_has_the_same_leaderboard_wherever_it_runs(
    k8s: KubernetesDouble, batch: BatchDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {name: sweep(name, tmp_path / f"at-{name}", monkeypatch) for name in ("local", "k8s", "batch")}
    assert {board.succeeded for _, board, _ in found.values()} == {15}
    assert len({plan.sweep for plan, _, _ in found.values()}) == 1
    assert len({digest for _, _, digest in found.values()}) == 1
    assert found["k8s"][0].shards == 3
    assert {plan.compute for plan, _, _ in found.values()} == {"local", "k8s", "batch"}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_sweep_of_two_hundred_groups_has_the_same_leaderboard_wherever_it_runs(
    k8s: KubernetesDouble, batch: BatchDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = tuple(f"G{number:03d}" for number in range(200))
    found = {
        name: sweep(name, tmp_path / f"at-{name}", monkeypatch, groups=groups) for name in ("local", "k8s", "batch")
    }
    assert {(board.groups, board.succeeded) for _, board, _ in found.values()} == {(200, 1000)}
    assert len({digest for _, _, digest in found.values()}) == 1


@pytest.mark.long
def test_a_shard_that_leaves_no_result_fails_the_task_with_the_reason(
    k8s: KubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    k8s.faults.disrupt_pods("oom", name="*", times=1, after_seconds=0.0)
    with pytest.raises((JobFailed, AirflowFailException), match="out_of_memory"):
        sweep("k8s", tmp_path / "oom", monkeypatch)
