"""Stage 8, monitoring: has the data drifted from what the model learned?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftMeasure:
    """How far one column moved from the reference."""

    column: str
    #: ``psi`` (population stability index) or ``ks`` (Kolmogorov-Smirnov distance).
    statistic: str
    value: float
    threshold: float
    drifted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreTable(Record):
    """Scores that ``predict`` wrote to the warehouse."""

    model: str
    version: str
    view_digest: str
    table: str
    rows: int
    #: First and last ``predict_at`` of the rows.
    start_at: datetime
    end_at: datetime
    #: The same rows as an artifact: key, predict_at, score, model, version, variant.
    artifact: Artifact
    #: The model's manifest, so that the reference can be scored, too.
    models: Artifact
    #: The features of these rows, as a `FeatureSet` in JSON.
    features: Artifact
    #: The features that the model was trained with, as a `FeatureSet` in JSON: the reference of drift.
    reference: Artifact
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport(Record):
    """Drift of features and predictions, and the error by week."""

    model: str
    version: str
    drifted: bool
    reason: str
    #: The columns that moved most, at most 20.
    measures: tuple[DriftMeasure, ...]
    #: ISO week to the live error (Brier) of the rows whose outcome is known.
    error_by_week: Mapping[str, float]
    rows: int
    outcomes: int
    report: Artifact
    parents: tuple[str, ...] = ()
