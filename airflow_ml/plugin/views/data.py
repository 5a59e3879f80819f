"""Datasets: their snapshots, what the gates said, and how far the models trained on them have drifted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_ml.core.gate import GateReport
from airflow_ml.core.provenance import Provenance
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.plugin.views.documents import gate_detail
from airflow_ml.plugin.views.parts import NotHere, part
from airflow_ml.plugin.views.profile import profile
from airflow_ml.plugin.views.records import first_record
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.summary import RunSummary, gate_of_snapshot, gate_row, snapshot_row
from airflow_ml.plugin.views.tables import first_rows
from airflow_ml.plugin.views.task import one_attempt

_DRIFTS = 200
QUARANTINED_ROWS = 50
PREVIEW_ROWS = 50


def dataset_list(summaries: Sequence[RunSummary]) -> dict[str, Any]:
    """Return the datasets by name, the one with the newest snapshot first."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in _newest_first(row for summary in summaries for row in summary.snapshots):
        found.setdefault(str(row["name"]), []).append(row)
    return {
        "datasets": [{"name": name, "snapshots": len(rows), "newest": rows[0]} for name, rows in found.items()],
    }


def dataset_view(summaries: Sequence[RunSummary], name: str, *, limit: int, offset: int) -> dict[str, Any]:
    """Return one dataset's snapshots, and the drift of the models whose lines read it.

    Raises:
        NotHere: no run made a snapshot of that name.
    """
    rows = _newest_first(row for summary in summaries for row in summary.snapshots if row["name"] == name)
    if not rows:
        raise NotHere(f"No dataset {name}")
    lines = {summary.dag for summary in summaries if any(row["name"] == name for row in summary.snapshots)}
    models = {row["model"] for summary in summaries if summary.dag in lines for row in summary.versions}
    drift = [row for summary in summaries for row in summary.measures if row["model"] in models]
    return {
        "name": name,
        "total": len(rows),
        "snapshots": rows[offset : offset + limit],
        "drift": _newest_first(drift, by="at")[:_DRIFTS][::-1],
    }


def snapshot_view(
    shelf: Shelf, dag: str, run: str, task: str, *, query_history: Callable[[str, str], str | None]
) -> dict[str, Any]:
    """Return one snapshot with its profile, its gate and what was set aside.

    Args:
        shelf: The store's runs.
        dag, run, task: The task that read it, or the gate that tested it.
        query_history: Returns the warehouse's page of a source and statement.

    Raises:
        NotHere: the task neither made nor tested a snapshot.
    """
    item = one_attempt(shelf, dag, run, task)
    # A gate gives its subject on: the profile is that of what went in, and what it set aside is told beside it.
    made = first_record(item.inputs, DatasetSnapshot) or first_record(item.outputs, DatasetSnapshot)
    if made is None:
        raise NotHere(f"{task} of {dag}/{run} made no snapshot")
    gate = item if first_record(item.beside, GateReport) is not None else _gate_of(shelf, item, made)
    report = first_record(gate.beside, GateReport) if gate is not None else None
    row = snapshot_row(item, made)
    if gate is not None and report is not None:
        row["gate"] = gate_of_snapshot(gate_row(gate, report))
    found = part(lambda: profile(shelf.store, made.artifact), absent="")
    columns = found.get("value", {})
    no_rows = "The gate set no row aside." if report is not None else "No gate's report is in the records."
    return {
        "row": {**row, "columns": row["columns"] or len(columns.get("columns", ()))},
        "statement_id": made.statement_id,
        "query_history": query_history(made.source, made.statement_id),
        "profile": {**found, "value": columns["columns"]} if columns else found,
        "profile_from": columns.get("from", "file"),
        "preview": part(lambda: first_rows(shelf.store, made.artifact, PREVIEW_ROWS), absent=""),
        "gate": part(
            lambda: gate_detail(shelf.store, gate) if gate is not None else None,
            absent="No gate's report is in the records.",
        ),
        "quarantine": part(
            lambda: (
                first_rows(shelf.store, report.quarantine, QUARANTINED_ROWS)
                if report is not None and report.quarantine is not None
                else None
            ),
            absent=no_rows,
        ),
    }


def _gate_of(shelf: Shelf, item: Provenance, made: DatasetSnapshot) -> Provenance | None:
    """Return the task of the same run that tested a snapshot."""
    digest = made.fingerprint
    for one in shelf.attempts(item.dag, item.run)[0]:
        report = first_record(one.beside, GateReport)
        if report is not None and report.subject == digest:
            return one
    return None


def _newest_first(rows: Any, *, by: str = "made_at") -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: str(row[by]), reverse=True)
