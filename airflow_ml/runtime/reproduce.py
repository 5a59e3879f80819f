"""Reproduces a task or trial of a production run: its exact code and inputs, run in a clean interpreter and compared.

Everything that is needed comes from the store and is copied into a folder first, so nothing is ever written to the
store of production, and the interpreter needs no access to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import Call, CallResult, FunctionRef
from airflow_ml.core.comparison import EQUIVALENT, IDENTICAL, Comparison, compare
from airflow_ml.core.fingerprint import digest_bytes
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import Provenance, bounded, find_handles, without_records
from airflow_ml.core.record import JSON, encode
from airflow_ml.core.trials import LOST, TrialResult
from airflow_ml.errors import ArtifactNotFound, CallFailed, NotPortable
from airflow_ml.runtime.cpus import available_cpus, cpu_name
from airflow_ml.runtime.directory import inner_artifacts
from airflow_ml.runtime.environment import (
    environment_description,
    environment_digest,
    environment_of_another,
    runner_environment,
)
from airflow_ml.runtime.locked_environment import recorded_environment
from airflow_ml.runtime.recorded_trial import find_trial
from airflow_ml.runtime.runner import run_call
from airflow_ml.runtime.values import needed_artifacts

_SHOWN_DISTRIBUTIONS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What was recorded, the result here, and how the two agree."""

    what: str
    comparison: Comparison
    recorded: JSON
    here: JSON
    #: What is not as it was: distributions, CPU.
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and how a piece is run again."""

    #: Folder for code, data and result.
    into: Path
    #: Called with each line of output.
    log: Callable[[str], None]
    #: Whether in a virtual environment with the distributions of the record.
    locked: bool = False
    #: Whether under the debugger, at the terminal.
    debug: bool = False


def reproduce_trial(attempts: Iterable[Provenance], name: str, store: ArtifactStore, place: Place) -> Reproduction:
    """Run one trial of a sweep here and compare its metrics.

    Args:
        attempts: Those of the sweep's tasks; the first one that was given the plan is taken.
        name: The trial's number or name, such as ``17`` or ``t00017``.
        store: Where the sweep was; only read.
        place: Where to run it.

    Raises:
        ArtifactNotFound: no plan, no such trial, or no result of it.
        CallFailed: it could not be run at all.
    """
    from airflow_ml.runtime.shard import planned_trials

    found = find_trial(attempts, name, store)
    source, plan, planned, recorded = found.source, found.plan, found.planned, found.result
    beside = sum(trial.shard == planned.shard for trial in planned_trials(plan, store))
    call = Call(
        function=FunctionRef(
            kind="import",
            module="airflow_ml.runtime.repeat_trial",
            qualname="repeat_trial",
            digest=digest_bytes(b"airflow_ml.runtime.repeat_trial"),
        ),
        arguments={
            "plan": plan.to_dict(),
            "trial": planned.to_dict(),
            "threads": max(1, source.cpus // max(1, min(source.cpus, beside))),
        },
        seed=planned.seed,
        environment=environment_digest(),
    )
    needed = [plan.function.package, Artifact.from_dict(plan.data["artifact"])]  # type: ignore[arg-type]  # wire form
    result = _run(source, call, needed, store, place, timeout_seconds=plan.timeout_seconds)
    here = _trial_outcome(result, recorded)
    then: dict[str, JSON] = {
        "status": recorded.status, "metrics": dict(recorded.metrics), "reason": recorded.reason
    }  # fmt: skip
    return Reproduction(
        what=f"trial {planned.trial} of {plan.function.qualname}, group {planned.group}",
        comparison=compare(then, here),
        recorded=then,
        here=here,
        notes=_notes(source, store, locked=place.locked),
    )


def _trial_outcome(result: CallResult, recorded: TrialResult) -> dict[str, JSON]:
    """Return the result of a trial that was run here, in the form in which trials are recorded."""
    if isinstance(result.value, Mapping):
        return {name: result.value[name] for name in ("status", "metrics", "reason")}
    if result.status == LOST:
        raise CallFailed(f"Trial {recorded.trial} could not be run", result.error, result.traceback)
    # Its process was ended, by a crash or its time limit: that is the outcome, in whatever words.
    reason = recorded.reason if result.status == recorded.status else result.error
    return {"status": result.status, "metrics": {}, "reason": reason}


def reproduce_call(source: Provenance, store: ArtifactStore, place: Place) -> Reproduction:
    """Run a ``@task.ml`` function here and compare what it returns.

    Args:
        source: The attempt.
        store: Where its code and inputs are; only read.
        place: Where to run it.

    Raises:
        NotPortable: the task ran no function that can run elsewhere.
        CallFailed: the function fails here and did not there.
    """
    if source.call is None:
        raise NotPortable(
            f"{source.title} cannot run outside of Airflow",
            source.not_portable or source.operator,
            "Reproduce a @task.ml function, or a trial of a sweep with --trial.",
        )
    call = source.call
    needed = [call.function.package, *needed_artifacts(encode(call.arguments))]
    result = _run(source, call, needed, store, place, timeout_seconds=None)
    if source.outcome != "succeeded" or result.status != "succeeded":
        here: JSON = result.error if result.status != "succeeded" else "succeeded"
        then: JSON = source.error if source.outcome != "succeeded" else "succeeded"
        # The recorded error may carry Airflow's own exception in front of the function's.
        same = isinstance(here, str) and here != "succeeded" and here.partition(":")[0] in str(then)
        comparison = Comparison(verdict=IDENTICAL) if same else compare(then, here)
    else:
        then, here = source.returned, bounded(without_records(result.value))
        comparison = _compare_values(source, result.value, store, FolderStore(place.into))
    return Reproduction(
        what=f"{source.title}, function {call.function.qualname}",
        comparison=comparison,
        recorded=then,
        here=here,
        notes=_notes(source, store, locked=place.locked),
    )


def _compare_values(source: Provenance, here: JSON, recorded_in: ArtifactStore, made_in: ArtifactStore) -> Comparison:
    """Compare what was returned; artifacts by digest, and a table whose bytes differ by its cells."""
    plain = compare(source.returned, bounded(without_records(here)))
    tables = [(list(source.outputs), recorded_in), (list(find_handles("return", here)), made_in)]
    if plain.verdict == IDENTICAL or any(len(handles) != 1 for handles, _ in tables):
        return plain
    then, again = (_cells(handles[0].value, store) for handles, store in tables)
    if then is None or again is None:
        return plain
    cells = compare(then, again)
    # Other bytes with the same cells are the same result, written otherwise.
    return Comparison(verdict=EQUIVALENT, where=plain.where) if cells.verdict == IDENTICAL else cells


def _cells(value: JSON, store: ArtifactStore) -> JSON:
    if not isinstance(value, Mapping) or value.get("record") != "Artifact" or value.get("format") != "parquet":
        return None
    import pyarrow.parquet as pq

    table = pq.read_table(store.path(Artifact.from_dict(value)))
    return {name: [_plain(cell) for cell in table.column(name).to_pylist()] for name in table.column_names}


def _plain(cell: Any) -> JSON:
    return cell if cell is None or isinstance(cell, bool | int | float | str) else str(cell)


def _run(
    source: Provenance,
    call: Call,
    needed: Iterable[Artifact | None],
    store: ArtifactStore,
    place: Place,
    *,
    timeout_seconds: float | None,
) -> CallResult:
    kept = FolderStore(place.into)
    for artifact in needed:
        if artifact is not None:
            _copy(artifact, store, kept)
    python = None
    if place.locked:
        python = recorded_environment(_description(source, store)).interpreter(place.log)
    if place.debug:
        raise Debugged(debug_call(call, kept.uri, python=python, stop=source.outcome == "succeeded"))
    return run_call(call, store_uri=kept.uri, timeout_seconds=timeout_seconds, log=place.log, python=python)


class Debugged(Exception):
    """The debugger was left; nothing is compared. Its argument is the exit code."""


def debug_call(call: Call, store_uri: str, *, python: Path | None, stop: bool) -> int:
    """Run a call under the debugger, with this terminal and without this process's secrets; return its exit code."""
    with tempfile.TemporaryDirectory(prefix="airflow-ml-debug-") as name:
        folder = Path(name)
        job = folder / "job.json"
        job.write_text(json.dumps({"store": store_uri, "call": call.to_dict(), "stop": stop}), encoding="utf-8")
        environment = runner_environment(
            os.environ, store_uri=store_uri, scratch=folder, marker=uuid.uuid4().hex,
            extra={name: os.environ[name] for name in ("TERM", "COLUMNS", "LINES") if name in os.environ},
        )  # fmt: skip
        if python is not None:
            environment = environment_of_another(environment, folder)
        command = [str(python or sys.executable), "-P", "-m", "airflow_ml.runtime.debug", str(job)]
        return subprocess.run(command, env=environment, check=False).returncode


