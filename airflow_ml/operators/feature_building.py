"""Stage 3, features, when the task runs: tables of the warehouse as artifacts, and a view built over artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_ml.adapters.duckdb import DuckDBFeatures
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.source_rows import time_ranges
from airflow_ml.hooks.warehouse import snapshot_source

if TYPE_CHECKING:
    from airflow_ml.core.artifact import Artifact
    from airflow_ml.core.feature_view import FeatureView
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.core.time_split import TimeSplit


def source_tables(
    view: FeatureView,
    store: ArtifactStore,
    *,
    spine: Artifact,
    conn_id: str,
    as_of: datetime,
    split: TimeSplit | None,
    folder: Path,
    tag: Mapping[str, str],
) -> dict[str, Artifact]:
    """Read into artifacts what the rows of a spine can use of a view's tables, as of one instant.

    Only the columns that the view names are read, and of tables with times only the rows that can reach a row of the
    spine. A spine that cannot be built is refused before anything is read; raises as ``DuckDBFeatures.build``.
    """
    first_at, last_at = DuckDBFeatures().moments(view, spine=store.path(spine), as_of=as_of, split=split, folder=folder)
    source = snapshot_source(conn_id)
    found: dict[str, Artifact] = {}
    for number, table in enumerate(view.sources):
        into = folder / f"source_{number}.parquet"
        rows = source.read_table(
            table,
            columns=view.source_columns(table),
            within=time_ranges(view, table, first_at=first_at, last_at=last_at, as_of=as_of),
            as_of=as_of,
            into=into,
            tag=tag,
        )
        found[table] = store.put_file(into, format="parquet", rows=rows.rows)
    return found


def feature_set(
    view: FeatureView,
    store: ArtifactStore,
    *,
    spine: Artifact,
    sources: Mapping[str, Artifact],
    as_of: datetime,
    split: TimeSplit | None,
    folder: Path,
    parents: tuple[str, ...],
) -> FeatureSet:
    """Build a view over artifacts with DuckDB and store the result; ``split=None`` builds for serving."""
    built = DuckDBFeatures().build(
        view,
        spine=store.path(spine),
        sources={table: store.path(artifact) for table, artifact in sources.items()},
        as_of=as_of,
        split=split,
        into=folder / "features.parquet",
    )
    rows = sum(built.split_rows.values())
    return FeatureSet(
        view=view.name,
        view_digest=view.digest,
        definition=store.put_bytes(canonical_json(view.to_dict()), format="json"),
        # It goes into later records, so it stays small: Parquet says its columns itself, and digests are addresses.
        artifact=store.put_file(built.path, format="parquet", rows=rows),
        as_of=as_of,
        key=view.key,
        predict_at=view.predict_at,
        label=view.label.name,
        features=tuple(view.features),
        carried=tuple(view.carry),
        split_rows=built.split_rows,
        split_at=built.split_at,
        excluded=built.excluded,
        spine=replace(spine, columns=(), uri=""),
        sources={table: replace(artifact, columns=(), uri="") for table, artifact in sources.items()},
        engine=built.engine,
        parents=parents,
    )
