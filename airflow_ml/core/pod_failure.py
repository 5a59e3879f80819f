"""Why a pod ended without success, or why it does not run: from what the API server says of it, as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from airflow_ml.core.failure import Failure, failure_of_exit, out_of_memory
from airflow_ml.core.fingerprint import parse_time
from airflow_ml.core.kubernetes_options import KubernetesOptions
from airflow_ml.core.kueue import queue_of, queue_words

_IMAGE = frozenset(
    (
        "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
        "RegistryUnavailable", "SignatureValidationFailed",
    )
)  # fmt: skip
_START = frozenset(
    (
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
        "PreCreateHookError",
        "PreStartHookError",
    )
)
_CANNOT_RUN = frozenset(("StartError", "ContainerCannotRun"))
#: Reasons of the condition ``DisruptionTarget``, and of a pod's own status.
_DISRUPTIONS = {
    "PreemptionByScheduler": "preempted",
    "PreemptionByKubeScheduler": "preempted",
    "DeletionByTaintManager": "node_lost",
    "DeletionByPodGC": "node_lost",
    "EvictionByEvictionAPI": "evicted",
    "TerminationByKubelet": "evicted",
}
_ENDED_BY_NODE = {
    "Evicted": "evicted",
    "NodeLost": "node_lost",
    "NodeShutdown": "node_lost",
    "Shutdown": "node_lost",
    "Terminated": "node_lost",
    "Preempting": "preempted",
    "UnexpectedAdmissionError": "node_refused",
    "NodeAffinity": "node_refused",
    "DeadlineExceeded": "timeout",
}


#: Reasons of events about a pod that is gone.
_GONE = {
    "Preempted": "preempted",
    "Evicted": "evicted",
    "TaintManagerEviction": "node_lost",
    "NodeNotReady": "node_lost",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Why a pod does not run yet."""

    #: ``unschedulable``, ``image_pull``, ``start_error``, of a job ``quota`` and ``refused`` too; or empty where it is
    #: simply on its way.
    reason: str
    #: In the cluster's own words.
    message: str
    #: Since when; None where nothing says so.
    since: datetime | None = None
    #: When the cluster said so last, where it repeats itself as long as it lasts; None where it need not.
    told_at: datetime | None = None


def pod_failure(pod: Mapping[str, Any], *, peak_memory_bytes: int | None = None) -> Failure | None:
    """Return why a pod ended without success; None where it has not ended, or ended well.

    Args:
        pod: As ``GET .../pods/{name}`` returns it, in JSON. A pod that was evicted before it began has no container.
        peak_memory_bytes: The most memory that it was seen to have.
    """
    status = pod.get("status") or {}
    terminated = _terminated(status)
    if status.get("phase") not in ("Failed", "Unknown") and (terminated is None or not terminated.get("exitCode")):
        return None
    return (
        _limit_of_a_volume(status)
        or _disruption(status)
        or _by_node(status)
        or _by_container(pod, terminated, peak_memory_bytes)
        or Failure(reason="lost", message=_words(status) or "the pod failed and says nothing of it")
    )


def pod_waiting(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]] = ()) -> Waiting | None:
    """Return why a pod does not run yet; None where it runs or has ended.

    Args:
        pod: As the API server returns it, in JSON.
        events: The namespace's events; those of the pod have the words of an image that cannot be pulled.
    """
    status = pod.get("status") or {}
    if status.get("phase") not in (None, "", "Pending"):
        return None
    since = _time((pod.get("metadata") or {}).get("creationTimestamp"))
    for one in _containers(status):
        waiting = (one.get("state") or {}).get("waiting") or {}
        reason = "image_pull" if waiting.get("reason") in _IMAGE else "start_error"
        if waiting.get("reason") in _IMAGE | _START:
            words = str(waiting.get("message") or _event_words(pod, events) or "")
            scheduled = _condition(status, "PodScheduled")
            return Waiting(
                reason=reason,
                message=_joined(waiting["reason"], words),
                since=_time(scheduled.get("lastTransitionTime")) or since,
            )
    scheduled = _condition(status, "PodScheduled")
    if scheduled.get("status") == "False":
        words = _joined(scheduled.get("reason"), scheduled.get("message"))
        reason = "" if scheduled.get("reason") == "SchedulingGated" else "unschedulable"
        return Waiting(reason=reason, message=words, since=_time(scheduled.get("lastTransitionTime")) or since)
    return Waiting(reason="", message="", since=since)


