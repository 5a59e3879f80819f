"""A pod of any image, as a compute profile describes it; and its price is paid by whoever uses it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from airflow_ml import GpuRetryPolicy, profile
from airflow_ml.core.pod_security import violations
from airflow_ml.errors import ConfigurationError, JobFailed, MissingDependency
from airflow_ml.testing.kubernetes import KubernetesDouble, Node, kubernetes_double


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profiles.toml"
    digest = "sha256:" + "a" * 64
    file.write_text(
        f"""
[gpu]
kind = "kubernetes"
image = "registry.example.com/train@{digest}"
memory_gib = 8
gpus = 2
[gpu.kubernetes]
namespace = "training"
conn_id = "cluster"
"""
    )
    monkeypatch.setenv("AIRFLOW__ML__COMPUTE_PROFILES", str(file))
    cluster = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    connection = {"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(cluster)}}
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps(connection))


def test_only_the_use_of_the_name_loads_kubernetes() -> None:
    program = (
        "import sys, airflow_ml, airflow_ml.operators.call_job, airflow_ml.decorators.ml;"
        "assert 'kubernetes' not in sys.modules; print(airflow_ml.GpuPodOperator.__name__)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == "GpuPodOperator"


def test_the_pod_is_as_the_profile_says(profiles: None) -> None:
    from airflow_ml import GpuPodOperator

    operator: Any = GpuPodOperator(task_id="t", compute="gpu", cmds=["python"], arguments=["-c", "pass"])
    operator._take(operator._profile())
    pod = operator.build_pod_request_obj()
    from kubernetes.client import ApiClient

    wire = ApiClient().sanitize_for_serialization(pod)
    container = wire["spec"]["containers"][0]
    assert (wire["metadata"]["namespace"], operator.kubernetes_conn_id) == ("training", "cluster")
    assert (container["command"], container["args"]) == (["python"], ["-c", "pass"])
    assert container["image"].startswith("registry.example.com/train@sha256:")
    assert container["resources"]["limits"]["nvidia.com/gpu"] in (2, "2")
    assert len(wire["spec"]["containers"]) == 1  # no sidecar
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert operator.rendered(operator._profile())["spec"] == wire["spec"]
    assert list(violations(wire["spec"], "restricted")) == []
    assert (operator.schedule_timeout_seconds, operator.startup_timeout_seconds) == (3600, 300)  # the profile's


def test_the_sidecar_may_run_in_a_restricted_namespace_too(profiles: None) -> None:
    from kubernetes.client import ApiClient

    from airflow_ml import GpuPodOperator

    operator: Any = GpuPodOperator(task_id="t", compute="gpu", cmds=["python"], do_xcom_push=True)
    operator._take(operator._profile())
    spec = ApiClient().sanitize_for_serialization(operator.build_pod_request_obj())["spec"]
    assert [one["name"] for one in spec["containers"]] == ["base", "airflow-xcom-sidecar"]
    assert [{"cpu", "memory", "ephemeral-storage"} - set(one["resources"]["limits"]) for one in spec["containers"]] == [
        set(),
        set(),
    ]
    assert list(violations(spec, "restricted")) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image": "train:latest"}, "image is not named by its digest: train:latest"),
        ({"container_security_context": {"privileged": True}}, "container base is privileged"),
        ({"hostnetwork": True}, "hostNetwork is true"),
        ({"env_vars": {"AWS_SECRET_ACCESS_KEY": "x"}}, "would show a secret: AWS_SECRET_ACCESS_KEY"),
    ],
)
def test_what_the_profile_does_not_allow_is_refused(profiles: None, arguments: dict[str, Any], words: str) -> None:
    from airflow_ml import GpuPodOperator

    operator: Any = GpuPodOperator(task_id="t", compute="gpu", cmds=["python"], **arguments)
    with pytest.raises(ConfigurationError, match=words):
        operator.rendered(operator._profile())
    with pytest.raises(AirflowFailException, match=words):  # before there is any cluster, and once
        operator.execute(context())


def test_a_profile_of_another_kind_is_refused(profiles: None) -> None:
    from airflow_ml import GpuPodOperator

    operator: Any = GpuPodOperator(task_id="t", compute="local", cmds=["python"])
    with pytest.raises(ConfigurationError, match="kind kubernetes"):
        operator._profile()


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubernetesDouble]:
    with kubernetes_double(nodes=[Node()]) as cluster:
        yield cluster


@pytest.fixture
def place(cluster: KubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "compute.toml"
    file.write_text(
        """
