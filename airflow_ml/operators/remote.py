"""Submits a task's work as a remote job and collects its results; shared by every operator with ``compute=``.

The worker submits and is free again: the task is deferred, a trigger watches. What was submitted stands in the store,
so a worker that dies, a retry, a restart of Airflow finds the job again instead of starting a second one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import TaskDeferred

from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.compute_choice import BATCH, KUBERNETES, POLL_SECONDS
from airflow_ml.core.failure import job_failed
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.job import FAILED, LOST, SUCCEEDED, IndexFailure, JobStatus
from airflow_ml.core.job_log import log_address
from airflow_ml.core.log_tail import TAIL_LINES, to_show
from airflow_ml.core.record import parse_as
from airflow_ml.errors import AirflowMLError, CallTimedOut, FencedOut
from airflow_ml.hooks.job_backend import job_backend, remote_jobs
from airflow_ml.operators.base import task_names

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

    from airflow_ml.core.job_attempt import JobAttempt
    from airflow_ml.runtime.call import CallJob
    from airflow_ml.runtime.job import ShardJob
    from airflow_ml.runtime.remote_job import RemoteJobs

#: Failed indexes that are named in the log; of how many the last lines are shown; how many lines of each.
_LOGGED, _SHOWN, _TAIL_LINES = 20, 3, 50


@dataclass(frozen=True, slots=True)
class Collected:
    """The results of a job."""

    jobs: Sequence[CallJob | ShardJob]
    #: For each of them its result in wire form; None where there is none.
    results: Sequence[Any]
    #: Why some have none: of as many as are known.
    failures: tuple[IndexFailure, ...]
    #: Indexes of this attempt that have none.
    lacking: int
    attempt: JobAttempt


def is_remote(profile: ComputeProfile) -> bool:
    """Whether a profile's calls run elsewhere."""
    return profile.kind in (KUBERNETES, BATCH)


def job_key(namespace: str, context: Context) -> str:
    """Return the identity of a task's job: the same for each of its tries, and after a clear."""
    names = task_names(context)
    return digest_json([namespace, names["dag"], names["run"], names["task"], names.get("map_index", "")])


def run_remotely(
    operator: BaseOperator,
    context: Context,
    jobs: Sequence[CallJob | ShardJob],
    profile: ComputeProfile,
    *,
    namespace: str,
    poll_interval_seconds: float = POLL_SECONDS,
) -> Collected:
    """Submit what has no success yet and defer the task; ``execute_complete`` goes on with `collect`.

    Returns:
        Only where every job has its success already: a worker died after the end.

    Raises:
        JobConflict, ConfigurationError, BackendUnavailable: as ``JobBackend.submit``.
    """
    from airflow_ml.retry import attempt_profile
    from airflow_ml.triggers.job import JobTrigger

    remote = remote_jobs()
    profile = attempt_profile(profile, context)
    attempt = remote.begin(
        job_key(namespace, context),
        jobs,
        profile,
        owner={"namespace": namespace, **task_names(context)},
        generation=str(getattr(context["ti"], "max_tries", "")),
    )
    if not attempt.live or attempt.handle is None:
        operator.log.info("All %d results are in the store already, from an earlier try", len(jobs))
        return _collected(remote, attempt, jobs, JobStatus(phase=SUCCEEDED, indexes=attempt.request.indexes))
    operator.log.info(
        "%d calls in %d indexes of %s on %s (profile %s): %s, epoch %d",
        attempt.request.calls, attempt.request.indexes, attempt.handle.kind, _where(attempt), profile.name,
        ", ".join(attempt.handle.names[:3]), attempt.epoch,
    )  # fmt: skip
    limit = operator.execution_timeout
    raise TaskDeferred(
        trigger=JobTrigger(
            key=attempt.key,
            epoch=attempt.epoch,
            claim=attempt.claim,
            poll_interval_seconds=poll_interval_seconds,
            timeout_seconds=limit.total_seconds() if limit is not None else None,
        ),
        method_name="execute_complete",
    )


