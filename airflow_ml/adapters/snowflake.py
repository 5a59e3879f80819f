"""Snowflake as a source of snapshots and a place for scores, through its own connector."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from airflow_ml.adapters.snowflake_arrow import columns_of, result_schema, snowflake_type, write_parquet
from airflow_ml.adapters.snowflake_errors import translated
from airflow_ml.adapters.upsert import check_key
from airflow_ml.core.ports import TableFile
from airflow_ml.core.record import JSON
from airflow_ml.core.snapshot import PLAIN_READ, TIME_TRAVEL
from airflow_ml.core.source_rows import TimeRange, table_statement
from airflow_ml.core.sql import bindable, comment, ident, ident_parts, pyformat, require_select, sibling
from airflow_ml.errors import StatementFailed

if TYPE_CHECKING:
    import pyarrow as pa
    from snowflake.connector import SnowflakeConnection
    from snowflake.connector.cursor import SnowflakeCursor

#: In a statement, behind a table's name: where the warehouse has Time Travel it becomes the clause, elsewhere nothing.
AT_PLACEHOLDER = "{at}"
_AT = "AT(TIMESTAMP => %(as_of)s::TIMESTAMP_TZ)"
#: Snowflake's limit of a query tag.
_TAG_CHARACTERS = 2000


class SnowflakeSource:
    """A ``SnapshotSource`` on Snowflake, or on a server that speaks its protocol.

    Each call opens a connection of its own and closes it.

    Time Travel: every Snowflake session lists the parameter ``QUERY_TAG``, and every edition of Snowflake has Time
    Travel; a stand-in that lists no parameters has neither. So one ``SHOW PARAMETERS`` decides, and on Snowflake an
    ``AT`` that fails is an error and never a plain read.

    Args:
        connect: Opens a connection; the caller's hook knows the credentials.
        source_name: Names the source in messages and records, never with an address or a user.
    """

    dialect = "snowflake"

    def __init__(self, connect: Callable[[], SnowflakeConnection], *, source_name: str) -> None:
        self._open = connect
        self.source_name = source_name
        self._snowflake: bool | None = None

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
        """Stream a SELECT to Parquet.

        Args:
            statement: SQL with ``%(name)s`` for values; ``%(as_of)s`` is always there. Behind a table's name
                ``{at}`` becomes ``AT(TIMESTAMP => ...)`` where the warehouse has Time Travel, and nothing elsewhere.
            values: Numbers, text, booleans, None, aware times, or lists of these (for ``IN (%(name)s)``).
            uploads: Parquet files whose rows the statement finds in temporary tables of these names. A name must be
                free: it hides a table of the same name.
            as_of: The instant to read at (aware).
            into: The Parquet file to write; written also for an empty result.
            tag: Dag, run and task: a leading comment, and the statement's QUERY_TAG.

        Raises:
            TableMissing, ColumnMissing, StatementFailed: as the warehouse says.
            ConfigurationError: it is not a SELECT, a name in it has no value, or a value cannot be bound.
        """
        require_select(statement)
        with self._connection() as connection, self._uploaded(connection, uploads or {}, tag):
            return self._read(connection, statement, values, as_of=as_of, into=into, tag=tag)

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
        """Stream a table as of an instant; raises as ``read`` does, and ConfigurationError for a bad name.

        A name in ``columns`` and ``within`` is found whatever its case: many loaders quote the names that they create.
        """
        relation = f"{ident(table).replace('%', '%%')} {AT_PLACEHOLDER}"
        names = {name: ident(name) for name in (*(columns or ()), *(part.column for part in within))}
        with self._connection() as connection:
            stored = self._stored_names(connection, relation, as_of) if names else {}
            # An unknown name is left as it is to the warehouse, which says best what is missing.
            quoted = {name: stored.get(ident_parts(name)[-1].lower(), plain) for name, plain in names.items()}
            statement, values = table_statement(relation, columns, within, quote=quoted.__getitem__)
            return self._read(connection, statement, values, as_of=as_of, into=into, tag=tag)

    def write_table(self, table: str, parquet: Path, *, key: Sequence[str], tag: Mapping[str, str]) -> int:
        """Upsert the rows of a Parquet file by key.

        The file goes to a temporary stage (PUT) and from there into a temporary table beside the target (COPY); then
        one transaction replaces the rows of these keys. It commits only when the table holds as
        many rows with these keys as the file has. A first call creates the table, with types from the file.

        Raises:
            ConfigurationError: the key has nulls or duplicates, or a column has no plain type.
            ColumnMissing: the file lacks a key column, or the table a column of the file.
            TableMissing, StatementFailed: as the warehouse says; nothing was changed.
        """
        schema, rows = check_key(parquet, key)
        target = ident(table)
        with self._connection() as connection:
            kind = self._temporary(connection)
            with translated(f"Writing {table} in {self.source_name}"), connection.cursor() as cursor:

                def run(statement: str, rows: IO[bytes] | None = None) -> Any:
                    return _execute(cursor, statement, None, tag, rows).fetchone()

                run(f"CREATE TABLE IF NOT EXISTS {target} ({_column_types(schema)})")
                with _loaded(run, sibling(target, _unique_name()), parquet, schema, kind) as staged:
                    return _replace(run, target, staged, schema, key, rows)

    def run(self, statement: str, values: Mapping[str, JSON | datetime], *, tag: Mapping[str, str]) -> list[Any]:
        """Run one statement and return all rows of its result; for small results only.

        Args:
            statement: SQL with ``%(name)s`` for values.
            values: As in ``read``; names that the statement does not use are left out.
            tag: As in ``read``.

        Raises:
            TableMissing, ColumnMissing, StatementFailed: as the warehouse says.
            ConfigurationError: a name in the statement has no value, or a value cannot be bound.
        """
        bound = {name: bindable(name, value) for name, value in values.items()}
        text = pyformat(statement, bound.keys()).strip().rstrip(";")
        if not bound:
            text %= {}  # the connector formats only where something is bound
        with self._connection() as connection, translated(f"Asking {self.source_name}"), connection.cursor() as cursor:
            _execute(cursor, text, bound, tag)
            return list(cursor.fetchall())

    @contextlib.contextmanager
    def _connection(self) -> Iterator[SnowflakeConnection]:
        with translated(f"Connecting to {self.source_name}"):
            connection = self._open()
        try:
            yield connection
        finally:
            connection.close()

    def _is_snowflake(self, connection: SnowflakeConnection) -> bool:
        if self._snowflake is None:
            with translated(f"Asking {self.source_name} for its parameters"), connection.cursor() as cursor:
                cursor.execute("SHOW PARAMETERS LIKE 'QUERY_TAG' IN SESSION")
                self._snowflake = cursor.fetchone() is not None
        return self._snowflake

    def _temporary(self, connection: SnowflakeConnection) -> str:
        # A temporary table goes with its session; DuckDB keeps those in no schema, where COPY cannot find them.
        return "TEMPORARY" if self._is_snowflake(connection) else "TRANSIENT"

    @contextlib.contextmanager
    def _uploaded(
        self, connection: SnowflakeConnection, uploads: Mapping[str, Path], tag: Mapping[str, str]
    ) -> Iterator[None]:
        """Keep files in tables of these names; nothing stays."""
        import pyarrow.parquet as pq

        with contextlib.ExitStack() as loaded:
            for name, parquet in uploads.items():
                with translated(f"Loading {name} into {self.source_name}"):
                    cursor = loaded.enter_context(connection.cursor())

                    def run(statement: str, rows: IO[bytes] | None = None, by: SnowflakeCursor = cursor) -> Any:
                        return _execute(by, statement, None, tag, rows).fetchone()

                    schema = pq.read_schema(parquet)
                    loaded.enter_context(_loaded(run, ident(name), parquet, schema, self._temporary(connection)))
            yield

    def _read(
        self,
        connection: SnowflakeConnection,
        statement: str,
        values: Mapping[str, JSON | datetime],
        *,
        as_of: datetime,
        into: Path,
        tag: Mapping[str, str],
    ) -> TableFile:
        text, bound, travels = self._bound(connection, statement, values, as_of)
        with translated(f"Reading from {self.source_name}"), connection.cursor() as cursor:
            _execute(cursor, text, bound, tag)
            return self._stream(cursor, into, TIME_TRAVEL if travels else PLAIN_READ)

    def _bound(
        self, connection: SnowflakeConnection, statement: str, values: Mapping[str, JSON | datetime], as_of: datetime
    ) -> tuple[str, dict[str, Any], bool]:
        """Return a statement as it is sent, what it binds, and whether it reads by Time Travel."""
        bound = {name: bindable(name, value) for name, value in {**values, "as_of": as_of}.items()}
        travels = AT_PLACEHOLDER in statement and self._is_snowflake(connection)
        text = pyformat(statement.replace(AT_PLACEHOLDER, _AT if travels else ""), bound.keys())
        return text.strip().rstrip(";"), bound, travels

    def _stored_names(self, connection: SnowflakeConnection, relation: str, as_of: datetime) -> dict[str, str]:
        """Return the quoted names of a table's columns by their lower case; two that differ by case are refused."""
        text, bound, _ = self._bound(connection, f"SELECT * FROM {relation}", {}, as_of)  # noqa: S608 - quoted names only
        with translated(f"Reading from {self.source_name}"), connection.cursor() as cursor:
            described = cursor.describe(text, bound)
        result_schema(described)
        return {column.name.lower(): ident('"' + column.name.replace('"', '""') + '"') for column in described}

    def _stream(self, cursor: SnowflakeCursor, into: Path, consistency: str) -> TableFile:
        from snowflake.connector.errors import NotSupportedError

        schema = result_schema(cursor.description)
        try:
            batches = cursor.fetch_arrow_batches(force_microsecond_precision=True)
        except NotSupportedError as error:
            raise StatementFailed("The statement gave no table", str(error)[:200], "Give a SELECT.") from error
        rows = write_parquet(batches, schema, into)
        return TableFile(
            path=into,
            rows=rows,
            columns=columns_of(schema),
            consistency=consistency,
            statement_id=str(cursor.sfqid),
        )


