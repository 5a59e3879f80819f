"""Features as a caller of the gateway computes them: from the published schedule and what was known by then."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pandas as pd

from airflow_ml.adapters.duckdb import DuckDBFeatures
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.duration import parse_duration
from airflow_ml.core.feature_view import FeatureView, Rolling
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.errors import ColumnMissing
from demo import flights

#: Feature values of requests, by key and feature.
Features = dict[str, dict[str, JSON]]


class ServingFeatures:
    """Features of one day's requests for any view, each as known at the request's ``predict_at``.

    Args:
        store: Holds the view definitions.
        tables: Source name to its rows; those of the flight line by default.
    """

    def __init__(self, store: ArtifactStore, tables: Mapping[str, pd.DataFrame] | None = None) -> None:
        self._store = store
        self._tables = tables or {
            "weather": flights.weather(),
            "flights": flights.flights(),
            "planes": flights.planes(),
        }
        self._views: dict[str, FeatureView] = {}
        self._engine = DuckDBFeatures(memory_limit="512MB", threads=1)

    def view(self, variant: Mapping[str, JSON]) -> FeatureView:
        """Return the view of a variant, read from the store once."""
        digest = str(variant["view_digest"])
        if digest not in self._views:
            definition = parse_as(Artifact, variant["view_definition"])
            self._views[digest] = FeatureView.from_dict(json.loads(self._store.get_bytes(definition)))
        return self._views[digest]

    def build(self, requests: pd.DataFrame, variant: Mapping[str, JSON]) -> Features:
        """Return the features of every request by its key.

        Raises:
            ColumnMissing: the requests lack an input; a null in its place would be a silent difference to training.
        """
        view = self.view(variant)
        absent = sorted({item.name for item in view.inputs} - set(requests.columns))
        if absent:
            raise ColumnMissing(
                f"The requests lack inputs of the view {view.name}", ", ".join(absent), "Add them to published()."
            )
        first, last = requests[view.predict_at].min(), requests[view.predict_at].max()
        with tempfile.TemporaryDirectory(prefix="replay-") as folder:
            spine = Path(folder) / "spine.parquet"
            requests.to_parquet(spine, index=False)
            sources = {name: self._slice(view, name, first, last, Path(folder)) for name in view.sources}
            built = self._engine.build(
                view, spine=spine, sources=sources, as_of=last, split=None, into=Path(folder) / "features.parquet"
            )
            table = pd.read_parquet(built.path, columns=[view.key, *view.features], dtype_backend="pyarrow")
        plain = table.astype(object).where(table.notna(), None)
        rows = plain[list(view.features)].to_dict("records")
        return {str(key): cast("dict[str, JSON]", row) for key, row in zip(plain[view.key], rows, strict=True)}

    def _slice(self, view: FeatureView, name: str, first: datetime, last: datetime, folder: Path) -> Path:
        """Write the rows of a source that can matter to these requests: known by the last, not older than a window."""
        table = self._tables[name]
        window = max((parse_duration(join.window) for join in view.joins if isinstance(join, Rolling)), default=0.0)
        for column in ("known_at", "observed_at"):
            if column in table.columns:
                since = first - timedelta(seconds=window) - timedelta(days=2)
                table = table[(table[column] <= last) & (table[column] > since)]
        path = folder / f"{name}.parquet"
        table.to_parquet(path, index=False)
        return path


def published(requests: pd.DataFrame) -> pd.DataFrame:
    """Return requests with the columns that dags_examples/sql/departures.sql derives in the warehouse."""
    return requests.assign(sched_weekday=requests["sched_dep_at"].dt.tz_convert("UTC").dt.day_of_week + 1)
