"""What a profile needs of AWS Batch, asked before anything runs: queue, environments behind it, and job definition."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_ml.core.batch_request import batch_options
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.finding import Finding, missing, present, unknown

#: Families of instances with NVIDIA devices.
_GPU_FAMILY = re.compile(r"(p|g)\d")
#: All that a job of Fargate may ask for; elsewhere it is a whole number.
_FARGATE_CPUS = (0.25, 0.5, 1, 2, 4, 8, 16)


def examine_batch(client: Any, profile: ComputeProfile) -> Iterator[Finding]:
    """Yield what is there and what is missing for a profile's jobs.

    Args:
        client: Of boto3, for the service ``batch``.
        profile: Of kind ``batch``.
    """
    options = batch_options(profile)
    queue, problem = _first(client, "describe_job_queues", "jobQueues", jobQueues=[options.queue])
    if problem:
        yield unknown(f"queue {options.queue}", problem, "Check credentials, region and rights.")
    elif queue is None:
        yield missing(
            f"queue {options.queue}", "does not exist in this region", "Create it, or correct queue or region."
        )
    elif (queue.get("state"), queue.get("status")) != ("ENABLED", "VALID"):
        seen = f"{queue.get('state')}, {queue.get('status')}: {queue.get('statusReason', '')}".rstrip(": ")
        yield missing(f"queue {options.queue}", seen, "Enable it.")
    else:
        yield present(f"queue {options.queue}", "enabled and valid")
        yield from _environments(client, profile, queue)
    yield from _definition(client, profile, options.job_definition)


def _environments(client: Any, profile: ComputeProfile, queue: Mapping[str, Any]) -> Iterator[Finding]:
    wanted = profile.resources
    names = [one["computeEnvironment"] for one in queue.get("computeEnvironmentOrder") or ()]
    for name in names:
        found, problem = _first(
            client, "describe_compute_environments", "computeEnvironments", computeEnvironments=[name]
        )
        check = f"compute environment {name.rpartition('/')[2]}"
        if found is None:
            yield unknown(check, problem or "does not exist")
            continue
        resources = found.get("computeResources") or {}
        types = [str(one) for one in resources.get("instanceTypes") or ()]
        most = resources.get("maxvCpus")
        if (found.get("state"), found.get("status", "VALID")) != ("ENABLED", "VALID"):
            yield missing(check, f"{found.get('state')}, {found.get('status')}", "Enable it.")
        elif most is not None and most < wanted.cpus:
            yield missing(check, f"has at most {most} vCPUs, {wanted.cpus:g} are needed", "Raise maxvCpus.")
        elif wanted.gpus is not None and types and not any(_GPU_FAMILY.match(one) or one == "optimal" for one in types):
            yield missing(check, f"has no GPU instances: {', '.join(types)}", "Use a queue with instances such as g6.")
        else:
            side_by_side = f", {int(most // wanted.cpus)} jobs side by side" if most is not None else ""
            yield present(check, f"{resources.get('type', 'enabled')} {', '.join(types)}{side_by_side}".strip())


def _definition(client: Any, profile: ComputeProfile, name: str) -> Iterator[Finding]:
    check = f"job definition {name}"
    by_name = {"jobDefinitionName": name, "status": "ACTIVE"} if ":" not in name else {"jobDefinitions": [name]}
    found, problem = _first(client, "describe_job_definitions", "jobDefinitions", newest=True, **by_name)
    if problem:
        yield unknown(check, problem, "Check credentials, region and rights.")
        return
    if found is None or found.get("status", "ACTIVE") != "ACTIVE":
        yield missing(check, "has no active revision in this region", "Register it, or correct the profile.")
        return
    container = found.get("containerProperties")
    if not container:
        seen = f"revision {found.get('revision')} is for EKS, several nodes or several containers"
        yield missing(check, seen, "Register one with containerProperties; for EKS use a profile of kind kubernetes.")
        return
    yield present(check, f"revision {found.get('revision')}, image {container.get('image')}")
    if "@sha256:" not in str(container.get("image")):
        yield unknown(
            "image", f"{container.get('image')} is a tag: it can mean another image tomorrow", "Use a digest."
        )
    if not container.get("jobRoleArn"):
        yield unknown("job role", "none: jobs open the store by the role of their instance", "Give the definition one.")
    fargate, cpus = "FARGATE" in (found.get("platformCapabilities") or ()), profile.resources.cpus
    if fargate and profile.resources.gpus is not None:
        yield missing("GPUs", "the job definition is for Fargate, which has none", "Register one for EC2.")
    fits = cpus in _FARGATE_CPUS if fargate else cpus.is_integer()
    if not fits:
        whole = f"one of {', '.join(f'{one:g}' for one in _FARGATE_CPUS)}" if fargate else "a whole number"
        yield missing("cpus", f"{cpus:g} is not {whole}", "Change cpus of the profile.")


def _first(
    client: Any, operation: str, key: str, *, newest: bool = False, **arguments: Any
) -> tuple[Mapping[str, Any] | None, str]:
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    try:
        page = getattr(client, operation)(**arguments)
        found = list(page[key])
        while newest and page.get("nextToken"):  # a definition that each build registers has hundreds of revisions
            page = getattr(client, operation)(**arguments, nextToken=page["nextToken"])
            found += page[key]
    except (BotoCoreError, ClientError) as error:
        return None, str(error)
    if newest:
        found.sort(key=lambda one: int(one.get("revision") or 0), reverse=True)
    return (found[0] if found else None), ""
