"""What lists show of a run, in a few kilobytes: its gates, drift, snapshots, versions, sweeps and rollouts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_ml.core.canary import Rollout
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.gate import GateReport
from airflow_ml.core.monitoring import DriftReport
from airflow_ml.core.provenance import Provenance
from airflow_ml.core.registration import ModelVersion
from airflow_ml.core.selection import Selection
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.plugin.views.records import first_record, record_of, task_ref_of

#: Operators of a sweep: a plan without its collection is a sweep that runs, or was abandoned.
PLAN, SHARD, COLLECT = "PlanSweepOperator", "RunShardOperator", "CollectSweepOperator"
RECONCILE = "ReconcileRolloutsOperator"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run in a few words; every row is JSON as the pages take it."""

    dag: str
    run: str
    #: Of its last task that ended; None before the first.
    ended_at: datetime | None
    gates: tuple[Mapping[str, Any], ...] = ()
    drifts: tuple[Mapping[str, Any], ...] = ()
    snapshots: tuple[Mapping[str, Any], ...] = ()
    #: Model and version, with the task that registered it.
    versions: tuple[Mapping[str, Any], ...] = ()
    #: Sweeps that were planned and not collected.
    open_sweeps: tuple[Mapping[str, Any], ...] = ()
    reconciled_at: datetime | None = None
    reconciler: Mapping[str, Any] | None = None
    #: Columns that moved, by drift report, for the data page.
    measures: tuple[Mapping[str, Any], ...] = field(default=())
    #: Model and epoch of rollouts that it closed.
    rollouts: tuple[Mapping[str, Any], ...] = ()


def summarize(dag: str, run: str, attempts: Sequence[Provenance]) -> RunSummary:
    """Reduce a run to what lists show.

    Args:
        dag: Its DAG.
        run: Its id.
        attempts: Newest attempt of each task that has ended, in the order in which they began.
    """
    reconcilers = [item for item in attempts if item.operator == RECONCILE]
    drifts = [(item, found) for item in attempts if (found := first_record(item.outputs, DriftReport)) is not None]
    gates = {row["subject_digest"]: row for item in attempts for row in _gates(item)}
    return RunSummary(
        dag=dag,
        run=run,
        ended_at=max((item.ended_at for item in attempts), default=None),
        gates=tuple({key: value for key, value in row.items() if key != "subject_digest"} for row in gates.values()),
        drifts=tuple(drift_row(item, report) for item, report in drifts),
        measures=tuple(_measures(item, report) for item, report in drifts),
        snapshots=tuple(row for item in attempts for row in _snapshots(item, gates)),
        versions=tuple(row for item in attempts for row in _versions(item)),
        open_sweeps=tuple(_open_sweeps(attempts)),
        rollouts=tuple(
            {"model": found.model, "epoch": found.epoch, "outcome": found.outcome, "task": task_ref_of(item)}
            for item in attempts
            for found in [first_record(item.outputs, Rollout)]
            if found is not None
        ),
        reconciled_at=max((item.ended_at for item in reconcilers), default=None),
        reconciler=task_ref_of(reconcilers[-1]) if reconcilers else None,
    )


def drift_row(item: Provenance, report: DriftReport) -> dict[str, Any]:
    """Return a drift report as a row."""
    return {
        "task": task_ref_of(item),
        "model": report.model,
        "version": report.version,
        "drifted": report.drifted,
        "reason": report.reason,
        "rows": report.rows,
        "at": format_time(item.ended_at),
    }


def gate_row(item: Provenance, report: GateReport) -> dict[str, Any]:
    """Return a gate's report as a row."""
    return {
        "task": task_ref_of(item),
        "kind": report.kind,
        "subject": _subject(item),
        "verdict": report.verdict,
        "reason": report.reason,
        "checks_run": report.checks_run,
        "checks_failed": report.checks_failed,
        "rows": report.rows,
        "quarantined": report.quarantined,
        "at": format_time(item.ended_at),
    }


def snapshot_row(item: Provenance, made: DatasetSnapshot) -> dict[str, Any]:
    """Return a snapshot as a row, without its gate."""
    return {
        "task": task_ref_of(item),
        "name": made.name,
        "digest": made.artifact.digest,
        "as_of": format_time(made.as_of),
        "rows": made.rows,
        "columns": len(made.artifact.columns),
        "size_bytes": made.artifact.size_bytes,
        "consistency": made.consistency,
        "source": made.source,
        "made_at": format_time(item.ended_at),
        "gate": None,
    }


def gate_of_snapshot(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a snapshot's row says of its gate."""
    return {name: row[name] for name in ("verdict", "checks_failed", "checks_run", "quarantined", "task")}


def _gates(item: Provenance) -> list[dict[str, Any]]:
    reports = [found for handle in item.beside if (found := record_of(handle, GateReport)) is not None]
    return [{**gate_row(item, report), "subject_digest": report.subject} for report in reports]


def _subject(item: Provenance) -> str:
    snapshot = first_record(item.inputs, DatasetSnapshot)
    if snapshot is not None:
        return snapshot.name
    model = item.settings.get("model")
    if isinstance(model, str) and model:
        return model
    selection = first_record(item.inputs, Selection)
    return selection.metric if selection is not None else item.task


def _snapshots(item: Provenance, gates: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A gate passes a snapshot on: that one is the same data again, not another snapshot."""
    if item.beside or first_record(item.inputs, DatasetSnapshot) is not None:
        return []
    found = []
    for handle in item.outputs:
        made = record_of(handle, DatasetSnapshot)
        if made is not None:
            gate = gates.get(handle.digest)
            found.append({**snapshot_row(item, made), "gate": gate_of_snapshot(gate) if gate else None})
    return found


def _versions(item: Provenance) -> list[dict[str, Any]]:
    made = [found for handle in item.outputs if (found := record_of(handle, ModelVersion)) is not None]
    return [
        {
            "model": version.name,
            "version": version.version,
            "task": task_ref_of(item),
            "commit": item.git.commit,
            "mlflow_conn_id": item.settings.get("mlflow_conn_id"),
            "at": format_time(item.ended_at),
        }
        for version in made
    ]


def _open_sweeps(attempts: Sequence[Provenance]) -> list[dict[str, Any]]:
    collected = {group_of(item.task) for item in attempts if item.operator == COLLECT}
    found = []
    for item in attempts:
        plan = first_record(item.beside, SweepPlan) if item.operator == PLAN else None
        if plan is not None and group_of(item.task) not in collected:
            found.append(
                {
                    "task": task_ref_of(item),
                    "sweep": plan.sweep,
                    "shards": plan.shards,
                    "function": plan.function.qualname,
                    "metric": plan.metric,
                    "direction": plan.direction,
                    "trials": plan.trials,
                    "started_at": format_time(item.ended_at),
                }
            )
    return found


def group_of(task_id: str) -> str:
    """Return the task group of a sweep's task: ``train`` of ``train.shards``; "" for one without a group."""
    return task_id.rpartition(".")[0]


def _measures(item: Provenance, report: DriftReport) -> dict[str, Any]:
    return {
        "at": format_time(item.ended_at),
        "model": report.model,
        "version": report.version,
        "columns": [
            {
                "name": one.column,
                "statistic": one.statistic,
                "value": one.value,
                "threshold": one.threshold,
                "drifted": one.drifted,
            }
            for one in report.measures[:20]
        ],
    }
