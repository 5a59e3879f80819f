"""``.demo/summary.json``: what each run of the demo came to, out of the records that its tasks left in XCom."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_ml.core.canary import Rollout
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.monitoring import DriftReport, ScoreTable
from airflow_ml.core.record import Record
from airflow_ml.core.registration import ModelVersion
from airflow_ml.core.selection import Selection
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.core.sweep import Leaderboard
from demo.stages import Progress, gate_report, last


def run_summary(
    name: str, outcome: str, records: Sequence[Record], stages: Sequence[Progress], now: datetime
) -> dict[str, Any]:
    """Return one entry of ``runs``. A stage that left no record is absent, never empty or zero.

    Args:
        name: The run's name.
        outcome: ``installed``, ``promoted``, ``rolled_back``, ``inconclusive``, ``failed``, ...
        records: All records of the run, oldest first.
        stages: How far each stage came, for ``seconds`` (a stage's wall time, from its first task's start).
        now: The end of stages that were still under way.
    """
    seconds = {one.stage.name: one.seconds(now) for one in stages}
    return {
        "name": name,
        "outcome": outcome,
        **_training(records),
        **_release(records),
        "seconds": {stage: round(value, 1) for stage, value in seconds.items() if value is not None},
    }


def _training(records: Sequence[Record]) -> dict[str, Any]:
    """The stages from snapshot to registration."""
    found: dict[str, Any] = {}
    # The first snapshot is the warehouse's; the gate passes on a second one, without the quarantined rows.
    if snapshot := next((one for one in records if isinstance(one, DatasetSnapshot)), None):
        found["snapshot"] = {
            "digest": snapshot.artifact.digest,
            "rows": snapshot.rows,
            "as_of": snapshot.as_of.isoformat(),
            "consistency": snapshot.consistency,
        }
    for key, kind in (("gate", "dataset"), ("model_gate", "model")):
        if report := gate_report(records, kind):
            found[key] = {"verdict": report.verdict, "reason": report.reason, "quarantined": report.quarantined}
    if features := last(records, FeatureSet):
        found["features"] = {
            "rows": features.rows,
            "columns": len(features.features),
            "view": features.view,
            "splits": dict(features.split_rows),
            "excluded": dict(features.excluded),
        }
    if board := last(records, Leaderboard):
        found["sweep"] = {
            "trials": board.trials,
            "failed": board.failed,
            "best": {"group": board.best.group, "params": dict(board.best.params), board.metric: board.best.value},
            "seconds": round(board.seconds, 1),
        }
    if selection := last(records, Selection):
        found["selection"] = {selection.metric: selection.value, "groups": selection.groups, "reason": selection.reason}
    if version := last(records, ModelVersion):
        found["version"] = {
            "name": version.name,
            "version": version.version,
            "digest": version.model_digest,
            "metrics": dict(version.metrics),
        }
    return found


def _release(records: Sequence[Record]) -> dict[str, Any]:
    """Canary and monitoring."""
    found: dict[str, Any] = {}
    if rollout := last(records, Rollout):
        found["rollout"] = {
            "outcome": rollout.outcome,
            "reason": rollout.reason,
            "champion": rollout.champion,
            "challenger": rollout.challenger,
            "steps": list(rollout.weights),
            "samples": dict(rollout.samples),
            "data_days": rollout.data_days,
            "looks": rollout.looks,
            "effect": rollout.effect,
            "interval": list(rollout.interval),
        }
    if scores := last(records, ScoreTable):
        found["scores"] = {"table": scores.table, "rows": scores.rows, "version": scores.version}
    if drift := last(records, DriftReport):
        found["drift"] = {
            "drifted": drift.drifted,
            "reason": drift.reason,
            "columns": [one.column for one in drift.measures if one.drifted],
            "error_by_week": dict(drift.error_by_week),
        }
    return found


def write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    """Write the summary in one step: a reader sees the old or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    os.replace(part, path)
