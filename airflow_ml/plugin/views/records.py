"""Small readings of a task's provenance that several pages share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import airflow_ml
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.provenance import FAILED, Handle, Provenance
from airflow_ml.core.record import Record
from airflow_ml.errors import NotARecord, RecordTooNew

R = TypeVar("R", bound=Record)

#: What an operator does, by its class. A subclass or a stranger is told apart by what it returned.
KINDS = {
    "SnapshotDatasetOperator": "snapshot",
    "GateDatasetOperator": "gate",
    "BuildFeaturesOperator": "features",
    "PlanSweepOperator": "sweep",
    "RunShardOperator": "sweep",
    "CollectSweepOperator": "sweep",
    "TrackSweepOperator": "sweep",
    "SelectModelOperator": "selection",
    "GateModelOperator": "model_gate",
    "RegisterModelOperator": "registration",
    "CanaryOperator": "canary",
    "RollbackOperator": "canary",
    "PredictOperator": "prediction",
    "MonitorOperator": "monitoring",
}
_KIND_OF_RECORD = {
    "DatasetSnapshot": "snapshot",
    "FeatureSet": "features",
    "Leaderboard": "sweep",
    "Selection": "selection",
    "ModelVersion": "registration",
    "Rollout": "canary",
    "ScoreTable": "prediction",
    "DriftReport": "monitoring",
}


def stage_kind(item: Provenance) -> str:
    """Return the stage that a task is of, ``call`` for a function of the user's, or ``other``."""
    known = KINDS.get(item.operator)
    if known is not None:
        return known
    found = next((_KIND_OF_RECORD[one.record] for one in item.outputs if one.record in _KIND_OF_RECORD), None)
    if found is not None:
        return found
    return "call" if item.function is not None or item.call is not None else "other"


def task_ref_of(item: Provenance) -> dict[str, Any]:
    """Return the names of a task instance."""
    return {"dag_id": item.dag, "run_id": item.run, "task_id": item.task, "map_index": item.map_index}


def record_of(handle: Handle, kind: type[R]) -> R | None:
    """Return a handle's record as one kind; None where it is another one, was not kept, or cannot be read."""
    if handle.record != kind.__name__ or not isinstance(handle.value, dict):
        return None
    try:
        found = airflow_ml.load(handle.value)
    except (NotARecord, RecordTooNew, TypeError, ValueError, KeyError, AttributeError):
        return None
    return found if isinstance(found, kind) else None


def first_record(handles: Iterable[Handle], kind: type[R]) -> R | None:
    """Return the first record of a kind among handles."""
    return next((found for handle in handles if (found := record_of(handle, kind)) is not None), None)


def brief(handle: Handle) -> dict[str, Any]:
    """Return a handle's names."""
    return {"name": handle.name, "record": handle.record, "digest": handle.digest}


def sentence_of(item: Provenance) -> str:
    """Return the error of a task that failed, in one line."""
    return " ".join(item.error.split())[:500] if item.outcome == FAILED else ""


def moment(value: Any) -> str | None:
    """Return a time as text."""
    return None if value is None else format_time(value)