[here]
kind = "kubernetes"
image = "python:here"
cpus = 0.1
memory_gib = 0.25
max_memory_gib = 1
kubernetes = { image_by_tag = true, schedule_timeout_seconds = 2 }
"""
    )
    monkeypatch.setenv("AIRFLOW__ML__COMPUTE_PROFILES", str(file))
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(cluster.kubeconfig)}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))


def context() -> dict[str, Any]:
    """As much of a task's context as Airflow's operator looks at."""
    date = datetime(2026, 1, 1, tzinfo=UTC)
    names = {"dag_id": "dag", "task_id": "t", "run_id": "run", "map_index": -1, "try_number": 1, "is_mapped": False}
    instance = SimpleNamespace(**names, task=None, xcom_push=lambda **_: None, render_templates=lambda: None)
    run = SimpleNamespace(run_id="run", logical_date=date, run_after=date, dag_id="dag")
    dag = SimpleNamespace(dag_id="dag", is_subdag=False, parent_dag=None)
    return {"ti": instance, "task_instance": instance, "run_id": "run", "dag_run": run, "dag": dag,
            "logical_date": date, "ts": "2026"}  # fmt: skip


def outcome(cluster: KubernetesDouble, befalls: str | None, **settings: Any) -> JobFailed:
    """Run a pod to which something happens, and return the task's error, which must come soon."""
    from airflow_ml import GpuPodOperator

    given = {"arguments": ["sleep 60"], "do_xcom_push": True, "compute": "here", **settings}
    operator: Any = GpuPodOperator(
        task_id="t", name="pod", cmds=["sh", "-c"], poll_interval=0.1, base_container_status_polling_interval=0.1,
        **given,
    )  # fmt: skip

    def disrupt() -> None:
        while not (running := [pod for pod in cluster.pods() if pod["status"].get("phase") == "Running"]):
            time.sleep(0.05)
        cluster.disrupt(running[0]["metadata"]["name"], str(befalls))

    def run() -> None:
        around = context()
        try:
            operator.execute(around)
        except TaskDeferred as deferral:
            trigger: Any = deferral.trigger
            event = asyncio.run(_first_event(trigger))
            operator.trigger_reentry(around, event.payload)

    raised: list[BaseException] = []

    def watched() -> None:
        try:
            run()
        except BaseException as error:
            raised.append(error)

    if befalls is not None:
        threading.Thread(target=disrupt, daemon=True).start()
    task = threading.Thread(target=watched, daemon=True)
    task.start()
    task.join(60)
    assert not task.is_alive(), "it hangs"
    [error] = raised
    assert isinstance(error, JobFailed), error
    return error


@pytest.mark.fault("A4", "A7", "K11")
def test_the_pod_of_a_task_that_waits_for_it_is_left_and_that_of_one_that_was_ended_is_not(
    cluster: KubernetesDouble, place: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_ml import GpuPodOperator

    operator: Any = GpuPodOperator(
        task_id="t", name="waits", cmds=["sleep", "60"], compute="here", deferrable=True, on_finish_action="keep_pod"
    )
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context())
    name, kept = caught.value.trigger.serialize()
    assert name == "airflow_ml.triggers.gpu_pod.GpuPodTrigger"

    def there() -> bool:
        return any(
            pod["metadata"]["name"] == kept["pod_name"] and not pod["metadata"].get("deletionTimestamp")
            for pod in cluster.pods()
        )

    def away(instance: Any) -> str:
        raise ConnectionError("the API server restarts")

    for state, stays in ((lambda _: "deferred", True), (away, True), (lambda _: "failed", False)):
        monkeypatch.setattr("airflow_ml.triggers.gpu_pod.task_state", state)
        asyncio.run(type(caught.value.trigger)(**kept).on_kill())
        assert there() is stays


async def _first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event
    return None


def test_a_pod_that_is_evicted_ends_its_task_with_the_reason(cluster: KubernetesDouble, place: None) -> None:
    error = outcome(cluster, "evict_without_statuses")  # Airflow waits 15 minutes for the sidecar of a pod that is gone
    assert error.reasons == ("evicted",)
    assert "The node was low on resource" in str(error)
    decision = GpuRetryPolicy().evaluate(error, 1, 3)
    assert decision.retry_delay == timedelta(seconds=60)


