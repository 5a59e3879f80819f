"""Pods as the API server describes them, each with the row of the failure table that it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_ml.core.kubernetes_options import KubernetesOptions
from airflow_ml.core.pod_failure import gone_failure, job_waiting, pod_failure, pod_waiting, waited_too_long

CREATED = "2026-11-23T10:00:00Z"
NOW = datetime(2026, 11, 23, 10, 2, tzinfo=UTC)


def pod(
    phase: str, *, terminated: dict[str, Any] | None = None, waiting: dict[str, Any] | None = None, **status: Any
) -> dict[str, Any]:
    state = {"terminated": terminated} if terminated else {"waiting": waiting} if waiting else None
    containers = {"containerStatuses": [{"name": "call", "state": state}]} if state else {}
    return {
        "metadata": {"name": "train-3-abcde", "creationTimestamp": CREATED},
        "spec": {"containers": [{"name": "call", "resources": {"limits": {"memory": "8192Mi"}}}]},
        "status": {"phase": phase, **containers, **status},
    }


def disrupted(why: str, message: str = "", **status: Any) -> dict[str, Any]:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": why, "message": message}
    return pod("Failed", conditions=[condition], **status)


ENDED = [
    (pod("Failed", terminated={"exitCode": 1, "reason": "Error"}), "user_error", "exit code 1"),
    (
        pod("Failed", terminated={"exitCode": 64, "reason": "Error", "message": "airflow-ml: no store of that kind\n"}),
        "bad_input",
        "exit code 64: airflow-ml: no store of that kind",
    ),
    (pod("Failed", terminated={"exitCode": 137, "reason": "OOMKilled"}), "out_of_memory", "its limit is 8192Mi"),
    (pod("Failed", terminated={"exitCode": 137, "reason": "Error"}), "killed", "exit code 137 (signal 9)"),
    (
        pod(
            "Failed",
            terminated={
                "exitCode": 128,
                "reason": "StartError",
                "message": 'exec: "python3": executable file not found in $PATH',
            },
        ),
        "start_error",
        "executable file not found",
    ),
    # Evicted before any container began: containerStatuses is absent.
    (
        disrupted(
            "TerminationByKubelet",
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 85Mi.",
            reason="Evicted",
        ),
        "evicted",
        "TerminationByKubelet: The node was low on resource: memory.",
    ),
    (
        pod(
            "Failed",
            reason="Evicted",
            message="Pod ephemeral local storage usage exceeds the total limit of containers.",
        ),
        "disk_full",
        "exceeds the total limit",
    ),
    (
        pod("Failed", reason="Evicted", message='Usage of EmptyDir volume "shm" exceeds the limit "16Gi".'),
        "shared_memory",
        "exceeds the limit",
    ),
    (
        disrupted(
            "PreemptionByScheduler",
            "default-scheduler: preempting to accommodate a higher priority pod",
            containerStatuses=[{"name": "call", "state": {"terminated": {"exitCode": 143, "reason": "Error"}}}],
        ),
        "preempted",
        "higher priority",
    ),
    (disrupted("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"), "node_lost", "NoExecute"),
    (disrupted("DeletionByPodGC", "PodGC: node no longer exists"), "node_lost", "node no longer exists"),
    (disrupted("EvictionByEvictionAPI", "Eviction API: evicting"), "evicted", "Eviction API"),
    (
        disrupted("TerminationByKubelet", "terminated in response to imminent node shutdown", reason="Terminated"),
        "node_lost",
        "imminent node shutdown",
    ),
    (pod("Unknown", reason="NodeLost", message="Node i-1 is unresponsive"), "node_lost", "unresponsive"),
    (
        pod("Failed", reason="UnexpectedAdmissionError", message="Allocate failed due to requested number of devices"),
        "node_refused",
        "Allocate failed",
    ),
    (pod("Failed", reason="OutOfnvidia.com/gpu", message="not enough"), "node_refused", "OutOfnvidia"),
    (
        pod(
            "Failed",
            reason="DeadlineExceeded",
            message="active longer than the specified deadline",
            containerStatuses=[{"name": "call", "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}],
        ),
        "timeout",
        "longer than the specified deadline",
    ),
    (pod("Failed"), "lost", "says nothing of it"),
]


@pytest.mark.parametrize(("described", "reason", "words"), ENDED, ids=[f"{row[1]}: {row[2]}" for row in ENDED])
@pytest.mark.fault("K4")
def test_ended(described: dict[str, Any], reason: str, words: str) -> None:
    found = pod_failure(described)
    assert found is not None
    assert found.reason == reason
    assert words in found.message
    assert pod_waiting(described) is None or described["status"]["phase"] == "Pending"


@pytest.mark.parametrize(
    "described",
    [
        pod("Running"),
        pod("Pending"),
        pod("Succeeded", terminated={"exitCode": 0, "reason": "Completed"}),
        {"metadata": {}, "status": {}},
        {},
    ],
)
def test_not_failed(described: dict[str, Any]) -> None:
    assert pod_failure(described) is None


def test_a_failed_container_before_the_phase_follows() -> None:
    found = pod_failure(pod("Running", terminated={"exitCode": 1, "reason": "Error"}))
    assert found is not None
    assert found.reason == "user_error"


def test_the_peak_of_memory() -> None:
    found = pod_failure(pod("Failed", terminated={"exitCode": 137, "reason": "OOMKilled"}), peak_memory_bytes=2**33)
    assert found is not None
    assert found.message == "killed for its memory: its limit is 8192Mi, its peak was 8.00 GiB"


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/5 nodes are available: 3 Insufficient nvidia.com/gpu, 2 node(s) had untolerated taint {pool: web}.",
    "lastTransitionTime": "2026-11-23T10:01:00Z",
}


@pytest.mark.fault("K6")
def test_no_node_takes_it() -> None:
    waiting = pod_waiting(pod("Pending", conditions=[UNSCHEDULABLE]))
    assert waiting is not None
    assert waiting.reason == "unschedulable"
    assert "3 Insufficient nvidia.com/gpu" in waiting.message
    options = KubernetesOptions(schedule_timeout_seconds=90)
    assert waited_too_long(waiting, options, NOW) is None
    failure = waited_too_long(waiting, options, NOW + timedelta(seconds=31))
    assert failure is not None
    assert failure.reason == "unschedulable"
    assert failure.message.startswith("for 90 seconds: Unschedulable: 0/5 nodes are available")


@pytest.mark.fault("K5")
@pytest.mark.parametrize(
    ("reason", "row"),
    [
        ("ImagePullBackOff", "image_pull"),
        ("ErrImagePull", "image_pull"),
        ("InvalidImageName", "image_pull"),
        ("CreateContainerConfigError", "start_error"),
        ("CreateContainerError", "start_error"),
    ],
)
def test_it_cannot_begin(reason: str, row: str) -> None:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-11-23T10:01:00Z"}
    waiting = pod_waiting(
        pod("Pending", waiting={"reason": reason, "message": "the registry's words"}, conditions=[scheduled])
    )
    assert waiting is not None
    assert (waiting.reason, waiting.message) == (row, f"{reason}: the registry's words")
    assert waited_too_long(waiting, KubernetesOptions(), NOW) is None
    assert waited_too_long(waiting, KubernetesOptions(), NOW + timedelta(seconds=240)) is not None


def test_the_words_of_an_event_stand_in_for_a_silent_status() -> None:
    events = [
        {
            "type": "Warning",
            "reason": "Failed",
            "message": "Error: ErrImagePull",
            "involvedObject": {"name": "train-3-abcde"},
        },
        {
            "type": "Warning",
            "reason": "Failed",
            "message": 'Failed to pull image "x": 403 Forbidden',
            "involvedObject": {"name": "train-3-abcde"},
        },
        {
            "type": "Warning",
            "message": "of another pod, and much longer than any other",
            "involvedObject": {"name": "y"},
        },
    ]
    waiting = pod_waiting(pod("Pending", waiting={"reason": "ImagePullBackOff"}), events)
    assert waiting is not None
    assert waiting.message == 'ImagePullBackOff: Failed to pull image "x": 403 Forbidden'


@pytest.mark.parametrize(
    ("reasons", "row"),
    [
        (["Scheduled", "Pulled", "Started", "Preempted", "Killing"], "preempted"),
        (["Started", "NodeNotReady", "TaintManagerEviction"], "node_lost"),
        (["Started", "Evicted"], "evicted"),
        (["Started", "Killing"], "lost"),
        ([], "lost"),
    ],
)
def test_a_pod_that_is_gone_left_events(reasons: list[str], row: str) -> None:
    found = gone_failure("train-3", [{"reason": one, "message": "words"} for one in reasons])
    assert found.reason == row
    assert "words" in found.message if row != "lost" else "train-3 is gone" in found.message


def test_on_its_way() -> None:
    waiting = pod_waiting(pod("Pending", waiting={"reason": "ContainerCreating"}))
    assert waiting is not None
    assert waiting.reason == ""
    assert waited_too_long(waiting, KubernetesOptions(), NOW + timedelta(days=1)) is None
    assert pod_waiting(pod("Running")) is None


def test_gates_are_patience() -> None:
    gate = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gated"}
    waiting = pod_waiting(pod("Pending", conditions=[gate]))
    assert waiting is not None
    assert waiting.reason == ""
    assert waiting.message == "SchedulingGated: gated"


def test_a_job_that_is_held_up() -> None:
    job = {"metadata": {"name": "j", "labels": {"kueue.x-k8s.io/queue-name": "gpu"}}, "spec": {"suspend": True}}
    assert job_waiting(job).message == "suspended until the queue gpu lets it go"  # type: ignore[union-attr]
    assert "somebody must resume it" in job_waiting({"spec": {"suspend": True}}).message  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            'pods "j-0" is forbidden: exceeded quota: gpus, used: 8, limited: 8',
            "quota",
        ),
        ('pods "j-0" is forbidden: violates PodSecurity "restricted:latest"', "refused"),
        ('pods "j-0" is forbidden: error looking up service account ml/trainer', "refused"),
    ],
)
def test_a_job_whose_pods_are_refused(message: str, reason: str) -> None:
    event = {
        "reason": "FailedCreate",
        "message": message,
        "firstTimestamp": CREATED,
        "involvedObject": {"kind": "Job", "name": "j"},
    }
    waiting = job_waiting({"metadata": {"name": "j"}, "spec": {}}, [event])
    assert waiting is not None
    assert (waiting.reason, waiting.message) == (reason, message)
    began = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
    allowed = timedelta(hours=1) if reason == "quota" else timedelta(minutes=5)  # a quota may have room again
    assert waited_too_long(waiting, KubernetesOptions(), began + 0.9 * allowed) is None
    assert waited_too_long(waiting, KubernetesOptions(), began + allowed) is not None
    assert job_waiting({"metadata": {"name": "j"}, "status": {"active": 3}}, [event]) is None
    assert job_waiting({"metadata": {"name": "other"}}, [event]) is None
