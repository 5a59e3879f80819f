"""One task instance: what went in and came out, why it was or was not run anew, why it failed, how to bring it home."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.cache_cause import cache_cause
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.provenance import Handle, Provenance, find_records, task_ref
from airflow_ml.errors import ArtifactCorrupt, RecordError
from airflow_ml.plugin.views.documents import gate_detail
from airflow_ml.plugin.views.failure import failure_of
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.records import brief, task_ref_of
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.tables import first_rows

#: Runs that are searched for a similar call.
_EARLIER_RUNS = 20
PREVIEW_ROWS = 50


def one_attempt(shelf: Shelf, dag: str, run: str, task: str, map_index: int = -1) -> Provenance:
    """Return the newest attempt of a task.

    Raises:
        NotHere: none has ended.
        ArtifactCorrupt, RecordError: its record cannot be read.
    """
    entry = shelf.store.latest(task_ref(shelf.namespace, dag, run, task, map_index))
    if entry is None:
        raise NotHere(f"{task} of {dag}/{run} has not ended")
    found = Provenance.from_dict(entry.value)
    if (found.dag, found.run, found.task, found.map_index) != (dag, run, task, map_index):
        raise NotHere("A ref is made of digests: what the record says decides")
    return found


def task_view(shelf: Shelf, dag: str, run: str, task: str, map_index: int) -> dict[str, Any]:
    """Return one task instance.

    Raises:
        NotHere: no attempt of it has ended.
    """
    item = one_attempt(shelf, dag, run, task, map_index)
    return {
        "task": task_ref_of(item),
        "operator": item.operator,
        "outcome": item.outcome,
        "try_number": item.try_number,
        "attempts": list(_attempts(shelf, item)),
        "started_at": format_time(item.started_at),
        "ended_at": format_time(item.ended_at),
        "seconds": item.seconds,
        "inputs": [_handle(one) for one in item.inputs],
        "outputs": [_handle(one) for one in [*item.outputs, *item.beside]],
        "settings": dict(item.settings),
        "params": dict(item.params),
        "returned": item.returned,
        "cache": _cache(shelf, item),
        "gate": gate_detail(shelf.store, item),
        "failure": failure_of(item),
        "reproduce": _reproduce(item),
        "provenance": _provenance(item),
    }


def preview(shelf: Shelf, dag: str, run: str, task: str, map_index: int, digest: str) -> dict[str, Any]:
    """Return the first rows of a table that went into a task or came out of it.

    Raises:
        NotHere: the task had no such table.
    """
    item = one_attempt(shelf, dag, run, task, map_index)
    for handle in [*item.inputs, *item.outputs, *item.beside]:
        for _, artifact in _tables(handle):
            if artifact.digest == digest:
                return first_rows(shelf.store, artifact, PREVIEW_ROWS)
    raise NotHere("The task had no such table")


def reproduce_command(dag: str, run: str, task: str, *, map_index: int = -1, trial: str = "") -> str:
    """Return the line that runs a task, or one trial of a sweep, on one's own machine."""
    words = ["airflow-ml", "reproduce", dag, run, task]
    words += ["--map-index", str(map_index)] if map_index >= 0 and not trial else []
    words += ["--trial", trial] if trial else []
    return shlex.join(words)


def _attempts(shelf: Shelf, item: Provenance) -> Iterator[dict[str, Any]]:
    ref = task_ref(shelf.namespace, item.dag, item.run, item.task, item.map_index)
    for entry in shelf.store.history(ref):
        try:
            one = Provenance.from_dict(entry.value)
        except (ArtifactCorrupt, RecordError):
            continue
        yield {
            "sequence": entry.sequence,
            "try_number": one.try_number,
            "outcome": one.outcome,
            "started_at": format_time(one.started_at),
            "ended_at": format_time(one.ended_at),
            "error": one.error[:500],
        }


def _handle(handle: Handle) -> dict[str, Any]:
    tables = {artifact.digest: (name, artifact) for name, artifact in _tables(handle)}
    return {
        **brief(handle),
        "value": handle.value,
        "previews": [
            {"name": name, "digest": artifact.digest, "rows": artifact.rows} for name, artifact in tables.values()
        ][:10],
    }


def _tables(handle: Handle) -> Iterator[tuple[str, Artifact]]:
    """Yield the Parquet artifacts in a handle's record, with the field they are in."""
    for wire in find_records("Artifact", handle.value):
        if wire.get("format") != "parquet":
            continue
        try:
            artifact = Artifact.from_dict(wire)
        except (RecordError, TypeError, ValueError):
            continue
        place = next((name for name, digest in handle.contains.items() if digest == artifact.digest), handle.name)
        yield place, artifact


def _cache(shelf: Shelf, item: Provenance) -> dict[str, Any]:
    verdict = item.cache or "off"
    if item.call is None or not item.cache:
        return {"verdict": verdict, "changed": [], "nearest": None}
    heads = [head for head in shelf.heads(item.dag) if head.started_at <= item.started_at][:_EARLIER_RUNS]
    earlier = []
    for head in heads:
        try:
            one = one_attempt(shelf, item.dag, head.run, item.task, item.map_index)
        except (NotHere, ArtifactCorrupt, RecordError):
            continue
        if one.ended_at <= item.started_at:
            earlier.append(one)
    cause = cache_cause(item.call, earlier)
    nearest = None if cause.nearest is None else task_ref_of(cause.nearest)
    return {"verdict": verdict, "changed": list(cause.changed), "nearest": nearest}


def _reproduce(item: Provenance) -> dict[str, str]:
    if item.call is not None:
        return {"command": reproduce_command(item.dag, item.run, item.task, map_index=item.map_index), "why_not": ""}
    if item.operator == "RunShardOperator":
        command = reproduce_command(item.dag, item.run, item.task.rpartition(".")[0] or item.task, trial="TRIAL")
        return {"command": command, "why_not": ""}
    why = item.not_portable or f"{item.operator} runs no function of yours: nothing to bring home."
    return {"command": "", "why_not": why}


def _provenance(item: Provenance) -> dict[str, Any]:
    function = item.function
    return {
        "airflow_ml": item.airflow_ml,
        "python": item.python,
        "platform": item.platform,
        "cpu": item.cpu,
        "cpus": item.cpus,
        "environment": item.environment,
        "commit": item.git.commit,
        "branch": item.git.branch,
        "dirty": item.git.dirty,
        "bundle": item.bundle,
        "bundle_version": item.bundle_version,
        "seed": item.seed,
        "function": function.qualname if function else "",
        "function_digest": function.digest if function else "",
        "statements": list(item.statements),
        "triggered_by": item.triggered_by,
    }
