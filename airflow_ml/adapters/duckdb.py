"""Features on one machine: DuckDB over Parquet files, spilling to disk.

The engine of laptops, tests and every warehouse without point-in-time joins. The same view gives the same values as the
SQL that is pushed down to Snowflake; both come from ``core/feature_sql.py``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_ml.adapters.duckdb_checks import (
    check_keys,
    check_known,
    check_lookups,
    check_source_schemas,
    check_spine_schema,
    check_splits,
)
from airflow_ml.adapters.duckdb_output import quoted, write_features
from airflow_ml.core.artifact import Column
from airflow_ml.core.feature_dialect import DuckDB
from airflow_ml.core.feature_sql import feature_sql
from airflow_ml.core.feature_view import FeatureView
from airflow_ml.core.features import TEST, TRAIN, VALIDATE
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.split_sql import split_sql
from airflow_ml.core.time_split import SERVE, TimeSplit
from airflow_ml.errors import ConfigurationError, DataTooLarge, MissingDependency, StatementFailed, TableMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    import pyarrow as pa

#: The relation's name of the spine; a source's is ``source.<table>``.
_SPINE = "spine"
#: The relation's name of rows that were built elsewhere.
_ROWS = "rows"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltFeatures:
    """A Parquet file of features, and what went into it and what did not."""

    path: Path
    columns: tuple[Column, ...]
    #: Rows in each split; ``{"serve": n}`` when serving.
    split_rows: Mapping[str, int]
    #: First moment (ISO, UTC) of validate and test; empty when serving.
    split_at: Mapping[str, str]
    #: Rows of the spine left out, by reason.
    excluded: Mapping[str, int]
    engine: str = "duckdb"

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(self.split_rows.values())


class DuckDBFeatures:
    """Builds features with DuckDB in this process.

    Args:
        memory_limit: What DuckDB may hold in memory before it spills; DuckDB's own default, 80 % of the machine, is too
            much for a worker that shares it.
        threads: Threads; the default leaves a worker's other slots their cores.
    """

    engine = "duckdb"

    def __init__(self, *, memory_limit: str = "2GB", threads: int = 2) -> None:
        self.memory_limit = memory_limit
        self.threads = threads

    def build(
        self,
        view: FeatureView,
        *,
        spine: Path,
        sources: Mapping[str, Path],
        as_of: datetime,
        split: TimeSplit | None,
        into: Path,
    ) -> BuiltFeatures:
        """Write key, predict_at, label, split, carried columns and features of a spine to a Parquet file.

        The same files, view, moment and split give the same bytes. Rows are sorted by ``predict_at``, then key;
        features are int64, double, bool or string; times without a zone are read as UTC.

        Args:
            view: The features.
            spine: Parquet file with one row for each prediction.
            sources: Parquet file of each of ``view.sources``; others are ignored.
            as_of: Aware. What became known after it is not used.
            split: How to divide the rows; None to serve: no label is needed, no row is left out, an input or carried
                column that the spine does not have is null, and an input whose ``known_at`` has not come is null.
            into: The file to write. It is replaced as a whole, at the end.

        Raises:
            TableMissing, ColumnMissing: the files lack something that the view names.
            FeatureKnownTooLate: an input of a training row became known after its ``predict_at``.
            EmptyDataset: no rows, or none for a split.
            ConfigurationError: a column whose type cannot be used, or keys that are not unique.
            DataTooLarge: more than memory and disk can take.
            MissingDependency: duckdb is not installed.
        """
        paths = {_SPINE: spine, **{_source(table): self._source_path(table, sources) for table in view.sources}}
        relations = {table: _source(table) for table in view.sources}
        into.parent.mkdir(parents=True, exist_ok=True)
        with self._connection(paths, into.parent, view) as connection:
            present, counts = _checked_spine(connection, view, as_of, split)
            check_source_schemas(connection, view, sources=relations)
            check_lookups(connection, view, sources=relations)
            query = feature_sql(
                view,
                spine=_SPINE,
                sources=relations,
                dialect="duckdb",
                as_of=as_of,
                split=split,
                spine_columns=present,
            )
            schema = write_features(connection, view, query, into)
        return _described(into, schema, counts, split, as_of)

    def moments(
        self, view: FeatureView, *, spine: Path, as_of: datetime, split: TimeSplit | None, folder: Path
    ) -> tuple[datetime, datetime]:
        """Return the first and last moment of prediction of a spine, once it is such as ``build`` takes.

        So a spine that cannot be built is refused before any other table is read. ``folder`` is where DuckDB spills;
        the other arguments and what is raised are those of ``build``.
        """
        with self._connection({_SPINE: spine}, folder, view) as connection:
            _checked_spine(connection, view, as_of, split)
            at = DuckDB().moment(quoted(view.predict_at))
            found = connection.execute(f"SELECT MIN({at}), MAX({at}) FROM {_SPINE}").fetchall()
        first, last = (moment.replace(tzinfo=UTC) for moment in found[0])
        return first, last

    def check_sources(self, view: FeatureView, *, samples: Mapping[str, Path], folder: Path) -> None:
        """Refuse joined tables that ``build`` would refuse for their columns; a sample may be without rows.

        Raises:
            ColumnMissing, ConfigurationError.
        """
        paths = {_source(table): self._source_path(table, samples) for table in view.sources}
        with self._connection(paths, folder, view) as connection:
            check_source_schemas(connection, view, sources={table: _source(table) for table in view.sources})

    def finish(
        self, view: FeatureView, *, spine: Path, rows: Path, as_of: datetime, split: TimeSplit, into: Path
    ) -> BuiltFeatures:
        """Write rows that another engine has built from the same spine as ``build`` would have written them.

        Raises:
            StatementFailed: they are not as many as the splits of the spine have.
        """
        with self._connection({_SPINE: spine, _ROWS: rows}, into.parent, view) as connection:
            _, counts = _checked_spine(connection, view, as_of, split)
            schema = write_features(connection, view, f"SELECT * FROM {_ROWS}", into)
            found = connection.execute(f"SELECT COUNT(*) FROM {_ROWS}").fetchall()[0][0]
        built = _described(into, schema, counts, split, as_of)
        if found != built.rows:
            raise StatementFailed(
                f"The features of {view.name} have other rows than its spine",
                f"{found} rows instead of {built.rows}",
                "Build them with engine='worker', and report it.",
            )
        return built

    @staticmethod
    def _source_path(table: str, sources: Mapping[str, Path]) -> Path:
        if table not in sources:
            raise TableMissing("The view needs a source that was not given", table, f"Given are {sorted(sources)}.")
        return sources[table]

    @contextmanager
    def _connection(
        self, paths: Mapping[str, Path], folder: Path, view: FeatureView
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open a private database with one view per file; its errors become ours."""
        try:
            import duckdb
        except ImportError as error:
            raise MissingDependency(
                "Features need a package that is not installed", "duckdb", "Install airflow-ml[mlflow]."
            ) from error
        for name, path in paths.items():
            if not path.is_file():
                raise TableMissing("The file of a table does not exist", f"{name}: {path}", "Take the snapshot again.")
        with tempfile.TemporaryDirectory(prefix=".features-", dir=folder) as spill:
            config = {
                "memory_limit": self.memory_limit,
                "threads": self.threads,
                "temp_directory": spill,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
            connection = duckdb.connect(":memory:", config=config)
            try:
                connection.execute("SET TimeZone = 'UTC'")
                for name, path in paths.items():
                    connection.read_parquet(str(path)).create_view(name)
                yield connection
            except duckdb.OutOfMemoryException as error:
                raise DataTooLarge(
                    f"The features of {view.name} do not fit",
                    _first_line(error),
                    "Raise memory_limit, give the folder more disk, or push the view down to the warehouse.",
                ) from error
            except duckdb.Error as error:
                raise ConfigurationError(
                    f"DuckDB refuses the features of {view.name}",
                    _first_line(error),
                    "Check that joined columns have the same type on both sides and that numbers fit 64 bits.",
                ) from error
            finally:
                connection.close()


def _described(
    path: Path, schema: pa.Schema, counts: Mapping[str, int], split: TimeSplit | None, as_of: datetime
) -> BuiltFeatures:
    kept = (SERVE,) if split is None else (TRAIN, VALIDATE, TEST)
    cuts = split.cuts(as_of) if split else None
    return BuiltFeatures(
        path=path,
        columns=tuple(Column(name=field.name, dtype=str(field.type)) for field in schema),
        split_rows={name: counts[name] for name in kept},
        split_at={VALIDATE: format_time(cuts.validate_at), TEST: format_time(cuts.test_at)} if cuts else {},
        excluded={name: rows for name, rows in sorted(counts.items()) if name not in kept},
    )


def _checked_spine(
    connection: duckdb.DuckDBPyConnection, view: FeatureView, as_of: datetime, split: TimeSplit | None
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the spine's columns and the rows of each split, or of each reason to leave them out."""
    present = check_spine_schema(connection, view, spine=_SPINE, serving=split is None)
    rows = check_keys(connection, view, spine=_SPINE)
    if split is None:
        return present, {SERVE: rows}
    check_known(connection, view, spine=_SPINE)
    statement = split_sql(view, spine=_SPINE, dialect="duckdb", as_of=as_of, split=split)
    counts = dict(connection.execute(statement).fetchall())
    check_splits(view, counts, split.cuts(as_of))
    return present, counts


def _source(table: str) -> str:
    return f"source.{table}"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300]
