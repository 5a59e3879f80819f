"""Why a job of AWS Batch ended without success, or why it does not run: from ``DescribeJobs``, as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_ml.core.batch_options import BatchOptions
from airflow_ml.core.failure import Failure, failure_of_exit, out_of_memory
from airflow_ml.core.pod_failure import Waiting

#: Beginning of the reason that this package gives when it ends a job.
CANCELLED = "airflow-ml: cancelled"
_WAITING = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING")

#: What AWS says, in the order in which it is asked; the first that fits counts.
_SAID = (
    (re.compile(r"Host EC2.*terminated|Spot.*(interrupt|reclaim)|capacity-constraints", re.IGNORECASE), "preempted"),
    (re.compile(r"OutOfMemoryError|memory usage", re.IGNORECASE), "out_of_memory"),
    (re.compile(r"Cannot(Pull|InspectImage)\w*|pull image|manifest", re.IGNORECASE), "image_pull"),
    (
        re.compile(r"Cannot(Start|Create)ContainerError|ResourceInitializationError|TaskFailedToStart", re.I),
        "start_error",
    ),
    (re.compile(r"attempt duration exceeded timeout", re.IGNORECASE), "timeout"),
    (re.compile(r"no space left on device|ephemeral storage", re.IGNORECASE), "disk_full"),
    (re.compile(rf"{re.escape(CANCELLED)}|Terminated by user|Cancel", re.IGNORECASE), "cancelled"),
    (re.compile(r"MISCONFIGURATION|CAPACITY", re.IGNORECASE), "unschedulable"),
    (re.compile(r"AccessDenied|is not authorized", re.IGNORECASE), "refused"),
)


def batch_failure(job: Mapping[str, Any], *, peak_memory_bytes: int | None = None) -> Failure | None:
    """Return why a job or child failed; None where it has not.

    Args:
        job: One of ``jobs`` in the answer of ``DescribeJobs``.
        peak_memory_bytes: The most memory that it was seen to have.
    """
    if job.get("status") != "FAILED":
        return None
    container = _last_container(job)
    status_reason, reason = str(job.get("statusReason") or ""), str(container.get("reason") or "")
    code = container.get("exitCode")
    for words in (reason, status_reason):
        for pattern, name in _SAID:
            if pattern.search(words):
                if name == "out_of_memory":
                    return out_of_memory(_memory_limit(job), peak_memory_bytes)
                return Failure(reason=name, message=words, exit_code=code)
    if code:
        return failure_of_exit(int(code), reason)
    return Failure(reason="lost", message=reason or status_reason or "the job failed and says nothing of it")


def batch_waiting(job: Mapping[str, Any]) -> Waiting | None:
    """Return why a job does not run yet; None where it runs or has ended.

    Args:
        job: One of ``jobs`` in the answer of ``DescribeJobs``.
    """
    status = str(job.get("status") or "")
    if status not in _WAITING:
        return None
    words = str(job.get("statusReason") or "")
    created = job.get("createdAt")
    since = datetime.fromtimestamp(float(created) / 1000, UTC) if created else None
    message = f"{status}: {words}" if words else f"{status}: no instance has taken it yet"
    return Waiting(reason="unschedulable" if status == "RUNNABLE" else "", message=message, since=since)


def batch_waited_too_long(waiting: Waiting, options: BatchOptions, now: datetime) -> Failure | None:
    """Return the failure of a job that has waited for longer than its profile allows; None while it may wait."""
    if waiting.since is None or not waiting.reason:
        return None
    if now - waiting.since < timedelta(seconds=options.schedule_timeout_seconds):
        return None
    return Failure(
        reason=waiting.reason, message=f"for {options.schedule_timeout_seconds:g} seconds: {waiting.message}"
    )


def _last_container(job: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what is known of the newest attempt's container; the job's own is without it in some answers."""
    attempts = job.get("attempts") or ()
    container = job.get("container") or {}
    if "exitCode" in container or "reason" in container or not attempts:
        return container
    return attempts[-1].get("container") or {}


def _memory_limit(job: Mapping[str, Any]) -> str:
    wanted = (job.get("container") or {}).get("resourceRequirements") or ()
    found = next((str(one.get("value")) for one in wanted if one.get("type") == "MEMORY"), "")
    return f"{found}Mi" if found else ""
