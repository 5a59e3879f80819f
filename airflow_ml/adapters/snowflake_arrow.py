"""Rows between Snowflake and Parquet, with types that do not depend on what a batch happens to hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.artifact import Column
from airflow_ml.errors import ConfigurationError, StatementFailed

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows of a row group. Fixed, so that the file does not depend on how the server cut its answer.
ROW_GROUP_ROWS = 65_536


def result_schema(description: Sequence[Any]) -> pa.Schema:
    """Return the Arrow schema of a result from the cursor's description.

    Names in lower case. NUMBER without decimals becomes int64, other numbers double; every timestamp becomes
    microseconds in UTC (TIMESTAMP_NTZ is taken as UTC); VARIANT, OBJECT, ARRAY and what else is text stay text.

    Raises:
        StatementFailed: two columns have the same name, or there is none.
    """
    import pyarrow as pa
    from snowflake.connector.constants import FIELD_TYPES

    utc = pa.timestamp("us", tz="UTC")
    kinds = {
        "REAL": pa.float64(),
        "DATE": pa.date32(),
        "TIME": pa.time64("us"),
        "BOOLEAN": pa.bool_(),
        "BINARY": pa.binary(),
        "TIMESTAMP": utc,
        "TIMESTAMP_LTZ": utc,
        "TIMESTAMP_TZ": utc,
        "TIMESTAMP_NTZ": utc,
    }
    fields = []
    for column in description:
        kind = FIELD_TYPES[column.type_code].name
        number = pa.float64() if column.scale else pa.int64()
        fields.append(pa.field(column.name.lower(), number if kind == "FIXED" else kinds.get(kind, pa.string())))
    names = [field.name for field in fields]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise StatementFailed("A result needs columns of different names", twice, "Give each an alias of its own.")
    return pa.schema(fields)


def conform(batch: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a batch with the names and types of a schema.

    Raises:
        StatementFailed: a value does not fit, for example an integer over 64 bits.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = []
    for field, column in zip(schema, batch.columns, strict=True):
        try:
            if pa.types.is_timestamp(field.type) and column.type.tz is None:
                column = pc.assume_timezone(column, "UTC")
            # Truncates nanoseconds, which Snowflake keeps and pandas, DuckDB and JSON do not agree on.
            columns.append(column.cast(field.type, safe=not pa.types.is_timestamp(field.type)))
        except pa.ArrowInvalid as error:
            raise StatementFailed(
                f"Column {field.name} does not fit into {field.type}",
                str(error)[:300],
                "Convert it in the query, for example to FLOAT or VARCHAR.",
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def write_parquet(batches: Iterable[pa.Table], schema: pa.Schema, into: Path) -> int:
    """Write batches to a Parquet file (zstd) in row groups of 65,536 rows; return the number of rows.

    At an error no file is left.
    """
    import pyarrow.parquet as pq

    rows = 0
    try:
        with pq.ParquetWriter(into, schema, compression="zstd") as writer:
            for group in _regroup((conform(batch, schema) for batch in batches), schema):
                writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
                rows += group.num_rows
    except BaseException:
        into.unlink(missing_ok=True)
        raise
    return rows


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """Return the columns of a schema as records."""
    return tuple(Column(name=field.name, dtype=str(field.type)) for field in schema)


def snowflake_type(field: pa.Field) -> str:
    """Return the Snowflake type of a new column for a field.

    Raises:
        ConfigurationError: for a type without a plain counterpart (nested, null, decimal).
    """
    import pyarrow.types as types

    kind = field.type.value_type if types.is_dictionary(field.type) else field.type
    tests: list[tuple[Callable[[Any], bool], str]] = [
        (types.is_boolean, "BOOLEAN"),
        (types.is_integer, "NUMBER(38,0)"),
        (types.is_floating, "FLOAT"),
        (types.is_string, "VARCHAR"),
        (types.is_large_string, "VARCHAR"),
        (types.is_date, "DATE"),
        (types.is_timestamp, "TIMESTAMP_TZ" if getattr(kind, "tz", None) else "TIMESTAMP_NTZ"),
    ]
    for fits, name in tests:
        if fits(kind):
            return name
    raise ConfigurationError(
        f"Column {field.name!r} has a type that no table column is made for",
        str(field.type),
        "Convert it to a number, boolean, text, date or timestamp.",
    )


def _regroup(batches: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    import pyarrow as pa

    waiting: list[pa.Table] = []
    for batch in batches:
        waiting.append(batch)
        if sum(table.num_rows for table in waiting) >= ROW_GROUP_ROWS:
            table = pa.concat_tables(waiting)
            whole = table.num_rows - table.num_rows % ROW_GROUP_ROWS
            yield table.slice(0, whole)
            waiting = [table.slice(whole)]
    yield pa.concat_tables(waiting) if waiting else schema.empty_table()
