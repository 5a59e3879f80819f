"""The few quantities that say what came of a stage, its verdict, and its reason in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from airflow_ml.core.call import CallResults
from airflow_ml.core.canary import Rollout
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.gate import GateReport
from airflow_ml.core.monitoring import DriftReport, ScoreTable
from airflow_ml.core.provenance import Provenance
from airflow_ml.core.record import Record
from airflow_ml.core.registration import ModelVersion
from airflow_ml.core.selection import Selection
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.core.sweep import Leaderboard, SweepPlan
from airflow_ml.plugin.views.records import record_of, sentence_of

Figure = dict[str, Any]


def told_by(item: Provenance) -> tuple[str | None, str, list[Figure]]:
    """Return verdict, sentence and figures of a task, out of the records that it made."""
    verdict: str | None = None
    sentence = ""
    figures: list[Figure] = []
    for handle in [*item.beside, *item.outputs]:
        for kind, tell in _TELL.items():
            made = record_of(handle, kind)
            # A gate passes its subject on: what is told of it was told by the task that made it.
            if made is not None and not (handle.name == "return" and item.beside):
                figures += tell(made)
                verdict = _verdict(made) or verdict
                sentence = getattr(made, "reason", "") or sentence
    return verdict, sentence_of(item) or sentence, figures


def _verdict(made: Record) -> str | None:
    if isinstance(made, GateReport):
        return made.verdict
    if isinstance(made, Rollout):
        return made.outcome
    if isinstance(made, DriftReport):
        return "drift" if made.drifted else "no_drift"
    return None


def _figure(name: str, value: float | str, unit: str = "") -> Figure:
    return {"name": name, "value": value, "unit": unit}


def _snapshot(made: DatasetSnapshot) -> Iterator[Figure]:
    yield _figure("rows", made.rows, "rows")
    yield _figure("size", made.artifact.size_bytes, "bytes")


def _gate(made: GateReport) -> Iterator[Figure]:
    yield _figure("checks", made.checks_run)
    if made.checks_failed:
        yield _figure("failed", made.checks_failed)
    yield _figure("rows", made.rows, "rows")
    if made.quarantined:
        yield _figure("set aside", made.quarantined, "rows")


def _features(made: FeatureSet) -> Iterator[Figure]:
    yield _figure("rows", made.rows, "rows")
    yield _figure("features", len(made.features))
    yield _figure("view", made.view)


def _plan(made: SweepPlan) -> Iterator[Figure]:
    yield _figure("trials", made.trials)
    yield _figure("groups", made.groups)
    yield _figure("shards", made.shards)


def _leaderboard(made: Leaderboard) -> Iterator[Figure]:
    yield _figure("trials", made.trials)
    if made.failed:
        yield _figure("failed", made.failed)
    if made.pruned:
        yield _figure("pruned", made.pruned)
    yield _figure(f"best {made.metric}", made.best.value)


def _calls(made: CallResults) -> Iterator[Figure]:
    yield _figure("calls", made.calls)
    if made.succeeded < made.calls:
        yield _figure("without success", made.calls - made.succeeded)


def _selection(made: Selection) -> Iterator[Figure]:
    yield _figure(made.metric, made.value)
    yield _figure("groups", made.groups)


def _version(made: ModelVersion) -> Iterator[Figure]:
    yield _figure("version", made.version)
    for name, value in made.metrics.items():
        yield _figure(name, value)


def _rollout(made: Rollout) -> Iterator[Figure]:
    yield _figure("challenger", made.challenger)
    if made.effect is not None:
        yield _figure("effect", made.effect)
    yield _figure("looks", made.looks)


def _scores(made: ScoreTable) -> Iterator[Figure]:
    yield _figure("rows", made.rows, "rows")
    yield _figure("version", made.version)


def _drift(made: DriftReport) -> Iterator[Figure]:
    yield _figure("rows", made.rows, "rows")
    if made.error_by_week:
        week, error = list(made.error_by_week.items())[-1]
        yield _figure(f"error {week}", error)


_TELL: dict[type[Record], Callable[[Any], Iterator[Figure]]] = {
    DatasetSnapshot: _snapshot,
    GateReport: _gate,
    FeatureSet: _features,
    SweepPlan: _plan,
    Leaderboard: _leaderboard,
    CallResults: _calls,
    Selection: _selection,
    ModelVersion: _version,
    Rollout: _rollout,
    ScoreTable: _scores,
    DriftReport: _drift,
}
