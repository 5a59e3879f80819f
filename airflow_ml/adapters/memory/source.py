"""A warehouse in memory: DuckDB inside this process, for tests and for a line tried in a notebook."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.adapters.snowflake_arrow import columns_of, write_parquet
from airflow_ml.adapters.snowflake_errors import source_error
from airflow_ml.adapters.upsert import check_key
from airflow_ml.core.ports import TableFile
from airflow_ml.core.record import JSON
from airflow_ml.core.snapshot import PLAIN_READ
from airflow_ml.core.source_rows import TimeRange, table_statement
from airflow_ml.core.sql import bindable, comment, ident, ident_parts, pyformat, require_select
from airflow_ml.errors import ConfigurationError, StatementFailed

if TYPE_CHECKING:
    import pyarrow as pa

_BOUND = re.compile(r"%%|%\((?P<name>[^()%]+)\)s")


class MemorySource:
    """A ``SnapshotSource`` in this process; safe for threads. Names of tables have one or two parts."""

    dialect = "duckdb"

    def __init__(self) -> None:
        import duckdb

        self._database = duckdb.connect(":memory:")
        self._database.execute("SET TimeZone = 'UTC'")
        self._lock = threading.Lock()

    def read(
        self,
        statement: str,
        values: Mapping[str, JSON | datetime],
        *,
        uploads: Mapping[str, Path] | None = None,
        as_of: datetime,
        into: Path,
        tag: Mapping[str, str],
    ) -> TableFile:
        """Write the result of a SELECT to Parquet; ``{at}`` stands for nothing. Raises as ``SnowflakeSource.read``."""
        require_select(statement)
        bound = {name: bindable(name, value) for name, value in {**values, "as_of": as_of}.items()}
        text = pyformat(statement.replace("{at}", ""), bound.keys()).strip().rstrip(";")
        query, parameters = _dollar_parameters(f"{comment(tag)} {text}", bound)
        with self._translated("Reading from memory"), self._uploaded(uploads or {}):
            found = self._database.sql(query, params=parameters).to_arrow_table()
        schema = _plain_schema(found.schema)
        rows = write_parquet([found], schema, into)
        return TableFile(
            path=into, rows=rows, columns=columns_of(schema), consistency=PLAIN_READ, statement_id=str(uuid.uuid4())
        )

    def read_table(
        self,
        table: str,
        *,
        columns: Sequence[str] | None,
        within: Sequence[TimeRange] = (),
        as_of: datetime,
        into: Path,
        tag: Mapping[str, str],
    ) -> TableFile:
        """Write a table to Parquet; DuckDB finds a column whatever its case. Raises as ``read`` does."""
        statement, values = table_statement(ident(table).replace("%", "%%"), columns, within)
        return self.read(statement, values, as_of=as_of, into=into, tag=tag)

    def write_table(self, table: str, parquet: Path, *, key: Sequence[str], tag: Mapping[str, str]) -> int:
        """Upsert the rows of a Parquet file by key; raises as ``SnowflakeSource.write_table``."""
        import pyarrow.parquet as pq

        schema, rows = check_key(parquet, key)
        target = ident(table)
        if len(ident_parts(table)) > 2:
            raise ConfigurationError("A table in memory has no database", table, "Write [schema.]table.")
        names = ", ".join(ident(name) for name in schema.names)
        same = " AND ".join(f"{target}.{ident(name)} = staged.{ident(name)}" for name in key)
        types = ", ".join(f"{ident(field.name)} {_duckdb_type(field)}" for field in schema)
        with self._translated(f"Writing {table} in memory"):
            if len(ident_parts(table)) == 2:
                self._database.execute(f"CREATE SCHEMA IF NOT EXISTS {ident(table.rpartition('.')[0])}")
            self._database.execute(f"CREATE TABLE IF NOT EXISTS {target} ({types})")
            self._database.register("staged", pq.read_table(parquet))
            self._database.execute("BEGIN")
            try:
                self._database.execute(f"DELETE FROM {target} USING staged WHERE {same}")  # noqa: S608 - only identifiers
                self._database.execute(f"INSERT INTO {target} ({names}) SELECT {names} FROM staged")  # noqa: S608
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            finally:
                self._database.unregister("staged")
        return rows

    @contextmanager
    def _uploaded(self, uploads: Mapping[str, Path]) -> Iterator[None]:
        tables = {name: ident(name) for name in uploads}
        try:
            for name, table in tables.items():
                self._database.read_parquet(str(uploads[name])).create(table)
            yield
        finally:
            for table in tables.values():
                self._database.execute(f"DROP TABLE IF EXISTS {table}")

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        import duckdb

        with self._lock:
            try:
                yield
            except duckdb.Error as error:
                raise source_error(doing, str(error)) from error


def _dollar_parameters(text: str, bound: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return a statement with DuckDB's named parameters; a list becomes as many as it has items."""
    parameters: dict[str, Any] = {}

    def dollar(match: re.Match[str]) -> str:
        if match.group("name") is None:
            return "%"
        value = bound[match.group("name")]
        marks = []
        for item in value if isinstance(value, list) else [value]:
            name = f"p{len(parameters)}"
            parameters[name] = item.astimezone(UTC) if isinstance(item, datetime) else item
            marks.append(f"${name}")
        return ", ".join(marks)

    return _BOUND.sub(dollar, text), parameters


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema in which every source answers: int64, double, text, microseconds in UTC, lower-case names."""
    import pyarrow as pa

    def plain(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_decimal(kind):
            return pa.float64() if kind.scale else pa.int64()
        if pa.types.is_integer(kind):
            return pa.int64()
        if pa.types.is_floating(kind):
            return pa.float64()
        if pa.types.is_timestamp(kind):
            return pa.timestamp("us", tz="UTC")
        return pa.string() if pa.types.is_null(kind) or pa.types.is_large_string(kind) else kind

    names = [field.name.lower() for field in schema]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise StatementFailed("A result needs columns of different names", twice, "Give each an alias of its own.")
    return pa.schema([pa.field(field.name.lower(), plain(field.type)) for field in schema])


def _duckdb_type(field: pa.Field) -> str:
    from airflow_ml.adapters.snowflake_arrow import snowflake_type

    names = {"NUMBER(38,0)": "BIGINT", "FLOAT": "DOUBLE", "TIMESTAMP_TZ": "TIMESTAMPTZ", "TIMESTAMP_NTZ": "TIMESTAMP"}
    kind = snowflake_type(field)
    return names.get(kind, kind)
