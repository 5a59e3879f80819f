"""Features in the warehouse: the rows of the spine go there, the joined tables stay where they are.

The same view gives the same values as in ``DuckDBFeatures``; both run the SQL of ``core/feature_sql.py``.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_ml.adapters.duckdb import BuiltFeatures, DuckDBFeatures
from airflow_ml.adapters.duckdb_checks import refuse_doubled
from airflow_ml.core.feature_inputs import Lookup
from airflow_ml.core.feature_sql import feature_sql
from airflow_ml.core.feature_view import FeatureView
from airflow_ml.core.source_rows import table_statement
from airflow_ml.core.split_sql import doubled_sql
from airflow_ml.core.sql import ident

if TYPE_CHECKING:
    from airflow_ml.core.ports import SnapshotSource
    from airflow_ml.core.time_split import TimeSplit


class SnowflakeFeatures:
    """Builds features in Snowflake with its own ``ASOF JOIN``.

    Each build sends the columns of the spine that the view names as one temporary table, which needs the right to make
    one in the connection's schema, and reads the result.

    Args:
        source: The warehouse; its dialect is ``snowflake``.
        tag: Dag, run and task, for the warehouse's query history.
    """

    engine = "snowflake"

    def __init__(self, source: SnapshotSource, *, tag: Mapping[str, str]) -> None:
        self._source = source
        self._tag = tag
        self._local = DuckDBFeatures()

    def build(self, view: FeatureView, *, spine: Path, as_of: datetime, split: TimeSplit, into: Path) -> BuiltFeatures:
        """Write what ``DuckDBFeatures.build`` writes; raises as it does, and as ``SnapshotSource.read``.

        The tables' columns have names as Snowflake folds them, without quotes. A NaN in a column that a `Rolling` sums
        makes the statement fail.
        """
        folder = into.parent
        self._local.moments(view, spine=spine, as_of=as_of, split=split, folder=folder)
        self._check_tables(view, as_of, folder)
        name = f"airflow_ml_spine_{uuid.uuid4().hex}"
        query = feature_sql(
            view,
            spine=name,
            sources={table: table for table in view.sources},
            dialect=self.engine,
            as_of=as_of,
            split=split,
            time_travel=True,
        )
        rows = folder / "rows.parquet"
        uploads = {name: _narrowed(view, spine, folder)}
        self._source.read(query, {}, uploads=uploads, as_of=as_of, into=rows, tag=self._tag)
        built = self._local.finish(view, spine=spine, rows=rows, as_of=as_of, split=split, into=into)
        return replace(built, engine=self.engine)

    def _check_tables(self, view: FeatureView, as_of: datetime, folder: Path) -> None:
        samples = {}
        for number, table in enumerate(view.sources):
            text, _ = table_statement(f"{ident(table)} {{at}}", view.source_columns(table), ())
            samples[table] = folder / f"sample_{number}.parquet"
            self._source.read(f"{text} LIMIT 0", {}, as_of=as_of, into=samples[table], tag=self._tag)
        self._local.check_sources(view, samples=samples, folder=folder)
        for join in view.joins:
            if isinstance(join, Lookup):
                refuse_doubled(
                    join,
                    self._first_row(
                        doubled_sql(join, relation=join.table, dialect=self.engine, history=True), as_of, folder
                    ),
                )

    def _first_row(self, statement: str, as_of: datetime, folder: Path) -> tuple[object, ...] | None:
        import pyarrow.parquet as pq

        into = folder / "row.parquet"
        self._source.read(statement, {}, as_of=as_of, into=into, tag=self._tag)
        found = pq.read_table(into).to_pylist()
        return tuple(found[0].values()) if found else None


def _narrowed(view: FeatureView, spine: Path, folder: Path) -> Path:
    """Write the columns of a spine that the view names: others may have types that no table column is made for."""
    import pyarrow.parquet as pq

    into = folder / "spine_columns.parquet"
    with pq.ParquetFile(spine) as source:
        names = [name for name in source.schema_arrow.names if name.lower() in view.spine_columns]
        with pq.ParquetWriter(into, source.schema_arrow.empty_table().select(names).schema) as writer:
            for batch in source.iter_batches(columns=names):
                writer.write_batch(batch.select(names))
    return into