def _copy(artifact: Artifact, store: ArtifactStore, kept: FolderStore) -> None:
    """Copy what an artifact points to, and if that is a directory, what its manifest names."""
    kept.put_file(store.path(artifact), format=artifact.format)
    for part in inner_artifacts(artifact, store):
        kept.put_file(store.path(part), format=part.format)


def _description(source: Provenance, store: ArtifactStore) -> Mapping[str, Any]:
    listed = Artifact(digest=source.environment, format="json", size_bytes=0, uri="")
    found: Mapping[str, Any] = json.loads(store.get_bytes(listed))
    return found


def _notes(source: Provenance, store: ArtifactStore, *, locked: bool) -> tuple[str, ...]:
    """Return what is different here, so that a different result has its first suspects."""
    notes = [] if source.cpus == available_cpus() else [f"{source.cpus} CPUs there, {available_cpus()} here"]
    notes += [] if source.cpu == cpu_name() else [f"CPU {source.cpu} there, {cpu_name()} here"]
    if locked or source.environment == environment_digest():
        return tuple(notes)
    try:
        there = _description(source, store)
    except ArtifactNotFound:
        return (*notes, "another environment; its list is not in the store")
    here = environment_description()
    notes += [
        f"{key} {there.get(key)} there, {here[key]} here"
        for key in ("python", "machine")
        if there.get(key) != here[key]
    ]
    old, new = dict(there["distributions"]), dict(cast(Mapping[str, JSON], here["distributions"]))
    changed = [
        f"{name} {old.get(name, 'missing')} there, {new.get(name, 'missing')} here"
        # What is missing here first, what is only here last: that is the order of suspicion.
        for name in sorted({*old, *new}, key=lambda name: (name in new, name not in old, name))
        if old.get(name) != new.get(name)
    ]
    more = len(changed) - _SHOWN_DISTRIBUTIONS
    return (*notes, *changed[:_SHOWN_DISTRIBUTIONS], *([f"and {more} distributions more"] if more > 0 else []))
