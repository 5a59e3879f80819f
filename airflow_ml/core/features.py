"""Stage 3, features: the record. The definition of features is core/feature_view.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import Record

#: The values of the ``split`` column of a feature set's artifact.
TRAIN, VALIDATE, TEST = "train", "validate", "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSet(Record):
    """Key, label, features and split of every row of a spine, each feature as known at the row's ``predict_at``.

    The artifact is one Parquet file with the columns ``<key>``, ``<predict_at>``, ``<label>``, ``split``, the carried
    columns and the features. Feature columns are numbers, booleans or strings; absent is null.
    """

    view: str
    view_digest: str
    #: The view's own definition as JSON (``FeatureView.to_dict()``), so that it can be built again anywhere.
    definition: Artifact
    artifact: Artifact
    #: The instant of the spine: nothing that became known later is in here.
    as_of: datetime
    key: str
    predict_at: str
    label: str
    features: tuple[str, ...]
    #: Columns of the spine that are kept beside the features (the randomization unit, slices) but are not features.
    carried: tuple[str, ...] = ()
    #: Rows in each split.
    split_rows: Mapping[str, int] = field(default_factory=dict)
    #: First moment (ISO, UTC) of validate and test, by ``predict_at``.
    split_at: Mapping[str, str] = field(default_factory=dict)
    #: Rows of the spine left out and why: ``{"no label yet": 12, ...}``.
    excluded: Mapping[str, int] = field(default_factory=dict)
    #: As an artifact, so that another view can be built over the same rows.
    spine: Artifact
    #: Of each joined table what this view's rows can use; empty where the warehouse built the features.
    sources: Mapping[str, Artifact] = field(default_factory=dict)
    #: ``duckdb`` or ``snowflake``.
    engine: str
    parents: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Rows in all splits together."""
        return sum(self.split_rows.values())
