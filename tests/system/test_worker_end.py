"""Workers that are told to end, or die, under Airflow's own supervisor, while work runs on a cluster for their tasks.

A spot machine that is taken away sends SIGTERM to the supervisor, which hands it on, and SIGKILL some time later. No
job ends by that, none runs twice; and when a user ends the task instead, its job ends.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.kubernetes import KubernetesDouble, Node, kubernetes_double
from airflow_ml.testing.rollout_rig import wait_for
from airflow_ml.testing.stalls import Stalls

pytestmark = [pytest.mark.system, pytest.mark.long, pytest.mark.timeout(600)]

DAGS = """
import os
from datetime import timedelta

from airflow.sdk import dag

from airflow_ml import GpuPodOperator, call_job

FOLDER = os.environ["TEST_FOLDER"]
TRIES = {"retries": 3, "retry_delay": timedelta(seconds=1)}


def work(number, folder, name):
    import os
    import time

    with open(os.path.join(folder, f"{name}.ran"), "a") as file:
        file.write("x")
    while not os.path.exists(os.path.join(folder, f"{name}.go")):
        time.sleep(0.1)
    return number


def of(name, **arguments):
    @dag(dag_id=f"job_{name}", schedule=None)
    def job():
        constants = {"folder": FOLDER, "name": f"job_{name}"}
        call_job(work, [1], task_id="remote", constants=constants, compute="here", poll_interval_seconds=1.0, **TRIES)

    @dag(dag_id=f"pod_{name}", schedule=None)
    def pod():
        own = f"{FOLDER}/pod_{name}"
        GpuPodOperator(
            task_id="remote", compute="here", cmds=["sh", "-c"], poll_interval=1, startup_check_interval_seconds=1,
            base_container_status_polling_interval=0.5,
            arguments=[f"printf x >> {own}.ran; until [ -e {own}.go ]; do sleep 0.2; done"], **{**TRIES, **arguments},
        )

    job()
    pod()


for number in range(6):
    of(number)
of("last", retries=0)
of("short", execution_timeout=timedelta(seconds=12), retries=0)
"""
PROFILES = """
[here]
kind = "kubernetes"
image = "python:here"
python = "{python}"
cpus = 0.1
memory_gib = 0.5
ephemeral_gib = 0.1
kubernetes = {{ image_by_tag = true }}
"""
#: Where a worker is when it hears of its end: the job is not there yet; it is, and nobody has written down so.
POINTS = ("job.before_submit", "job.after_submit")


class Rig:
    """An Airflow whose tasks run on a cluster of this machine's processes."""

    def __init__(self, folder: Path, cluster: KubernetesDouble) -> None:
        import json
        import sys

        self.folder, self.cluster = folder, cluster
        self.stalls = Stalls(folder / "stalls")
        dags = folder / "dags"
        dags.mkdir()
        (dags / "dags.py").write_text(DAGS)
        (folder / "profiles.toml").write_text(PROFILES.format(python=sys.executable))
        connection = {"conn_type": "kubernetes", "extra": json.dumps({"kube_config_path": str(cluster.kubeconfig)})}
        stalls = self.stalls.environment()
        path = os.pathsep.join(filter(None, [stalls["PYTHONPATH"], os.environ.get("PYTHONPATH", "")]))
        self.airflow = AirflowInstance(
            folder / "airflow", dags, connections={"kubernetes_default": connection},
            env={
                **stalls,
                "PYTHONPATH": path,
                "AIRFLOW__ML__ARTIFACT_STORE": (folder / "store").as_uri(),
                "AIRFLOW__ML__COMPUTE_PROFILES": str(folder / "profiles.toml"),
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
                "TEST_FOLDER": str(folder),
            },
        )  # fmt: skip
        (folder / "store").mkdir()

    def begin(self, dag: str) -> None:
        self.airflow.api.wait_for_dag(dag)
        self.airflow.api.unpause(dag)
        self.airflow.api.trigger(dag, run_id="run")

    def runs(self, dag: str) -> int:
        """Return how often the work of a DAG has been begun."""
        file = self.folder / f"{dag}.ran"
        return len(file.read_text()) if file.exists() else 0

    def go(self, dag: str) -> None:
        (self.folder / f"{dag}.go").touch()

    def task(self, dag: str) -> Any:
        [task] = self.airflow.api.tasks(dag, "run")
        return task

    def alive(self, dag: str) -> int:
        """Return how many pods of a DAG there are that have not ended."""
        pods = [pod for pod in self.cluster.pods() if pod["metadata"]["labels"].get("dag_id", "") == dag]
        return sum(pod["status"].get("phase") in ("Pending", "Running") for pod in pods)

    def worker(self, dag: str) -> psutil.Process:
        """Return the process that runs the task of a DAG: the one that has its log open, below the scheduler."""
        logs = f"dag_id={dag}/"
        for process in self.airflow.component("scheduler").children(recursive=True):
            if any(logs in file.path for file in process.open_files()):
                [*below] = process.children()
                return below[0] if below else process
        raise AssertionError(f"nobody runs {dag}")

    def act(self, dag: str, state: str) -> None:
        path = f"/dags/{dag}/dagRuns/run/taskInstances/remote"
        self.airflow.api.request("PATCH", path, body={"new_state": state})

    def succeeds(self, dag: str) -> None:
        self.go(dag)
        wait_for(f"{dag} succeeds", lambda: self.task(dag).state in ("success", "failed"), 180)
        assert self.task(dag).state == "success"
        assert self.runs(dag) == 1


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with (
        tempfile.TemporaryDirectory(prefix="worker-end-") as name,
        kubernetes_double(nodes=[Node(capacity={"cpu": 20})]) as cluster,
    ):
        rig = Rig(Path(name), cluster)
        with rig.airflow:
            yield rig
            rig.stalls.release()
        assert rig.airflow.running() == []


