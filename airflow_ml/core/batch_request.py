"""A job request as requests to AWS Batch: array jobs of at most 10,000 children each."""

from __future__ import annotations

import math
from collections.abc import Iterator

from airflow_ml.core import far_side
from airflow_ml.core.batch_options import BatchOptions
from airflow_ml.core.compute import ComputeProfile, check_profile
from airflow_ml.core.compute_choice import BATCH
from airflow_ml.core.job import JobRequest
from airflow_ml.core.job_names import job_annotations, job_name
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError

#: Children of one array: Batch takes 2 to 10,000.
MAX_ARRAY = 10_000
#: Batch ends a job no sooner than this.
_SHORTEST_TIMEOUT_SECONDS = 60
#: Batch's own limits of a tag's value, and of what may stand in it.
_TAG_LENGTH = 256


def batch_options(profile: ComputeProfile) -> BatchOptions:
    """Return the options of a profile of kind ``batch``, all checked.

    Raises:
        ConfigurationError: it is of another kind, or something in it cannot work.
    """
    if profile.kind != BATCH:
        raise ConfigurationError(f"Profile {profile.name!r} is not for Batch", profile.kind, 'Give kind = "batch".')
    check_profile(profile)
    return BatchOptions.read(profile.options, where=f"[{profile.name}.batch]")


def batch_requests(request: JobRequest) -> list[dict[str, JSON]]:
    """Return the arguments of each ``submit_job`` that a request needs, in the order of their indexes.

    One job for one index, one array for up to 10,000, several arrays above. A child that lost its spot instance is
    begun again; one whose input is bad, that ran out of memory or met the wrong platform is not; any other is, up to
    ``retries`` times.

    Raises:
        ConfigurationError: the profile cannot work.
    """
    options, name = batch_options(request.profile), job_name(request)
    return [
        _submission(request, options, first=first, size=size, name=name if number == 0 else f"{name}-{number}")
        for number, (first, size) in enumerate(_arrays(request.indexes))
    ]


def _arrays(indexes: int) -> Iterator[tuple[int, int]]:
    for first in range(0, indexes, MAX_ARRAY):
        yield first, min(MAX_ARRAY, indexes - first)


def _submission(request: JobRequest, options: BatchOptions, *, first: int, size: int, name: str) -> dict[str, JSON]:
    profile = request.profile
    variables = {"PYTHONUNBUFFERED": "1", **options.env, **far_side.environment(request, first_index=first)}
    made: dict[str, JSON] = {
        "jobName": name,
        "jobQueue": options.queue,
        "jobDefinition": options.job_definition,
        "containerOverrides": {
            "command": list(far_side.command(profile.python)),
            "environment": [{"name": key, "value": value} for key, value in variables.items()],
            "resourceRequirements": _resources(profile),
        },
        "retryStrategy": {"attempts": profile.retries + 1, "evaluateOnExit": _evaluate_on_exit()},
        "tags": _tags(request, options),
        "propagateTags": True,
    }
    if size > 1:
        made["arrayProperties"] = {"size": size}
    if profile.timeout_seconds is not None:
        seconds = max(_SHORTEST_TIMEOUT_SECONDS, math.ceil(profile.timeout_seconds))
        made["timeout"] = {"attemptDurationSeconds": seconds}
    if options.share_identifier is not None:
        made["shareIdentifier"] = options.share_identifier
    if options.scheduling_priority is not None:
        made["schedulingPriorityOverride"] = options.scheduling_priority
    return made


def _resources(profile: ComputeProfile) -> list[JSON]:
    wanted = profile.resources
    found: list[JSON] = [
        {"type": "VCPU", "value": f"{wanted.cpus:g}"},
        {"type": "MEMORY", "value": str(math.ceil(wanted.memory_gib * 1024))},
    ]
    if wanted.gpus is not None:
        found.append({"type": "GPU", "value": str(wanted.gpus.count)})
    return found


def _evaluate_on_exit() -> list[JSON]:
    """Return the rules in their order; Batch takes five, and begins again what meets none of them."""
    final: list[JSON] = [{"onExitCode": str(code), "action": "EXIT"} for code in far_side.FINAL_CODES]
    return [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},  # the spot instance was taken away
        {"onReason": "OutOfMemoryError*", "action": "EXIT"},
        *final,
    ]


def _tags(request: JobRequest, options: BatchOptions) -> dict[str, JSON]:
    ours = {key.replace("/", ":"): value for key, value in job_annotations(request).items()}
    ours["airflow-ml:epoch"] = str(request.epoch)
    clean = {key: "".join(_tag_character(one) for one in value)[:_TAG_LENGTH] for key, value in ours.items()}
    return {**options.tags, **clean}


def _tag_character(one: str) -> str:
    return one if one.isalnum() or one in " _.:/=+-@" else "_"
