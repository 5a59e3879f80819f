"""Reading a Job and its pods as the API server tells them: indexes, ends, and which failure is whose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_ml.core.failure import Failure, index_failure
from airflow_ml.core.job import FAILED, SUCCEEDED, IndexFailure, JobHandle
from airflow_ml.core.pod_failure import pod_failure

#: Labels that the Job controller gives its pods.
JOB_NAME, INDEX = "batch.kubernetes.io/job-name", "batch.kubernetes.io/job-completion-index"
_ENDS = {"Complete": SUCCEEDED, "Failed": FAILED}


def parse_indexes(text: str | None) -> list[int]:
    """Return the indexes of a text like ``1,3-5``, as the Job controller writes them; nothing for None.

    Raises:
        ValueError: it is none.
    """
    found: list[int] = []
    for part in filter(None, (text or "").split(",")):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def index_of(pod: Mapping[str, Any]) -> int:
    """Return the index of a Job's pod; 0 where it has none."""
    metadata = pod["metadata"]
    for table in (metadata.get("labels") or {}, metadata.get("annotations") or {}):
        if str(table.get(INDEX, "")).isdigit():
            return int(table[INDEX])
    return 0


def job_end(job: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the phase in which a Job has ended and why; None and nothing while it has not."""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in _ENDS:
            words = ": ".join(str(part) for part in (condition.get("reason"), condition.get("message")) if part)
            return _ENDS[condition["type"]], words
    return None, ""


def created(pod: Mapping[str, Any]) -> str:
    """Return when a pod was made, as text that sorts by time."""
    return str(pod["metadata"].get("creationTimestamp"))


def pods_path(handle: JobHandle) -> str:
    """Return the path of the pods of a job's namespace."""
    return f"/api/v1/namespaces/{handle.place['namespace']}/pods"


def failure_of(pod: Mapping[str, Any], index: int) -> IndexFailure:
    """Return why an index failed, by its pod."""
    found = pod_failure(pod) or Failure(reason="lost", message="its pod failed and says nothing of it")
    return index_failure(found, index, pod["metadata"]["name"])