def start_trouble(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    """Return the newest warning about a pod that has a node and is not started; empty where there is none.

    A volume that cannot be mounted, or a network without a free address: the node tries again, and only events say so.

    Args:
        pod: As the API server returns it, in JSON.
        events: Of the pod.
    """
    if not ((pod.get("spec") or {}).get("nodeName")):
        return ""
    told = [
        (str(one.get("lastTimestamp") or one.get("eventTime") or ""), _joined(one.get("reason"), one.get("message")))
        for one in events
        if one.get("type") == "Warning" and one.get("reason") != "FailedScheduling"  # before it had one
    ]
    return max(told, default=("", ""))[1]


def gone_failure(name: str, events: Sequence[Mapping[str, Any]]) -> Failure:
    """Return why a pod is gone, by the events about it, which stay for an hour.

    Args:
        name: The pod's.
        events: Of it, in JSON.
    """
    for one in reversed(events):
        reason = _GONE.get(str(one.get("reason")))
        if reason is not None:
            return Failure(reason=reason, message=_joined(one["reason"], one.get("message")))
    return Failure(reason="lost", message=f"pod {name} is gone, and nothing says why")


def waited_too_long(waiting: Waiting, options: KubernetesOptions, now: datetime) -> Failure | None:
    """Return the failure of what has waited for longer than its profile allows; None while it may wait."""
    if waiting.since is None or not waiting.reason:
        return None
    room = waiting.reason in ("unschedulable", "quota")  # others may give it back
    allowed = options.schedule_timeout_seconds if room else options.start_timeout_seconds
    if now - waiting.since < timedelta(seconds=allowed):
        return None
    return Failure(reason=waiting.reason, message=f"for {allowed:g} seconds: {waiting.message}")


def job_waiting(job: Mapping[str, Any], events: Sequence[Mapping[str, Any]] = ()) -> Waiting | None:
    """Return why a Job has no pods: suspended, or pods are refused; None where it is not held up.

    Args:
        job: As the API server returns it, in JSON.
        events: The namespace's events; the Job controller says there why it cannot make pods.
    """
    spec, name = job.get("spec") or {}, (job.get("metadata") or {}).get("name")
    if spec.get("suspend"):
        queue = queue_of(job)
        words = queue_words(queue, "", None, ()) if queue else "suspended; somebody must resume it"
        since = _time(_condition(job.get("status") or {}, "Suspended").get("lastTransitionTime"))
        return Waiting(reason="", message=words, since=since)
    refused = [
        one
        for one in events
        if one.get("reason") == "FailedCreate" and (one.get("involvedObject") or {}).get("name") == name
    ]
    if not refused or (job.get("status") or {}).get("active"):
        return None
    words = str(refused[-1].get("message") or "")
    since = _time(refused[0].get("firstTimestamp") or refused[0].get("eventTime"))
    told = [_time(one.get("lastTimestamp") or one.get("eventTime")) for one in refused]
    return Waiting(
        reason="quota" if "exceeded quota" in words else "refused",
        message=words,
        since=since,
        told_at=max((at for at in told if at is not None), default=since),
    )


def _limit_of_a_volume(status: Mapping[str, Any]) -> Failure | None:
    """An eviction for the pod's own limit is not a disruption: the same pod meets the same limit."""
    words = str(status.get("message") or "")
    if status.get("reason") != "Evicted" or "exceeds the" not in words:
        return None
    return Failure(reason="shared_memory" if '"shm"' in words else "disk_full", message=words)


def _disruption(status: Mapping[str, Any]) -> Failure | None:
    found = _condition(status, "DisruptionTarget")
    if found.get("status") != "True":
        return None
    words = _joined(found.get("reason"), found.get("message") or status.get("message"))
    if found.get("reason") == "TerminationByKubelet" and "shutdown" in words.lower():
        return Failure(reason="node_lost", message=words)
    return Failure(reason=_DISRUPTIONS.get(str(found.get("reason")), "evicted"), message=words)


def _by_node(status: Mapping[str, Any]) -> Failure | None:
    reason = str(status.get("reason") or "")
    if reason.startswith("OutOf"):  # OutOfcpu, OutOfmemory, OutOfnvidia.com/gpu: another pod was there first
        return Failure(reason="node_refused", message=_words(status))
    if reason in _ENDED_BY_NODE:
        return Failure(reason=_ENDED_BY_NODE[reason], message=_words(status))
    return Failure(reason="node_lost", message=_words(status)) if status.get("phase") == "Unknown" else None


def _by_container(
    pod: Mapping[str, Any], terminated: Mapping[str, Any] | None, peak_memory_bytes: int | None
) -> Failure | None:
    if terminated is None:
        return None
    reason, code = terminated.get("reason"), int(terminated.get("exitCode") or 0)
    if reason == "OOMKilled":
        containers = (pod.get("spec") or {}).get("containers") or [{}]
        limits = (containers[0].get("resources") or {}).get("limits") or {}
        return out_of_memory(str(limits.get("memory") or ""), peak_memory_bytes)
    words = " ".join(str(terminated.get("message") or "").split())[-500:]
    if reason in _CANNOT_RUN:
        return Failure(reason="start_error", message=_joined(reason, words), exit_code=code)
    if reason == "DeadlineExceeded":
        return Failure(reason="timeout", message=_joined(reason, words), exit_code=code)
    return failure_of_exit(code, words) if code else None


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _terminated(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return how the first container that failed ended, or the first that ended at all."""
    ended = [one["state"]["terminated"] for one in _containers(status) if (one.get("state") or {}).get("terminated")]
    return next((one for one in ended if one.get("exitCode")), ended[0] if ended else None)


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions") or () if one.get("type") == kind), {})


def _event_words(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str:
    name = (pod.get("metadata") or {}).get("name")
    said = [
        str(one.get("message") or "")
        for one in events
        if one.get("type") == "Warning" and (one.get("involvedObject") or {}).get("name") == name
    ]
    return max(said, key=len, default="")  # the longest one names the cause, the others repeat that there is one


def _words(status: Mapping[str, Any]) -> str:
    return _joined(status.get("reason"), status.get("message"))


def _joined(reason: object, message: object) -> str:
    return ": ".join(str(part) for part in (reason, message) if part)


def _time(text: object) -> datetime | None:
    return parse_time(str(text)) if text else None
