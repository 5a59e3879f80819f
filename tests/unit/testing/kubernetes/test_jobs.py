from __future__ import annotations

import pytest
from kubernetes import client

from airflow_ml.testing.kubernetes import KubernetesDouble

from .conftest import ended_job, job, until

pytestmark = pytest.mark.integration


def pods_of(core: client.CoreV1Api, name: str) -> list[client.V1Pod]:
    found: list[client.V1Pod] = core.list_namespaced_pod("default", label_selector=f"job-name={name}").items
    return found


def test_each_index_runs_once_in_an_indexed_job(batch: client.BatchV1Api, core: client.CoreV1Api, name: str) -> None:
    batch.create_namespaced_job("default", job(name, "echo index $JOB_COMPLETION_INDEX", completions=8))
    kind, reason, status = ended_job(batch, name)
    assert (kind, reason) == ("Complete", "CompletionsReached")
    assert (status.succeeded, status.completed_indexes, status.active or 0) == (8, "0-7", 0)
    pods = pods_of(core, name)
    assert len(pods) == 8
    for one in pods:
        index = one.metadata.annotations["batch.kubernetes.io/job-completion-index"]
        log = core.read_namespaced_pod_log(one.metadata.name, "default", _preload_content=False).data
        assert log == f"index {index}\n".encode()


def test_never_more_pods_than_the_parallelism(
    batch: client.BatchV1Api, core: client.CoreV1Api, cluster: KubernetesDouble, name: str
) -> None:
    batch.create_namespaced_job("default", job(name, "sleep 0.1", completions=6, parallelism=2))
    most = 0

    def look() -> bool:
        nonlocal most
        phases = [one.status.phase for one in pods_of(core, name)]
        most = max(most, phases.count("Running") + phases.count("Pending"))
        return phases.count("Succeeded") == 6

    until(look)
    assert most == 2


def test_an_index_is_tried_again_by_its_own_limit(batch: client.BatchV1Api, name: str, tmp_path: object) -> None:
    script = f"mkdir {tmp_path}/$JOB_COMPLETION_INDEX 2>/dev/null && exit 3; exit 0"
    batch.create_namespaced_job("default", job(name, script, completions=3, backoffLimitPerIndex=1))
    kind, _, status = ended_job(batch, name)
    assert (kind, status.succeeded, status.failed) == ("Complete", 3, 3)


def test_indexes_fail_alone(batch: client.BatchV1Api, name: str) -> None:
    script = "test $JOB_COMPLETION_INDEX -ne 2"
    batch.create_namespaced_job("default", job(name, script, completions=5, backoffLimitPerIndex=0))
    kind, reason, status = ended_job(batch, name)
    assert (kind, reason) == ("Failed", "FailedIndexes")
    assert (status.completed_indexes, status.failed_indexes) == ("0-1,3-4", "2")


def test_too_many_failed_indexes_end_the_job(batch: client.BatchV1Api, core: client.CoreV1Api, name: str) -> None:
    body = job(
        name,
        "test $JOB_COMPLETION_INDEX -gt 2 && sleep 60; exit 1",
        completions=6,
        parallelism=6,
        backoffLimitPerIndex=0,
        maxFailedIndexes=1,
    )
    batch.create_namespaced_job("default", body)
    kind, reason, _ = ended_job(batch, name)
    assert (kind, reason) == ("Failed", "MaxFailedIndexesExceeded")
    until(lambda: not [one for one in pods_of(core, name) if one.status.phase == "Running"])


def test_the_backoff_limit_of_the_whole_job(batch: client.BatchV1Api, name: str) -> None:
    batch.create_namespaced_job("default", job(name, "exit 1", completions=1, backoffLimit=1))
    kind, reason, status = ended_job(batch, name)
    assert (kind, reason, status.failed) == ("Failed", "BackoffLimitExceeded", 2)


def test_a_failure_policy_fails_the_index_or_the_job_by_exit_code(batch: client.BatchV1Api, name: str) -> None:
    policy = {
        "rules": [
            {"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}},
            {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [43]}},
        ]
    }
    body = job(name, "exit 42", backoffLimitPerIndex=5, podFailurePolicy=policy)
    batch.create_namespaced_job("default", body)
    _, reason, status = ended_job(batch, name)
    assert (reason, status.failed, status.failed_indexes) == ("FailedIndexes", 1, "0")
    body = job(f"{name}-b", "exit 43", backoffLimitPerIndex=5, podFailurePolicy=policy)
    batch.create_namespaced_job("default", body)
    _, reason, status = ended_job(batch, f"{name}-b")
    assert (reason, status.failed) == ("PodFailurePolicy", 1)
    message = next(one.message for one in status.conditions if one.type == "Failed")
    assert "failed with exit code 43 matching FailJob rule at index 1" in message