def _execute(
    cursor: SnowflakeCursor,
    statement: str,
    values: Mapping[str, Any] | None,
    tag: Mapping[str, str],
    rows: IO[bytes] | None = None,
) -> SnowflakeCursor:
    """Run one statement under its tag; ``rows`` is what a PUT uploads (the client parses a PUT: no comment)."""
    text = statement if rows else f"{comment(tag)} {statement}"
    label = json.dumps({"airflow_ml": dict(tag)}, sort_keys=True)[:_TAG_CHARACTERS]
    cursor.execute(text, values, _statement_params={"QUERY_TAG": label}, file_stream=rows)
    return cursor


@contextlib.contextmanager
def _loaded(run: Callable[..., Any], table: str, parquet: Path, schema: pa.Schema, kind: str) -> Iterator[str]:
    """Load a file into a table of this quoted name and yield it; nothing stays."""
    stage = sibling(table, _unique_name())
    try:
        run(f"CREATE {kind} TABLE {table} ({_column_types(schema)})")
        run(f"CREATE TEMPORARY STAGE {stage}")
        with parquet.open("rb") as rows:
            run(f"PUT file://rows.parquet @{stage} AUTO_COMPRESS=FALSE OVERWRITE=TRUE", rows)
        run(
            f"COPY INTO {table} FROM @{stage} FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE)"
            " MATCH_BY_COLUMN_NAME=CASE_INSENSITIVE PURGE=TRUE"
        )
        yield table
    finally:
        # The stage goes with the session, which ends right after.
        with contextlib.suppress(Exception):  # the outcome is decided already
            run(f"DROP TABLE IF EXISTS {table}")


