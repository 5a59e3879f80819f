"""The runner's side of a call: one function, once, its result committed to the store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, Record, parse_as
from airflow_ml.runtime.checkpoint import Checkpoint, checkpointing
from airflow_ml.runtime.context import CallContext, running
from airflow_ml.runtime.cpus import available_cpus, limit_threads
from airflow_ml.runtime.load import load_function
from airflow_ml.runtime.pool import Ended, Pool
from airflow_ml.runtime.ref_append import append_last
from airflow_ml.runtime.values import call_with, open_arguments, parse_argument, returns_list, to_wire
from airflow_ml.runtime.worker import Task, seed_everything

#: Output of a call that is shown; one call, unlike a trial, is what the log is about.
OUTPUT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CallJob(Record):
    """A call and its time limit."""

    call: Call
    timeout_seconds: float | None = None
    #: Who asks (dag, run, task); kept beside the result, so that a cached one says where it is from.
    owner: Mapping[str, JSON] = field(default_factory=dict)


def call_ref(call: Call) -> str:
    """Return the ref under which a call's results are committed."""
    return f"calls/{call.key.partition(':')[2]}"


def newest_result(call: Call, store: ArtifactStore) -> CallResult | None:
    """Return the newest result of a call, whatever its status; None if there is none."""
    newest = store.latest(call_ref(call))
    return parse_as(CallResult, newest.value) if newest is not None else None


def execute_call(
    job: CallJob,
    store_uri: str,
    *,
    log: Callable[[str], None],
    close: Iterable[int] = (),
    started: Callable[[Pool], None] = lambda pool: None,
) -> CallResult:
    """Run a call in a worker and append its result, of whatever kind, to ``calls/<key>``.

    Args:
        job: The call.
        store_uri: Address of the store; opened after the worker was forked, since its client may start threads.
        log: Called with each line of output.
        close: File descriptors that the worker must not hold.
        started: Called with the pool, so that a signal's handler can stop it.

    Raises:
        Stopped: the pool was stopped; there is no result.
    """
    from airflow_ml.adapters.object_store import open_store

    limit_threads(os.environ, available_cpus())
    pool = Pool(
        lambda payload: run_here(job.call, open_store(store_uri)),
        workers=1,
        timeout_seconds=job.timeout_seconds,
        log=log,
        close=close,
        output_bytes=OUTPUT_BYTES,
    )
    started(pool)
    ended = [item for item in pool.run([Task("call", {})]) if item is not None]
    result = result_of(job.call, ended[0], facts=job.owner)
    commit_result(job.call, result, open_store(store_uri))
    return result


def commit_result(call: Call, result: CallResult, store: ArtifactStore) -> None:
    """Append a result to the call's ref; results of the same call elsewhere stay in its history."""
    append_last(store, call_ref(call), result.to_dict())


def run_here(call: Call, store: ArtifactStore, *, function: Callable[..., Any] | None = None) -> dict[str, Any]:
    """Run a call in this process and return ``{"value": ...}`` in JSON, artifacts in wire form.

    Args:
        call: The call.
        store: Where its function and its arguments are.
        function: The call's function where it is loaded already.
    """
    function = function or load_function(call.function, store)
    if call.function.kind == "import" and call.function.module.startswith("airflow_ml."):
        arguments = {name: parse_argument(value, store) for name, value in call.arguments.items()}
    else:
        arguments = open_arguments(function, call.arguments, store, trusted=call.trusted)
    seed_everything(call.seed)
    kept = Checkpoint(lambda: store, f"checkpoints/{call.key.partition(':')[2]}")
    with checkpointing(kept), running(CallContext(store=store, call=call, log=_say, kept=kept)):
        return {"value": to_wire(call_with(function, arguments), store, items=returns_list(function))}


def result_of(call: Call, ended: Ended, *, facts: Mapping[str, JSON] | None = None) -> CallResult:
    """Return the result of a call as a record, however the call ended.

    Args:
        call: The call.
        ended: How its process ended.
        facts: Which task asked for it.
    """
    answer = ended.answer
    return CallResult(
        call=call.key,
        status=ended.status,
        value=answer.get("value"),
        error=answer.get("reason", ""),
        traceback=answer.get("traceback", ""),
        seconds=round(ended.seconds, 6),
        facts=dict(facts or {}),
    )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a worker's standard output is the log
