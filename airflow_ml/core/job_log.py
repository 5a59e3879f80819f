"""Where people find the log of one index of a remote job."""

from __future__ import annotations

from urllib.parse import quote

from airflow_ml.core.compute_choice import BATCH, KUBERNETES
from airflow_ml.core.job import IndexFailure, JobHandle

#: Key of a handle's place: the address of the logs' own page, with names in braces.
LOG_URL = "log_url"


def log_address(handle: JobHandle, failure: IndexFailure | None = None) -> str:
    """Return where the log of an index is, or those of all of them: an address where there is one, else a command.

    Args:
        handle: The job.
        failure: Of the index; its ``name`` is the pod's or child's. None for all indexes.
    """
    place, name = handle.place, handle.names[0]
    template = place.get(LOG_URL, "")
    if template:
        words = {"namespace": place.get("namespace", ""), "job": name, "pod": failure.name if failure else f"{name}-"}
        for key, value in words.items():
            template = template.replace(f"{{{key}}}", quote(value, safe=""))
        return template
    if handle.kind == KUBERNETES:
        if failure is not None and failure.name:
            return f"kubectl logs -n {place['namespace']} {failure.name}"
        return f"kubectl logs -n {place['namespace']} -l batch.kubernetes.io/job-name={name} --prefix --tail=-1"
    if handle.kind == BATCH and place.get("region"):
        region, job = place["region"], failure.name if failure is not None and failure.name else name
        domain = "console.amazonaws.cn" if region.startswith("cn-") else "console.aws.amazon.com"
        return f"https://{region}.{domain}/batch/home?region={region}#jobs/detail/{quote(job, safe=':')}"
    return f"CloudWatch, jobs {', '.join(handle.names[:3])}"
