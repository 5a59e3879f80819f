"""Remote jobs that lost their owner: found by their labels, judged by their attempt's entry in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.compute_choice import BATCH, KUBERNETES
from airflow_ml.core.job import JobHandle
from airflow_ml.errors import AirflowMLError
from airflow_ml.runtime.remote_job import RemoteJobs

#: What a job's labels say of whose it is.
OWNER = ("namespace", "dag", "run", "task", "map_index")


@dataclass(frozen=True, slots=True)
class Orphan:
    """A running job that nobody waits for."""

    handle: JobHandle
    reason: str
    owner: Mapping[str, str]


def running_jobs(
    profiles: Iterable[ComputeProfile], open_backend: Callable[[ComputeProfile], Any], *, log: Callable[[str], object]
) -> Iterator[tuple[JobHandle, Mapping[str, str]]]:
    """Yield the running jobs of all places that profiles name, each place once, with annotations or tags.

    Args:
        profiles: Of any kind; those that run beside their task have no jobs.
        open_backend: Returns the backend of a profile.
        log: Called with a line for each place that could not be looked at.
    """
    seen: set[tuple[str, ...]] = set()
    for profile in profiles:
        if profile.kind not in (KUBERNETES, BATCH):
            continue
        options = profile.options
        place = str(options.get("namespace", "default") if profile.kind == KUBERNETES else options["queue"])
        key = (profile.kind, str(options.get("conn_id", "")), str(options.get("region", "")), place)
        if key in seen:
            continue
        seen.add(key)
        try:
            yield from open_backend(profile).found(place)
        except AirflowMLError as error:
            log(f"{profile.kind} {place} could not be checked: {error}")


def orphans(
    remote: RemoteJobs,
    found: Iterable[tuple[JobHandle, Mapping[str, str]]],
    *,
    now: datetime,
    ended: Callable[[Mapping[str, str]], str] = lambda owner: "",
) -> Iterator[Orphan]:
    """Yield the jobs that may be ended.

    A job of which this store has no attempt is somebody else's, and left alone.

    Args:
        remote: Where attempts are.
        found: Running jobs with their annotations or tags, as a backend's ``found`` returns them.
        now: Leases are by it.
        ended: Says, for an owner, in which final state its task is; empty where it is not, or where nobody can tell.
            Without it only a newer attempt, an end, or a lease that is over makes an orphan.
    """
    for handle, notes in found:
        facts = {key.removeprefix("airflow-ml")[1:]: value for key, value in notes.items()}
        owner = {part: facts[part] for part in OWNER if part in facts}
        attempt = remote.latest(facts.get("key", ""))
        if attempt is None:
            continue
        reason = ""
        if attempt.epoch > handle.epoch:
            reason = f"epoch {attempt.epoch} leads, this is {handle.epoch}"
        elif attempt.epoch == handle.epoch and not attempt.live:
            reason = f"its attempt is {attempt.state}: {attempt.reason}"
        elif attempt.lease_expires_at is not None and attempt.lease_expires_at < now:
            reason = f"nobody has looked after it since {attempt.lease_expires_at.isoformat()}"
        elif state := ended(owner):
            reason = f"its task is {state}"
        if reason:
            yield Orphan(handle, reason, owner)