def test_a_pod_that_the_cluster_refuses_fails_with_the_reason(cluster: KubernetesDouble, place: None) -> None:
    cluster.access.deny("create", "pods")
    try:
        error = outcome(cluster, None)
    finally:
        cluster.access.allow_all()
    assert (error.reasons, error.retryable) == (("refused",), False)
    assert 'cannot create resource "pods"' in str(error)


@pytest.mark.fault("A2", "A3")
@pytest.mark.parametrize(
    ("state", "tries", "how", "stays"),
    [
        ("running", 1, "signal", True),  # the worker is told to end
        ("running", 0, "signal", False),  # and nobody comes after it
        ("running", 1, "timeout", False),
        ("failed", 1, "signal", False),
        ("restarting", 1, "signal", False),  # cleared
        (None, 1, "signal", True),  # the API server is away
    ],
)
def test_who_ends_the_task_decides_on_its_pod(
    state: str | None, tries: int, how: str, stays: bool, profiles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.sdk.exceptions import AirflowTaskTimeout

    from airflow_ml import GpuPodOperator

    def asked(instance: Any) -> str:
        if state is None:
            raise ConnectionError("the API server restarts")
        return state

    ended: list[bool] = []
    monkeypatch.setattr("airflow_ml.operators.worker_end.task_state", asked)
    monkeypatch.setattr(KubernetesPodOperator, "on_kill", lambda self: ended.append(True))
    operator: Any = GpuPodOperator(task_id="t", compute="gpu", cmds=["true"])
    operator._instance = SimpleNamespace(try_number=1, max_tries=tries)
    if how == "timeout":
        try:
            raise AirflowTaskTimeout
        except AirflowTaskTimeout:
            operator.on_kill()
    else:
        operator.on_kill()
    assert ended == ([] if stays else [True])


def test_a_pod_that_ended_well_while_nobody_looked_is_not_run_again(
    cluster: KubernetesDouble, place: None, tmp_path: Path
) -> None:
    from airflow_ml import GpuPodOperator

    def operator() -> Any:
        return GpuPodOperator(
            task_id="missed", name="missed", cmds=["sh", "-c"], arguments=[f"printf x >> {tmp_path}/ran"],
            compute="here", deferrable=True, poll_interval=0.1,
        )  # fmt: skip

    with pytest.raises(TaskDeferred):
        operator().execute(context())
    while not [pod for pod in cluster.pods() if pod["status"].get("phase") == "Succeeded"]:
        time.sleep(0.05)
    operator().execute(context())  # on another worker
    assert (tmp_path / "ran").read_text() == "x"


@pytest.mark.long
@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    ("befalls", "settings", "reason"),
    [
        (None, {"arguments": ["exit 7"]}, "user_error"),
        ("evict_without_statuses", {"get_logs": False}, "evicted"),
        ("preempt", {"do_xcom_push": False}, "preempted"),
        ("node_lost", {}, "node_lost"),
        ("oom", {}, "out_of_memory"),
        (None, {"compute": profile("here", gpus=1)}, "unschedulable"),
    ],
)
def test_each_end_has_its_reason_and_none_hangs(
    cluster: KubernetesDouble, place: None, deferrable: bool, befalls: str | None, settings: dict[str, Any], reason: str
) -> None:
    error = outcome(cluster, befalls, deferrable=deferrable, **settings)
    assert error.reasons == (reason,)
    assert error.retryable is (reason not in ("user_error", "unschedulable"))
    assert [pod for pod in cluster.pods() if pod["status"].get("phase") == "Running"] == []


def test_without_the_provider_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import airflow_ml

    monkeypatch.setitem(sys.modules, "airflow.providers.cncf.kubernetes.operators.pod", None)
    monkeypatch.delitem(sys.modules, "airflow_ml.operators.gpu_pod", raising=False)
    monkeypatch.delitem(vars(airflow_ml), "GpuPodOperator", raising=False)
    with pytest.raises(MissingDependency, match=r"Install airflow-ml\[kubernetes\]"):
        _ = airflow_ml.GpuPodOperator