def _unique_name() -> str:
    return f"AIRFLOW_ML_{uuid.uuid4().hex}"


def _replace(
    run: Callable[..., Any], target: str, staged: str, schema: pa.Schema, key: Sequence[str], rows: int
) -> int:
    same = " AND ".join(f"{target}.{ident(name)} = {staged}.{ident(name)}" for name in key)
    names = ", ".join(ident(name) for name in schema.names)
    run("BEGIN")
    try:
        run(f"DELETE FROM {target} USING {staged} WHERE {same}")  # noqa: S608 - only identifiers
        run(f"INSERT INTO {target} ({names}) SELECT {names} FROM {staged}")  # noqa: S608 - only identifiers
        found = run(f"SELECT COUNT(*) FROM {target} WHERE EXISTS (SELECT 1 FROM {staged} WHERE {same})")  # noqa: S608
        if found[0] != rows:
            raise StatementFailed(
                f"{target} holds {found[0]} rows with the keys of {rows} written", "", "Run the task again."
            )
        run("COMMIT")
    except BaseException:
        with contextlib.suppress(Exception):
            run("ROLLBACK")
        raise
    return int(found[0])


def _column_types(schema: pa.Schema) -> str:
    return ", ".join(f"{ident(field.name)} {snowflake_type(field)}" for field in schema)
