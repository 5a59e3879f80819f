"""Run user code in a clean interpreter, from an Airflow task or a laptop, and bring back the result.

A task process can neither fork nor spawn safely (its standard input is the supervisor's socket, its signal handlers are
Airflow's), so the code runs in ``python -m airflow_ml.runtime``: own session, no standard input, allow-listed
environment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.record import JSON, parse
from airflow_ml.errors import CallFailed
from airflow_ml.runtime.call import CallJob, call_ref
from airflow_ml.runtime.calls import CallsJob
from airflow_ml.runtime.job import Progress, ShardJob, ShardOutcome
from airflow_ml.runtime.processes import explain
from airflow_ml.runtime.runner_process import RunnerProcess

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore


def run_call(
    call: Call,
    *,
    store_uri: str,
    timeout_seconds: float | None = None,
    log: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
    store: ArtifactStore | None = None,
    owner: Mapping[str, JSON] | None = None,
    python: Path | None = None,
) -> CallResult:
    """Run a call and return its result as it was committed to the store.

    Args:
        call: What to run.
        store_uri: Address of the artifact store.
        timeout_seconds: SIGTERM after so long, SIGKILL three seconds later; None for no limit.
        log: Called with each line of output.
        environment: Further environment variables.
        stop: When set (by ``on_kill``), the runner and everything it started are ended.
        store: The same store, open already: the caller's may have credentials that its address does not show. By
            default it is opened by ``store_uri``.
        owner: Which task asks, kept beside the result.
        python: The interpreter; None (default) for the one that runs this.

    Returns:
        The result, whatever its status: ``succeeded``, ``failed``, ``timed_out``, ``killed`` (its process died) or
        ``lost`` (the runner itself died).

    Raises:
        CallFailed: it was stopped.
    """
    from airflow_ml.adapters.object_store import open_store

    store = open_store(store_uri) if store is None else store
    before = store.latest(call_ref(call))
    job = CallJob(call=call, timeout_seconds=timeout_seconds, owner=owner or {})
    process = RunnerProcess(job, store_uri=store_uri, environment=environment, log=log, stop=stop, python=python)
    status = process.run()
    _refuse_stopped(process, call.function.qualname)
    latest = store.latest(call_ref(call))
    if latest is None or (before is not None and latest.sequence <= before.sequence):
        return CallResult(call=call.key, status="lost", error=f"The runner left no result: {explain(status)}")
    return CallResult.from_dict(latest.value)


def run_calls(
    job: CallsJob,
    *,
    store_uri: str,
    log: Callable[[str], None],
    environment: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Run what is missing of many calls; each result, of whatever status, is committed to its call's ref.

    Args:
        job: The calls.
        store_uri: Address of the artifact store.
        log: Called with each line of output.
        environment: Further environment variables.
        stop: When set (by ``on_kill``), no further call begins, what has ended is committed, all processes are ended.

    Raises:
        CallFailed: it was stopped, or the runner died; what has ended is committed and does not run again.
    """
    process = RunnerProcess(job, store_uri=store_uri, environment=environment, log=log, stop=stop)
    status = process.run()
    _refuse_stopped(process, f"{job.work.rows} calls")
    if status != 0:
        raise CallFailed(
            f"The runner of {job.work.rows} calls ended early",
            explain(status),
            "Its log says why. Calls that had ended are kept: a retry runs the others.",
        )


def run_shard(
    job: ShardJob,
    *,
    store_uri: str,
    log: Callable[[str], None],
    on_progress: Callable[[Progress], None] | None = None,
    environment: Mapping[str, str] | None = None,
    stop: threading.Event | None = None,
) -> ShardOutcome:
    """Run what is missing of a shard. Trials fail one by one, without an error here; `collect` judges the sweep.

    Args:
        job: The shard.
        store_uri: Address of the artifact store.
        log: Called with each line of the trials' output.
        on_progress: Called about every two seconds, and at the end.
        environment: Further environment variables.
        stop: When set (by ``on_kill``), no further trial begins, what has ended is committed, all processes are ended.

    Raises:
        CallFailed: it was stopped, or the runner died; what has ended is committed and does not run again.
    """
    outcomes: list[ShardOutcome] = []

    def receive(message: Mapping[str, Any]) -> None:
        record = parse(message)
        if isinstance(record, ShardOutcome):
            outcomes.append(record)
        elif isinstance(record, Progress) and on_progress is not None:
            on_progress(record)

    process = RunnerProcess(job, store_uri=store_uri, environment=environment, log=log, receive=receive, stop=stop)
    status = process.run()
    _refuse_stopped(process, f"shard {job.shard} of {job.plan.function.qualname}")
    if not outcomes:
        raise CallFailed(
            f"The runner of shard {job.shard} of {job.plan.shards} ended early",
            explain(status),
            "Its log says why. Trials that had ended are kept: a retry runs the others.",
        )
    return outcomes[-1]


def _refuse_stopped(process: RunnerProcess, what: str) -> None:
    if process.stopped:
        raise CallFailed("Stopped from outside", what, "Finished work is kept; a retry goes on from there.")
