"""The few places where DuckDB and Snowflake write the same thing differently."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from airflow_ml.core.sql import ident
from airflow_ml.errors import ConfigurationError


class Dialect(Protocol):
    """How one engine writes names, times and joins. Times are compared in UTC, at microseconds."""

    name: str

    def quote(self, column: str) -> str:
        """Quote a column or alias."""

    def relation(self, table: str, *, history: bool = False) -> str:
        """Write a table; with ``history`` as it was at the statement's ``as_of``, where the engine has any."""

    def moment(self, expression: str) -> str:
        """Turn a timestamp with or without zone into a UTC timestamp without one."""

    def literal(self, moment: datetime) -> str:
        """Write a moment."""

    def shift(self, expression: str, microseconds: int) -> str:
        """Add microseconds, which may be negative."""

    def number(self, expression: str) -> str:
        """Turn a number or boolean into an exact decimal that adds up the same in every order."""

    def asof_join(self, table: str, alias: str, left: str, right: str, on: list[tuple[str, str]]) -> str:
        """Join the newest row with ``left >= right`` and equal keys; rows without one stay, with nulls."""


class DuckDB:
    """DuckDB's SQL."""

    name = "duckdb"

    def quote(self, column: str) -> str:
        """DuckDB compares quoted names without case; views have lower-case names only."""
        return ident(f'"{column}"')

    def relation(self, table: str, *, history: bool = False) -> str:
        """A name in DuckDB is one identifier, dots included; it has no history."""
        return ident(f'"{table}"')

    def moment(self, expression: str) -> str:
        """The session's time zone is UTC, so the cast is a change of type only."""
        return f"CAST({expression} AS TIMESTAMP)"

    def literal(self, moment: datetime) -> str:
        """Write a moment as a timestamp without zone."""
        return f"CAST('{_text(moment)}' AS TIMESTAMP)"

    def shift(self, expression: str, microseconds: int) -> str:
        """Add microseconds."""
        return f"{expression} + TO_MICROSECONDS({microseconds})"

    def number(self, expression: str) -> str:
        """NaN, infinities and magnitudes from 1e26 become null."""
        return f"TRY_CAST({expression} AS DECIMAL(38, 12))"

    def asof_join(self, table: str, alias: str, left: str, right: str, on: list[tuple[str, str]]) -> str:
        """``ASOF LEFT JOIN``, the inequality among the conditions."""
        equal = " AND ".join(f"{a} = {b}" for a, b in on)
        return f"ASOF LEFT JOIN {table} AS {alias}\n  ON {equal} AND {left} >= {right}"


class Snowflake:
    """Snowflake's SQL. The session's TIMEZONE must be UTC, so that times without a zone are read as UTC."""

    name = "snowflake"

    def quote(self, column: str) -> str:
        """Unquoted names were folded to upper case when the tables were made."""
        return ident(column)

    def relation(self, table: str, *, history: bool = False) -> str:
        """``database.schema.table``; ``{at}`` behind it becomes Time Travel in `SnapshotSource.read`."""
        return f"{ident(table)} {{at}}" if history else ident(table)

    def moment(self, expression: str) -> str:
        """A TIMESTAMP_TZ keeps its own offset when cast, so it is converted first."""
        return f"CAST(CONVERT_TIMEZONE('UTC', {expression}) AS TIMESTAMP_NTZ)"

    def literal(self, moment: datetime) -> str:
        """Write a moment as a timestamp without zone."""
        return f"CAST('{_text(moment)}' AS TIMESTAMP_NTZ)"

    def shift(self, expression: str, microseconds: int) -> str:
        """Add microseconds."""
        return f"DATEADD(MICROSECOND, {microseconds}, {expression})"

    def number(self, expression: str) -> str:
        """A NaN makes the statement fail: Snowflake's TRY_CAST takes strings only."""
        return f"CAST({expression} AS DECIMAL(38, 12))"

    def asof_join(self, table: str, alias: str, left: str, right: str, on: list[tuple[str, str]]) -> str:
        """``ASOF JOIN``, which in Snowflake always keeps the left rows; the match names columns, not expressions."""
        equal = " AND ".join(f"{a} = {b}" for a, b in on)
        return f"ASOF JOIN {table} AS {alias}\n  MATCH_CONDITION ({left} >= {right})\n  ON {equal}"


def dialect_of(name: str) -> Dialect:
    """Return a dialect by name.

    Raises:
        ConfigurationError: for any but ``duckdb`` and ``snowflake``.
    """
    if name == DuckDB.name:
        return DuckDB()
    if name == Snowflake.name:
        return Snowflake()
    raise ConfigurationError("No SQL dialect of that name", repr(name), "Known are duckdb and snowflake.")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
