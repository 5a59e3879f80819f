"""The verb ``reap``: remote jobs that lost their owner are told, and with ``--yes`` ended."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_ml.cli.output import print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.cli.profiles import profile_meant, profiles_path
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.compute_choice import KUBERNETES
from airflow_ml.errors import AirflowMLError, BackendUnavailable, ConfigurationError

if TYPE_CHECKING:
    from airflow_ml.core.job import JobHandle


@dataclass(frozen=True, slots=True)
class AirflowSide:
    """What ``airflow ml reap`` knows more than ``airflow-ml reap``."""

    #: Opens the backend of a profile or a job by Airflow's connections.
    backend: Callable[[ComputeProfile | JobHandle], Any]
    #: Returns the state of the task that owns a job where that is final; nothing where it is not.
    final_state: Callable[[Mapping[str, str]], str]


#: Set by ``airflow ml``.
airflow_side: AirflowSide | None = None


def reap(options: argparse.Namespace) -> int:
    """Print the jobs that nobody waits for, and end them if that was asked for.

    Raises:
        BackendUnavailable: a place could not be looked at, or a job not be ended; after all others were.
    """
    from airflow_ml.runtime.job_reap import orphans, running_jobs
    from airflow_ml.runtime.remote_job import RemoteJobs

    side = airflow_side
    opened: dict[tuple[str, str], Any] = {}

    def backend(place: ComputeProfile | JobHandle) -> Any:
        if side is not None:
            return side.backend(place)
        region = _region(place)
        if (place.kind, region) not in opened:
            opened[place.kind, region] = _open(place.kind, region, options.context)
        return opened[place.kind, region]

    problems: list[str] = []
    remote = RemoteJobs(open_place(options), backend)
    running = running_jobs(_profiles(options.name), backend, log=problems.append)
    ended = side.final_state if side is not None else lambda owner: ""
    rows = []
    for orphan in orphans(remote, running, now=datetime.now(UTC), ended=ended):
        done = "no"
        if options.yes:
            try:
                backend(orphan.handle).cancel(orphan.handle)
                done = "yes"
            except AirflowMLError as error:
                problems.append(str(error))
        task = "/".join(orphan.owner.get(part, "?") for part in ("dag", "run", "task"))
        rows.append({"job": ", ".join(orphan.handle.names), "task": task, "reason": orphan.reason, "ended": done})
    if rows or options.output == "json":
        print_rows(options, rows)
    if options.output != "json" and (rows or not problems):
        print("1 job lost its owner." if len(rows) == 1 else f"{len(rows) or 'No'} jobs lost their owner.")
        if rows and not options.yes:
            print("Nothing was done. Give --yes to end them.")
    if problems:
        raise BackendUnavailable(
            "Not everything could be done", "; ".join(dict.fromkeys(problems)),
            "Check the connection and its rights: airflow-ml doctor --compute NAME.",
        )  # fmt: skip
    return 0


def _profiles(name: str | None) -> list[ComputeProfile]:
    """Return the profiles whose places are looked at.

    Raises:
        ConfigurationError: there is no profile file, or no such profile.
    """
    from airflow_ml.runtime.compute_profiles import read_profiles

    if name is not None:
        return [profile_meant(name)]
    path = profiles_path()
    read = read_profiles(path) if path else None
    if read is None:
        raise ConfigurationError(
            "There are no compute profiles to look at", path or "no file is named",
            "Set AIRFLOW_ML_COMPUTE_PROFILES to the deployment's file.",
        )  # fmt: skip
    return list(read.values())


def _region(place: ComputeProfile | JobHandle) -> str:
    """Return the region of Batch that a profile or a job is in; empty for the environment's, and for clusters."""
    said = place.options if isinstance(place, ComputeProfile) else place.place
    return str(said.get("region") or "")


def _open(kind: str, region: str, context: str | None) -> Any:
    """Open a backend by the kubeconfig, or by the AWS credentials of the environment."""
    if kind == KUBERNETES:
        from airflow_ml.adapters.kubernetes import KubernetesJobs
        from airflow_ml.adapters.kubernetes_connection import open_cluster

        return KubernetesJobs(open_cluster(context))
    from airflow_ml.adapters.batch import BatchJobs
    from airflow_ml.adapters.batch_api import BatchApi
    from airflow_ml.adapters.batch_connection import open_batch

    return BatchJobs(BatchApi(open_batch(region or None)), region=region)