@pytest.mark.parametrize("what", ["evict", "preempt", "evict_by_api"])
def test_disruptions_that_the_policy_ignores_cost_no_try(
    healthy: KubernetesDouble, batch: client.BatchV1Api, name: str, what: str
) -> None:
    healthy.faults.disrupt_pods(what, name=f"{name}-0-*", after_seconds=0.2)
    policy = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}
    body = job(name, "sleep 0.5", completions=2, backoffLimitPerIndex=0, podFailurePolicy=policy)
    batch.create_namespaced_job("default", body)
    kind, _, status = ended_job(batch, name)
    assert (kind, status.succeeded, status.failed) == ("Complete", 2, 1)


def test_enough_successes_end_the_job(batch: client.BatchV1Api, core: client.CoreV1Api, name: str) -> None:
    rules = {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}
    script = "test $JOB_COMPLETION_INDEX -eq 1 || sleep 60"
    batch.create_namespaced_job("default", job(name, script, completions=3, successPolicy=rules))
    kind, reason, status = ended_job(batch, name)
    assert (kind, reason, status.completed_indexes) == ("Complete", "SuccessPolicy", "1")


def test_a_suspended_job_waits_and_goes_on(batch: client.BatchV1Api, core: client.CoreV1Api, name: str) -> None:
    batch.create_namespaced_job("default", job(name, "true", completions=2, suspend=True))

    def suspended() -> bool:
        status = batch.read_namespaced_job(name, "default").status
        return any(one.type == "Suspended" and one.status == "True" for one in status.conditions or [])

    until(suspended)
    assert pods_of(core, name) == []
    batch.patch_namespaced_job(name, "default", {"spec": {"suspend": False}})
    assert ended_job(batch, name)[0] == "Complete"


def test_a_deadline_ends_the_job(batch: client.BatchV1Api, name: str) -> None:
    batch.create_namespaced_job("default", job(name, "sleep 60", activeDeadlineSeconds=1))
    assert ended_job(batch, name)[:2] == ("Failed", "DeadlineExceeded")


def test_a_finished_job_vanishes_after_its_time(batch: client.BatchV1Api, core: client.CoreV1Api, name: str) -> None:
    batch.create_namespaced_job("default", job(name, "true", ttlSecondsAfterFinished=0))

    def gone() -> bool:
        listed = batch.list_namespaced_job("default", field_selector=f"metadata.name={name}").items
        return not listed and not pods_of(core, name)

    until(gone)


def test_pods_outlive_their_job_unless_the_deletion_says_otherwise(
    batch: client.BatchV1Api, core: client.CoreV1Api, name: str
) -> None:
    for policy, left in ((None, 1), ("Background", 0)):
        batch.create_namespaced_job("default", job(name, "true"))
        ended_job(batch, name)
        batch.delete_namespaced_job(name, "default", **({"propagation_policy": policy} if policy else {}))
        until(lambda left=left: len(pods_of(core, name)) == left)  # type: ignore[misc]
        for one in pods_of(core, name):
            core.delete_namespaced_pod(one.metadata.name, "default")


def test_deleting_the_wrong_job_is_a_conflict(batch: client.BatchV1Api, name: str) -> None:
    batch.create_namespaced_job("default", job(name, "sleep 30"))
    body = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another"), propagation_policy="Background")
    with pytest.raises(client.ApiException) as refused:
        batch.delete_namespaced_job(name, "default", body=body)
    assert refused.value.status == 409
    batch.delete_namespaced_job(name, "default", propagation_policy="Background")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pod": {"restartPolicy": "Always"}}, "restartPolicy"),
        ({"maxFailedIndexes": 1}, "backoffLimitPerIndex"),
        ({"completions": None}, "completions: Required"),
        ({"completionMode": "NonIndexed", "backoffLimitPerIndex": 1}, "requires indexed"),
        ({"completions": "many"}, "many"),
    ],
)
def test_what_a_real_server_refuses_is_refused(
    batch: client.BatchV1Api, name: str, change: dict[str, object], message: str
) -> None:
    with pytest.raises(client.ApiException) as refused:
        batch.create_namespaced_job("default", job(name, "true", **change))  # type: ignore[arg-type]
    assert refused.value.status in (400, 422)
    assert message in refused.value.body


@pytest.mark.long
def test_ten_thousand_indexes(batch: client.BatchV1Api, cluster: KubernetesDouble, name: str) -> None:
    body = job(name, "exec true", completions=10_000, parallelism=50)
    batch.create_namespaced_job("default", body)
    until(lambda: batch.read_namespaced_job_status(name, "default").status.completion_time, seconds=280)
    assert batch.read_namespaced_job_status(name, "default").status.completed_indexes == "0-9999"
