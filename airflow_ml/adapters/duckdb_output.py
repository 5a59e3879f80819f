"""Rows that DuckDB has built as the Parquet file of a feature set: few types, sorted, in row groups of one size."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.feature_view import FeatureView
from airflow_ml.core.sql import ident
from airflow_ml.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    import pyarrow as pa

#: Rows in a row group: small enough that a reader of one split or group skips most of a file.
ROW_GROUP_ROWS = 64 * 1024


def write_features(connection: duckdb.DuckDBPyConnection, view: FeatureView, query: str, into: Path) -> pa.Schema:
    """Run the query and write its rows; Arrow writes the file, so that row groups do not depend on DuckDB's threads."""
    import os

    import pyarrow as pa
    import pyarrow.parquet as pq

    typed = _typed(connection, view, query)
    order = f"{quoted(view.predict_at)}, {quoted(view.key)}"
    reader = connection.sql(f"{typed}\nORDER BY {order}").to_arrow_reader(ROW_GROUP_ROWS)
    schema = pa.schema([pa.field(field.name, _plain(field.type)) for field in reader.schema])
    partial = into.with_name(f".{into.name}.{os.getpid()}.partial")
    try:
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for table in _regroup(reader, schema):
                writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
        partial.replace(into)
    finally:
        partial.unlink(missing_ok=True)
    return schema


def _regroup(reader: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield tables of exactly one row group each, the last one smaller."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        waiting.append(batch)
        rows += batch.num_rows
        while rows >= ROW_GROUP_ROWS:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, ROW_GROUP_ROWS).cast(schema)
            rest = table.slice(ROW_GROUP_ROWS)
            waiting, rows = rest.to_batches(), rest.num_rows
    if rows or not waiting:
        yield pa.Table.from_batches(waiting, reader.schema).cast(schema)


def _typed(connection: duckdb.DuckDBPyConnection, view: FeatureView, query: str) -> str:
    """Wrap the query so that every column comes out in one of the few types of a feature set."""
    described = connection.execute(f"DESCRIBE {query}").fetchall()
    columns = [f"{_cast(view, str(name), str(kind))} AS {quoted(name)}" for name, kind, *_ in described]
    return f"SELECT {', '.join(columns)}\nFROM (\n{query}\n) AS {quoted('typed')}"


def _cast(view: FeatureView, name: str, kind: str) -> str:
    column = quoted(name)
    if name == view.predict_at:
        return f"CAST({column} AS TIMESTAMPTZ)"
    if kind in _INTEGERS:
        return f"CAST({column} AS BIGINT)"
    if kind in ("UBIGINT", "HUGEINT", "UHUGEINT", "FLOAT", "DOUBLE", '"NULL"', "NULL"):
        return f"CAST({column} AS DOUBLE)"
    if kind.startswith("DECIMAL"):
        whole = kind.replace(" ", "").endswith(",0)")
        return f"CAST({column} AS {'BIGINT' if whole else 'DOUBLE'})"
    if kind == "BOOLEAN":
        return column
    if kind == "VARCHAR" or kind.startswith("ENUM"):
        return f"CAST({column} AS VARCHAR)"
    if name in view.carry and (kind == "DATE" or kind.startswith("TIMESTAMP")):
        # A carried time keeps its type; only its unit becomes microseconds.
        return column if kind == "DATE" else f"CAST({column} AS {'TIMESTAMPTZ' if 'ZONE' in kind else 'TIMESTAMP'})"
    raise ConfigurationError(
        f"The column {name} has a type that a model cannot take",
        kind,
        "Turn it into a number, boolean or string in the snapshot's SQL, for example minutes since midnight.",
    )


_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")


def _plain(kind: Any) -> Any:
    """DuckDB's own string layouts become plain strings, which every Parquet reader knows."""
    import pyarrow as pa

    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp("us", tz="UTC")
    return kind


def quoted(name: str) -> str:
    """Return a name in DuckDB's quotes, in its own case."""
    return ident(f'"{name}"')
