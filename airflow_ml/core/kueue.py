"""What Kueue says of a job that it holds back: its place in the queue and why its quota does not take it, as words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

QUEUE_LABEL, JOB_UID_LABEL = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/job-uid"
#: Workloads that the visibility API tells at once, the first ones of a queue; its own default.
TOLD_AT_ONCE = 1000
#: Kueue's words on a queue that nobody has made, and on a job that is larger than all of its quota.
_NO_QUEUE, _TOO_LARGE = re.compile(r"(Local|Cluster)Queue \S+ (doesn't|does not) exist"), "request > maximum capacity"


def queue_of(job: Mapping[str, Any]) -> str:
    """Return the local queue that a Job waits in; empty where it is in none."""
    return str(((job.get("metadata") or {}).get("labels") or {}).get(QUEUE_LABEL) or "")


def queue_words(
    queue: str, job_uid: str, workload: Mapping[str, Any] | None, pending: Sequence[Mapping[str, Any]]
) -> str:
    """Return why a job in a queue is suspended, and how many are before it; only its queue where nothing is known.

    Args:
        queue: The local queue.
        job_uid: Of the Job.
        workload: The ``Workload`` that Kueue made for it, as the API server returns it; None where it cannot be read.
        pending: The items of the queue's ``PendingWorkloadsSummary``, in their order; empty where they cannot be read.
    """
    parts = [f"suspended until the queue {queue} lets it go"]
    parts += filter(None, (_place(job_uid, pending), _admission(workload or {})))
    return "; ".join(parts)


def never_admitted(workload: Mapping[str, Any] | None) -> str:
    """Return why waiting does not help: ``refused``, its queue is not there; ``quota``, it is larger than all of it.

    Empty where waiting may help. Where one of several flavors only lacks room now, it may.

    Args:
        workload: As for `queue_words`.
    """
    status = (workload or {}).get("status") or {}
    for one in status.get("conditions") or ():
        words = str(one.get("message") or "")
        if one.get("type") == "QuotaReserved" and one.get("status") == "False":
            if _NO_QUEUE.search(words):
                return "refused"
            if _TOO_LARGE in words and "more needed" not in words:
                return "quota"
    return ""


def _place(job_uid: str, pending: Sequence[Mapping[str, Any]]) -> str:
    for one in pending:
        owners = (one.get("metadata") or {}).get("ownerReferences") or ()
        if any(owner.get("uid") == job_uid for owner in owners):
            count = f"over {len(pending)}" if len(pending) >= TOLD_AT_ONCE else str(len(pending))
            words = f"number {int(one.get('positionInLocalQueue') or 0) + 1} of {count} in it"
            overall = int(one.get("positionInClusterQueue") or 0) + 1
            return f"{words}, number {overall} for its quota"
    return ""


def _admission(workload: Mapping[str, Any]) -> str:
    """Return Kueue's own words on a workload that it has not admitted."""
    spec, status = workload.get("spec") or {}, workload.get("status") or {}
    conditions = {one.get("type"): one for one in status.get("conditions") or ()}
    evicted, quota = conditions.get("Evicted") or {}, conditions.get("QuotaReserved") or {}
    parts = []
    if spec.get("active") is False:
        parts.append("its Workload is deactivated: somebody must set spec.active")
    if evicted.get("status") == "True":  # it had begun
        parts.append(_told(evicted))
    if quota.get("status") == "True":
        parts.append(str(quota.get("message") or "its quota is reserved"))
        for check in status.get("admissionChecks") or ():
            if check.get("state") != "Ready":
                parts.append(": ".join(filter(None, (f"check {check.get('name')} {check.get('state')}",
                                                     str(check.get("message") or "")))))  # fmt: skip
    elif quota.get("message"):
        parts.append(_told(quota))
    if again := (status.get("requeueState") or {}).get("requeueAt"):
        parts.append(f"tried again at {again}")
    return "; ".join(parts)


def _told(condition: Mapping[str, Any]) -> str:
    return ": ".join(str(part) for part in (condition.get("reason"), condition.get("message")) if part)
