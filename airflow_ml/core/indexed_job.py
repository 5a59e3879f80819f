"""A job request as an Indexed Job of Kubernetes: one pod for each index, at most so many side by side."""

from __future__ import annotations

import math

from airflow_ml.core import far_side
from airflow_ml.core.job import JobRequest
from airflow_ml.core.job_names import job_annotations, job_labels, job_name
from airflow_ml.core.kueue import QUEUE_LABEL
from airflow_ml.core.pod_template import kubernetes_options, pod_template
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError

#: Indexes that a job may have and still fail by index without a bound on how many do.
MAX_INDEXES = 100_000
CONTAINER = "call"
#: Killed at a limit of memory. With the same memory the same index ends alike; the task's next try may have more.
OUT_OF_MEMORY = 137


def indexed_job(request: JobRequest) -> dict[str, JSON]:
    """Return the manifest of ``batch/v1`` ``Job`` that runs a request.

    - An index that is disrupted (evicted, preempted, its node lost) is begun again and not counted.
    - One whose input is bad, that ran into its memory or that met the wrong platform fails at once and harms no other.
    - Any other failure is begun again ``retries`` times.

    Raises:
        ConfigurationError: there are too many indexes, or the profile cannot work.
    """
    profile, options = request.profile, kubernetes_options(request.profile)
    if not 1 <= request.indexes <= MAX_INDEXES:
        raise ConfigurationError(
            f"An Indexed Job has 1 to {MAX_INDEXES} indexes",
            f"{request.calls} calls by {profile.calls_per_index} make {request.indexes}",
            "Raise calls_per_index of the profile.",
        )
    labels = {**options.labels, **job_labels(request)}
    annotations = {**options.annotations, **job_annotations(request)}
    if options.kueue_queue:
        labels[QUEUE_LABEL] = options.kueue_queue
    spec: dict[str, JSON] = {
        "completionMode": "Indexed",
        "completions": request.indexes,
        "parallelism": min(profile.parallelism, request.indexes),
        "backoffLimitPerIndex": profile.retries,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailIndex",
                    "onExitCodes": {
                        "containerName": CONTAINER,
                        "operator": "In",
                        "values": [*sorted({*far_side.FINAL_CODES, OUT_OF_MEMORY})],
                    },
                },
            ]
        },
        "ttlSecondsAfterFinished": options.ttl_seconds,
        "suspend": options.suspend or options.kueue_queue is not None,
        "template": pod_template(
            profile,
            command=far_side.command(profile.python),
            env=far_side.environment(request),
            labels=job_labels(request),
            annotations=job_annotations(request),
            container=CONTAINER,
        ),
    }
    if options.max_failed_indexes is not None:
        spec["maxFailedIndexes"] = min(options.max_failed_indexes, request.indexes)
    if options.success_fraction is not None:
        enough = min(request.indexes, math.ceil(options.success_fraction * request.indexes))
        spec["successPolicy"] = {"rules": [{"succeededCount": enough}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(request),
            "namespace": options.namespace,
            "labels": dict(labels),
            "annotations": dict(annotations),
        },
        "spec": spec,
    }