@pytest.mark.fault("A2")
@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("point", POINTS)
def test_a_worker_that_is_told_to_end_while_it_submits_leaves_one_job(rig: Rig, point: str, killed: bool) -> None:
    dag = f"job_{2 * POINTS.index(point) + killed}"
    rig.stalls.arm(point)
    rig.begin(dag)
    wait_for("somebody is there", lambda: rig.stalls.held(point), 120)
    task = psutil.Process(rig.stalls.held(point) or 0)
    supervisor = task.parent()
    assert supervisor is not None
    supervisor.send_signal(signal.SIGTERM)
    time.sleep(2)
    if killed:  # the machine is gone
        for process in (supervisor, task):
            process.kill()
    rig.stalls.release()
    wait_for("the work runs", lambda: rig.runs(dag) == 1, 150)
    wait_for("the task waits for it", lambda: rig.task(dag).state == "deferred", 150)
    assert (rig.task(dag).try_number > 1) is killed
    rig.succeeds(dag)


def running_pod(rig: Rig, dag: str) -> psutil.Process:
    rig.begin(dag)
    wait_for("the pod runs", lambda: rig.runs(dag) == 1, 120)
    time.sleep(2)  # into the operator's wait
    task = rig.worker(dag)
    supervisor = task.parent()
    assert supervisor is not None
    return supervisor


@pytest.mark.fault("A2")
@pytest.mark.parametrize("killed", [False, True])
def test_a_pod_outlives_its_worker_and_is_taken_over(rig: Rig, killed: bool) -> None:
    dag = f"pod_{int(killed)}"
    supervisor = running_pod(rig, dag)
    task = rig.worker(dag)
    supervisor.send_signal(signal.SIGTERM)
    time.sleep(6)
    assert rig.alive(dag) == 1
    if killed:
        for process in (supervisor, task):
            process.kill()
        wait_for("the next try", lambda: rig.task(dag).try_number == 2 and rig.task(dag).state == "running", 150)
    rig.succeeds(dag)
    wait_for("its pod is gone", lambda: rig.alive(dag) == 0, 60)


@pytest.mark.parametrize("how", ["failed", "success", "clear"])
def test_a_pod_whose_task_the_user_ends_is_gone_within_a_minute(rig: Rig, how: str) -> None:
    dag = f"pod_{2 + ['failed', 'success', 'clear'].index(how)}"
    running_pod(rig, dag)
    if how == "clear":
        body = {"dag_run_id": "run", "task_ids": ["remote"], "dry_run": False, "only_failed": False}
        rig.airflow.api.request("POST", f"/dags/{dag}/clearTaskInstances", body=body)
        wait_for("the next attempt begins anew", lambda: rig.runs(dag) == 2, 120)
        assert rig.alive(dag) == 1
        rig.go(dag)
        wait_for(f"{dag} succeeds", lambda: rig.task(dag).state == "success", 120)
    else:
        rig.act(dag, how)
        assert wait_for("its pod is gone", lambda: rig.alive(dag) == 0, 60) < 60


def test_a_pod_without_a_try_to_come_ends_with_its_worker(rig: Rig) -> None:
    supervisor = running_pod(rig, "pod_last")
    supervisor.send_signal(signal.SIGTERM)
    wait_for("its pod is gone", lambda: rig.alive("pod_last") == 0, 60)


def test_a_pod_whose_task_is_timed_out_is_gone(rig: Rig) -> None:
    rig.begin("pod_short")
    wait_for("the pod runs", lambda: rig.runs("pod_short") == 1, 120)
    wait_for("the task fails", lambda: rig.task("pod_short").state == "failed", 120)
    wait_for("its pod is gone", lambda: rig.alive("pod_short") == 0, 60)
