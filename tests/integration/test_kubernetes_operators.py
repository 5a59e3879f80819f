"""Airflow's own Kubernetes operators against the double: who else would know how a client of a cluster behaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_ml.testing.kubernetes import KubernetesDouble, Node, kubernetes_double

pytestmark = [
    pytest.mark.integration,
    # Importing Airflow's operators and waiting for their own pauses takes longer than the plain suite has.
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::airflow.exceptions.AirflowProviderDeprecationWarning"),
]
BASE: dict[str, Any] = {
    "task_id": "task",
    "kubernetes_conn_id": "kubernetes_double",
    "namespace": "default",
    "image": "python:3.11",
}
POD: dict[str, Any] = {**BASE, "base_container_status_polling_interval": 0.1, "poll_interval": 0.1}


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubernetesDouble]:
    with kubernetes_double(nodes=[Node(capacity={"nvidia.com/gpu": 1})], schema_version="1.34") as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def connection(cluster: KubernetesDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"kube_config_path": str(cluster.kubeconfig), "namespace": "default"}
    settings = json.dumps({"conn_type": "kubernetes", "extra": extra})
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DOUBLE", settings)


class Instance:
    """As much of a task instance as the operators look at."""

    dag_id, task_id, run_id, map_index, try_number, is_mapped, task = "dag", "task", "run", -1, 1, False, None

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        self.pushed[key] = value

    def render_templates(self) -> None:
        pass


def context() -> dict[str, Any]:
    date = datetime(2026, 1, 1, tzinfo=UTC)
    run = SimpleNamespace(run_id="run", logical_date=date, run_after=date, dag_id="dag")
    dag = SimpleNamespace(dag_id="dag", is_subdag=False, parent_dag=None)
    instance = Instance()
    return {
        "ti": instance,
        "task_instance": instance,
        "run_id": "run",
        "dag_run": run,
        "dag": dag,
        "logical_date": date,
        "ts": "2026",
    }


def pod_operator(**settings: Any) -> Any:
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator

    return KubernetesPodOperator(**{**POD, "name": "pod", **settings})


def test_a_pod_and_its_log(caplog: pytest.LogCaptureFixture) -> None:
    operator = pod_operator(cmds=["sh", "-c"], arguments=["for i in 1 2 3; do echo line $i; done"], get_logs=True)
    operator.execute(context())


def test_xcom_comes_through_the_sidecar_and_its_kill_reaches_nobody_else(cluster: KubernetesDouble) -> None:
    operator = pod_operator(
        cmds=["sh", "-c"],
        arguments=["echo '{\"accuracy\": 0.9}' > /airflow/xcom/return.json"],
        do_xcom_push=True,
        on_finish_action="keep_pod",
    )
    assert operator.execute(context()) == {"accuracy": 0.9}


def test_a_failing_pod_fails_its_task() -> None:
    from airflow.providers.common.compat.sdk import AirflowException

    with pytest.raises(AirflowException):
        pod_operator(cmds=["sh", "-c"], arguments=["exit 7"]).execute(context())


def test_a_deferred_pod_is_watched_by_the_trigger() -> None:
    from airflow.providers.common.compat.sdk import TaskDeferred

    operator = pod_operator(cmds=["sh", "-c"], arguments=["sleep 0.5; echo done"], deferrable=True)
    around = context()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(around)

    async def first_event() -> Any:
        async for event in deferred.value.trigger.run():
            return event
        return None

    event = asyncio.run(asyncio.wait_for(first_event(), 60))
    assert event.payload["status"] == "success"
    assert operator.trigger_reentry(around, event.payload) is None


def test_an_indexed_job(cluster: KubernetesDouble) -> None:
    from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator

    operator = KubernetesJobOperator(
        **BASE,
        name="job",
        cmds=["sh", "-c"],
        arguments=["echo index $JOB_COMPLETION_INDEX"],
        completions=3,
        parallelism=2,
        completion_mode="Indexed",
        wait_until_job_complete=True,
        job_poll_interval=0.2,
    )
    operator.execute(context())
    [job] = [one for one in cluster.jobs() if one["metadata"]["name"] == operator.job.metadata.name]
    assert job["status"]["completedIndexes"] == "0-2"


def test_a_job_beyond_its_limit_fails_its_task() -> None:
    from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
    from airflow.providers.common.compat.sdk import AirflowException

    operator = KubernetesJobOperator(
        **BASE,
        name="failing",
        cmds=["sh", "-c"],
        arguments=["exit 1"],
        backoff_limit=0,
        wait_until_job_complete=True,
        job_poll_interval=0.2,
    )
    with pytest.raises(AirflowException, match="BackoffLimitExceeded"):
        operator.execute(context())