def collect(operator: BaseOperator, event: Mapping[str, Any]) -> Collected:
    """Collect what a job left in the store, however the job itself ended, and log how it went.

    Args:
        operator: For its log.
        event: The trigger's.

    Raises:
        FencedOut: another attempt leads the job.
        CallTimedOut: the task's ``execution_timeout`` was over; the job is cancelled.
    """
    if event.get("error"):
        raise FencedOut(str(event["error"]))
    remote = remote_jobs()
    _, attempt = remote.mine(str(event["key"]), int(event["epoch"]), int(event["claim"]))
    if event.get("timed_out"):
        raise CallTimedOut(
            "The remote job took too long",
            str(operator.execution_timeout),
            "It is cancelled; what had ended is kept.",
        )
    status = parse_as(JobStatus, event["status"])
    found = _collected(remote, attempt, remote.work(attempt), status)
    _log_outcome(operator, attempt, status, found, event.get("log_seen") or ())
    remote.end(attempt, status)
    if status.phase == FAILED and status.succeeded + status.failed < status.indexes:
        _free(operator, attempt)
    return found


def refuse_failures(found: Collected, profile: ComputeProfile | None = None) -> None:
    """Raise for calls without any result.

    Raises:
        JobFailed: with the reasons, from which a retry policy decides.
    """
    if found.failures:
        used = profile or found.attempt.request.profile
        raise job_failed(
            found.failures, indexes=found.attempt.request.indexes, failed=found.lacking, may_grow=_may_grow(used)
        )


def _may_grow(profile: ComputeProfile) -> bool:
    from airflow_ml.core.compute import grown

    return grown(profile) is not None


def _collected(remote: RemoteJobs, attempt: JobAttempt, jobs: Sequence[Any], status: JobStatus) -> Collected:
    from airflow_ml.core.job_attempt import read_ranges
    from airflow_ml.runtime.remote_results import whole, with_peak, without_results

    by_line = remote.results(attempt)
    results = [whole(by_line.get(line), job, remote.store) for line, job in enumerate(jobs)]
    position = {line: number for number, line in enumerate(read_ranges(attempt.lines))}
    missing = [position[line] for line, result in enumerate(results) if result is None and line in position]
    size = max(1, attempt.request.profile.calls_per_index)
    failures = with_peak(without_results(status, missing, size), remote.store, attempt) if missing else ()
    lacking = len({line // size for line in missing})
    return Collected(jobs=jobs, results=results, failures=failures, lacking=lacking, attempt=attempt)


def _log_outcome(
    operator: BaseOperator, attempt: JobAttempt, status: JobStatus, found: Collected, seen: Sequence[str]
) -> None:
    """Log failed indexes first, with the last lines of some of them, then how many succeeded.

    Of a job with one index the whole log is copied, except for lines that the trigger has copied: ``seen`` marks them.
    """
    there = sum(result is not None for result in found.results)
    log, handle = operator.log, attempt.handle
    if status.phase != SUCCEEDED and not found.failures:
        log.warning("The job is %s, but all %d results are in the store, which is what counts", status.phase, there)
    if status.phase == LOST:
        log.warning("%s", status.waiting_for)
    if handle is None:
        return
    for failure in found.failures[:_LOGGED]:
        where = log_address(handle, failure)
        log.error("index %d: %s: %s; its log: %s", failure.index, failure.reason, failure.message, where)
    if found.lacking > _LOGGED:
        log.error("... and %d more", found.lacking - _LOGGED)
    backend = job_backend(handle)
    if attempt.request.indexes == 1:  # the trigger has copied earlier lines
        lines = list(backend.log(handle, 0, tail_lines=TAIL_LINES))
        for line in to_show(lines, seen, log_address(handle)):
            log.info("%s", line)
    else:
        for failure in found.failures[:_SHOWN]:
            for line in backend.log(handle, failure.index, tail_lines=_TAIL_LINES):
                log.info("index %d | %s", failure.index, line)
    log.info("%d of %d results are in the store; logs: %s", there, len(found.results), log_address(handle))


def _free(operator: BaseOperator, attempt: JobAttempt) -> None:
    """End a job that was given up while it still holds or awaits something."""
    if attempt.handle is None:
        return
    try:
        job_backend(attempt.handle).cancel(attempt.handle)
    except AirflowMLError as error:
        operator.log.warning("The job could not be ended; `airflow-ml reap --yes` will end it: %s", error)


def _where(attempt: JobAttempt) -> str:
    place = attempt.handle.place if attempt.handle is not None else {}
    return place.get("namespace") or place.get("queue") or "?"
