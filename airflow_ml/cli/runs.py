"""The verbs ``runs`` and ``show``: which runs there are, and the outcomes of their tasks."""

from __future__ import annotations

import argparse

from airflow_ml.cli.output import print_json, print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.client import Run, find_run
from airflow_ml.client import runs as known_runs
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import FAILED, SUCCEEDED, Handle, Provenance
from airflow_ml.core.record import JSON
from airflow_ml.errors import ArtifactNotFound

#: Records of one task that a line has room for.
_SHOWN_HANDLES = 3


def runs(options: argparse.Namespace) -> int:
    """Print runs, newest first, with the outcomes of their tasks."""
    found = known_runs(options.dag, store=open_place(options), namespace=options.namespace, limit=options.limit)
    print_rows(options, [_row(run) for run in found])
    return 0


def show(options: argparse.Namespace) -> int:
    """Print the newest entry of a ref or one of its history, or a run and its tasks."""
    store = open_place(options)
    dag, _, run = options.ref.partition("/")
    if options.entry is None and run and known_runs(dag, store=store, namespace=options.namespace, limit=1):
        return _show_run(options, find_run(dag, run, store=store, namespace=options.namespace))
    print_json(_entry(options, store))
    return 0


def addressed_run(address: str, store: ArtifactStore, namespace: str) -> Run:
    """Return the run that ``DAG/RUN`` names; RUN may be ``latest``, ``before`` or the beginning of an id."""
    dag, _, run = address.partition("/")
    return find_run(dag, run or "latest", store=store, namespace=namespace)


def _entry(options: argparse.Namespace, store: ArtifactStore) -> JSON:
    entries = [entry for entry in store.history(options.ref) if options.entry in (None, entry.sequence)]
    if not entries:
        raise ArtifactNotFound("No such entry", options.ref, "`airflow-ml refs` lists what there is.")
    return dict(entries[-1].value)


def _show_run(options: argparse.Namespace, run: Run) -> int:
    attempts = list(run.attempts())
    if options.output == "json":
        print_json([item.to_dict() for item in attempts])
        return 0
    print(f"{run.dag}/{run.run}  {run.triggered_by}".rstrip())
    print_rows(options, [_task_row(item) for item in attempts])
    return 0


def _row(run: Run) -> dict[str, JSON]:
    outcomes = [item.outcome for item in run.attempts()]
    return {
        "dag": run.dag,
        "run": run.run,
        "started_at": run.started_at.isoformat(timespec="seconds"),
        "tasks": len(outcomes),
        "failed": outcomes.count(FAILED),
        "triggered_by": run.triggered_by,
    }


def _task_row(item: Provenance) -> dict[str, JSON]:
    return {
        "task": item.title,
        "operator": item.operator,
        "outcome": item.outcome,
        "seconds": round(item.seconds, 1),
        "inputs": _named(item.inputs),
        "outputs": _named(item.outputs) if item.outcome == SUCCEEDED else item.error[:80],
    }


def _named(handles: tuple[Handle, ...]) -> str:
    named = [f"{one.record} {one.digest.partition(':')[2][:12]}" for one in handles[:_SHOWN_HANDLES]]
    more = [f"and {len(handles) - _SHOWN_HANDLES} more"] if len(handles) > _SHOWN_HANDLES else []
    return ", ".join([*named, *more])
