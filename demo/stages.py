"""The eight stages as the demo shows them: which tasks make a stage, and what its record says in a few words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from airflow_ml.core.canary import Rollout
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.gate import GateReport
from airflow_ml.core.monitoring import DriftReport, ScoreTable
from airflow_ml.core.record import Record
from airflow_ml.core.registration import ModelVersion
from airflow_ml.core.selection import Selection
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.core.sweep import Leaderboard
from airflow_ml.testing.airflow_api import TASK_ENDED, TaskState

R = TypeVar("R", bound=Record)


@dataclass(frozen=True, slots=True)
class Stage:
    """One room of the house."""

    name: str
    #: Its tasks' ids. A group is named with its dot at the end: ``train.``.
    tasks: tuple[str, ...]
    #: What its records say, for one cell of a table.
    figures: Callable[[Sequence[Record]], str]

    def has(self, task_id: str) -> bool:
        """Say whether a task belongs to this stage."""
        return any(task_id == own or (own.endswith(".") and task_id.startswith(own)) for own in self.tasks)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage has come in one DAG run."""

    stage: Stage
    #: ``waiting``, ``running``, ``success``, ``failed`` or ``skipped``.
    state: str
    done: int
    tasks: int
    started_at: datetime | None
    ended_at: datetime | None

    def seconds(self, now: datetime) -> float | None:
        """Seconds from its first task's start to its last one's end, or until now; None before it started."""
        if self.started_at is None:
            return None
        return max(0.0, ((self.ended_at or now) - self.started_at).total_seconds())


def progress(stage: Stage, tasks: Iterable[TaskState]) -> Progress:
    """Sum up a stage's task instances."""
    own = [task for task in tasks if stage.has(task.task_id)]
    states = {task.state for task in own}
    ended = bool(own) and states <= TASK_ENDED
    if not ended:
        state = "running" if any(task.started_at is not None for task in own) else "waiting"
        # A failed shard shows at once, a stage that tolerates it ends well all the same.
    elif "failed" in states and not _forgiven(own):
        state = "failed"
    elif states & {"upstream_failed"}:
        state = "not run"
    else:
        state = "skipped" if states == {"skipped"} else "success"
    starts = [task.started_at for task in own if task.started_at is not None]
    ends = [task.ended_at for task in own if task.ended_at is not None]
    return Progress(
        stage=stage,
        state=state,
        done=sum(task.state in TASK_ENDED for task in own),
        tasks=len(own),
        started_at=min(starts, default=None),
        ended_at=max(ends, default=None) if ended else None,
    )


def _forgiven(tasks: Sequence[TaskState]) -> bool:
    """A sweep may lose shards: its ``collect`` alone decides."""
    return any(task.task_id.endswith(".collect") and task.state == "success" for task in tasks)


def _snapshot(records: Sequence[Record]) -> str:
    found = last(records, DatasetSnapshot)
    return f"{found.rows:,} rows, {_short(found.artifact.digest)}" if found else ""


def _gate(records: Sequence[Record]) -> str:
    report = gate_report(records, "dataset")
    return f"{report.verdict}, {report.quarantined:,} rows quarantined" if report else ""


def _features(records: Sequence[Record]) -> str:
    found = last(records, FeatureSet)
    return f"{found.rows:,} rows x {len(found.features)} features" if found else ""


def _sweep(records: Sequence[Record]) -> str:
    found = last(records, Leaderboard)
    if found is None:
        return ""
    failed = f", {found.failed} failed" if found.failed else ""
    return f"{found.trials} trials{failed}, best {found.metric} {found.best.value:.4f}"


def _selection(records: Sequence[Record]) -> str:
    found, report = last(records, Selection), gate_report(records, "model")
    parts = [f"{found.metric} {found.value:.4f}, {found.groups} groups"] if found else []
    return "; ".join(parts + ([f"model gate {report.verdict}"] if report else []))


def _registration(records: Sequence[Record]) -> str:
    found = last(records, ModelVersion)
    return f"{found.name} version {found.version}, {found.alias}" if found else ""


def _canary(records: Sequence[Record]) -> str:
    found = last(records, Rollout)
    if found is None:
        return ""
    days = f", {found.data_days} data days" if found.data_days else ""
    effect = f", effect {found.effect:+.4f}" if found.effect is not None else ""
    return f"{found.outcome}{days}{effect}"


def _monitoring(records: Sequence[Record]) -> str:
    scores, drift = last(records, ScoreTable), last(records, DriftReport)
    parts = [f"{scores.rows:,} scores in {scores.table}"] if scores else []
    return "; ".join(parts + ([("drift: " if drift.drifted else "no drift: ") + drift.reason] if drift else []))


STAGES: tuple[Stage, ...] = (
    Stage("snapshot", ("snapshot",), _snapshot),
    Stage("gate", ("gate_dataset",), _gate),
    Stage("features", ("build_features",), _features),
    Stage("sweep", ("train.",), _sweep),
    Stage("selection", ("select_model", "gate_model"), _selection),
    Stage("registration", ("register_model",), _registration),
    Stage("canary", ("canary",), _canary),
    Stage("monitoring", ("predict", "monitor"), _monitoring),
)


def gate_report(records: Iterable[Record], kind: str) -> GateReport | None:
    """Return the last gate report on a ``dataset`` or a ``model``."""
    return next((one for one in reversed(list(records)) if isinstance(one, GateReport) and one.kind == kind), None)


def last(records: Iterable[Record], kind: type[R]) -> R | None:
    """Return the last record of a kind."""
    return next((one for one in reversed(list(records)) if isinstance(one, kind)), None)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def now() -> datetime:
    """Return the wall clock's time."""
    return datetime.now(UTC)
