"""Stage 3, features, when the task runs: a view over a spine, built beside the task or in the warehouse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_ml.adapters.duckdb import BuiltFeatures, DuckDBFeatures
from airflow_ml.adapters.snowflake_features import SnowflakeFeatures
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.source_rows import time_ranges
from airflow_ml.errors import ConfigurationError
from airflow_ml.hooks.warehouse import snapshot_source

if TYPE_CHECKING:
    from airflow_ml.core.artifact import Artifact
    from airflow_ml.core.feature_view import FeatureView
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.core.time_split import TimeSplit


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureBuilding:
    """What a build of features needs, wherever it happens."""

    view: FeatureView
    spine: Artifact
    #: What became known after it is not used.
    as_of: datetime
    #: None builds for serving.
    split: TimeSplit | None
    store: ArtifactStore
    #: Airflow connection of the joined tables.
    conn_id: str
    #: Dag, run and task, for the warehouse's query history.
    tag: Mapping[str, str]
    #: A scratch folder.
    folder: Path

    def in_worker(self, *, parents: tuple[str, ...] = ()) -> FeatureSet:
        """Read what the view can use of the joined tables, build with DuckDB, and store all of it.

        Raises as ``DuckDBFeatures.build`` and ``SnapshotSource.read``.
        """
        sources = self.read_sources()
        built = DuckDBFeatures().build(
            self.view,
            spine=self.store.path(self.spine),
            sources={table: self.store.path(artifact) for table, artifact in sources.items()},
            as_of=self.as_of,
            split=self.split,
            into=self.folder / "features.parquet",
        )
        return self._stored(built, sources, parents)

    def in_warehouse(self, *, parents: tuple[str, ...] = ()) -> FeatureSet:
        """Build where the joined tables are, and store the result; raises as ``SnowflakeFeatures.build``.

        Raises:
            ConfigurationError: the warehouse is no Snowflake, or the build is for serving.
        """
        source = snapshot_source(self.conn_id)
        if source.dialect != SnowflakeFeatures.engine or self.split is None:
            raise ConfigurationError(
                "Only Snowflake builds features itself, and only with a split",
                f"{self.conn_id} is {source.dialect}, split={self.split}",
                "Use engine='worker'.",
            )
        built = SnowflakeFeatures(source, tag=self.tag).build(
            self.view,
            spine=self.store.path(self.spine),
            as_of=self.as_of,
            split=self.split,
            into=self.folder / "features.parquet",
        )
        return self._stored(built, {}, parents)

    def read_sources(self) -> dict[str, Artifact]:
        """Read into artifacts what the rows of the spine can use of the view's tables, as of one instant.

        Only the columns that the view names are read, and of tables with times only the rows that can reach a row of
        the spine. A spine that cannot be built is refused before anything is read.
        """
        view, as_of = self.view, self.as_of
        first_at, last_at = DuckDBFeatures().moments(
            view, spine=self.store.path(self.spine), as_of=as_of, split=self.split, folder=self.folder
        )
        source = snapshot_source(self.conn_id)
        found: dict[str, Artifact] = {}
        for number, table in enumerate(view.sources):
            into = self.folder / f"source_{number}.parquet"
            rows = source.read_table(
                table,
                columns=view.source_columns(table),
                within=time_ranges(view, table, first_at=first_at, last_at=last_at, as_of=as_of),
                as_of=as_of,
                into=into,
                tag=self.tag,
            )
            found[table] = self.store.put_file(into, format="parquet", rows=rows.rows)
        return found

    def _stored(self, built: BuiltFeatures, sources: Mapping[str, Artifact], parents: tuple[str, ...]) -> FeatureSet:
        view = self.view
        return FeatureSet(
            view=view.name,
            view_digest=view.digest,
            definition=self.store.put_bytes(canonical_json(view.to_dict()), format="json"),
            # It goes into later records, so it stays small: Parquet says its columns itself, and digests are addresses.
            artifact=self.store.put_file(built.path, format="parquet", rows=built.rows),
            as_of=self.as_of,
            key=view.key,
            predict_at=view.predict_at,
            label=view.label.name,
            features=tuple(view.features),
            carried=tuple(view.carry),
            split_rows=built.split_rows,
            split_at=built.split_at,
            excluded=built.excluded,
            spine=replace(self.spine, columns=(), uri=""),
            sources={table: replace(artifact, columns=(), uri="") for table, artifact in sources.items()},
            engine=built.engine,
            parents=parents,
        )
