"""The runner's side of a call: one function, once, its result committed to the store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, Record, encode, parse
from airflow_ml.errors import NotARecord, RefConflict
from airflow_ml.runtime.codecs import load_value, store_value
from airflow_ml.runtime.context import CallContext, running
from airflow_ml.runtime.cpus import available_cpus, limit_threads
from airflow_ml.runtime.load import load_function
from airflow_ml.runtime.pool import Ended, Pool
from airflow_ml.runtime.worker import Task, seed_everything

#: Output of a call that is shown; one call, unlike a trial, is what the log is about.
OUTPUT_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CallJob(Record):
    """A call and its time limit."""

    call: Call
    timeout_seconds: float | None = None


def call_ref(call: Call) -> str:
    """Return the ref under which a call's results are committed."""
    return f"calls/{call.key.partition(':')[2]}"


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
    result = result_of(job.call, ended[0])
    commit_result(job.call, result, open_store(store_uri))
    return result


def commit_result(call: Call, result: CallResult, store: ArtifactStore) -> None:
    """Append a result to the call's ref."""
    while True:
        latest = store.latest(call_ref(call))
        try:
            store.append(call_ref(call), result.to_dict(), after=latest.sequence if latest else 0)
            return
        except RefConflict:
            continue  # the same call elsewhere: both results stay in the history


def run_here(call: Call, store: ArtifactStore, *, function: Callable[..., Any] | None = None) -> dict[str, Any]:
    """Run a call in this process and return ``{"value": ...}`` in JSON, artifacts in wire form.

    Args:
        call: The call.
        store: Where its function and its arguments are.
        function: The call's function where it is loaded already.
    """
    function = function or load_function(call.function, store)
    arguments = {name: parse_argument(value, store) for name, value in call.arguments.items()}
    seed_everything(call.seed)
    with running(CallContext(store=store, call=call, log=_say)):
        return {"value": to_wire(function(**arguments), store)}


def parse_argument(value: JSON, store: ArtifactStore) -> Any:
    """Return an argument as its function sees it: an artifact's value, a record, or the JSON value itself."""
    if not isinstance(value, Mapping) or "record" not in value:
        return value
    try:
        record = parse(value)
    except NotARecord:
        return value  # a plain dict that happens to have such a key
    return load_value(record, store) if isinstance(record, Artifact) else record


def to_wire(value: Any, store: ArtifactStore) -> JSON:
    """Return a value as JSON: records in wire form, what is no JSON as a stored artifact in wire form."""
    if isinstance(value, Record):
        return value.to_dict()
    try:
        canonical_json(value)
    except (TypeError, ValueError):
        return store_value(value, store).to_dict()
    return encode(value)


def result_of(call: Call, ended: Ended) -> CallResult:
    """Return what came of a call as a record, however it ended."""
    answer = ended.answer
    return CallResult(
        call=call.key,
        status=ended.status,
        value=answer.get("value"),
        error=answer.get("reason", ""),
        traceback=answer.get("traceback", ""),
        seconds=round(ended.seconds, 6),
    )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a worker's standard output is the log
