"""Checks of a feature view's files before DuckDB builds it; each error names the rows or columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_ml.core.feature_inputs import PREDICT_AT, AsOf, Lookup, Rolling
from airflow_ml.core.feature_view import FeatureView
from airflow_ml.core.features import TEST, TRAIN, VALIDATE
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.split_sql import doubled_sql, late_sql
from airflow_ml.core.sql import ident
from airflow_ml.core.time_split import Cuts
from airflow_ml.errors import ColumnMissing, ConfigurationError, EmptyDataset, FeatureKnownTooLate

if TYPE_CHECKING:
    import duckdb


def check_spine_schema(
    connection: duckdb.DuckDBPyConnection, view: FeatureView, *, spine: str, serving: bool
) -> tuple[str, ...]:
    """Return the spine's columns, once every column that the view names is there and its times are timestamps.

    Raises:
        ColumnMissing, ConfigurationError.
    """
    present = _columns(connection, spine)
    # A spine that is to be scored has no label yet, and may lack an input: that one is served as null.
    needed = (view.key, view.predict_at, *view.by_columns) if serving else view.spine_columns
    _require(f"the spine of {view.name}", needed, present)
    times = (view.predict_at, view.label.known_at, *(i.known_at for i in view.inputs if i.known_at != PREDICT_AT))
    _require_times(f"the spine of {view.name}", [name for name in times if name in present], present)
    return tuple(present)


def check_source_schemas(
    connection: duckdb.DuckDBPyConnection, view: FeatureView, *, sources: Mapping[str, str]
) -> None:
    """Refuse joined tables that lack a column, or whose times and sums have types that are none.

    Raises:
        ColumnMissing, ConfigurationError.
    """
    for table in view.sources:
        columns = _columns(connection, sources[table])
        _require(f"the table {table}", view.source_columns(table), columns)
        mine = [join for join in view.joins if join.table == table]
        times = tuple(join.time for join in mine if isinstance(join, AsOf))
        times += tuple(join.known_at for join in mine if isinstance(join, Rolling))
        _require_times(f"the table {table}", times, columns)
        _require_numbers(f"the table {table}", [j.column for j in mine if isinstance(j, Rolling) and j.column], columns)


def check_keys(connection: duckdb.DuckDBPyConnection, view: FeatureView, *, spine: str) -> int:
    """Return the spine's rows; refuse an empty spine, null keys or moments, and rows that cannot be told apart.

    Raises:
        EmptyDataset, ConfigurationError.
    """
    table, key, at = _q(spine), _q(view.key), _q(view.predict_at)
    row = connection.execute(
        f"SELECT COUNT(*), COUNT(*) FILTER ({key} IS NULL), COUNT(*) FILTER ({at} IS NULL) FROM {table}"
    ).fetchone()
    rows, keys, moments = row or (0, 0, 0)
    if not rows:
        raise EmptyDataset(f"The spine of {view.name} has no rows", "", "Check the snapshot's query and its as_of.")
    if keys or moments:
        name, number = (view.key, keys) if keys else (view.predict_at, moments)
        raise ConfigurationError(
            f"The spine of {view.name} has rows without {name}", f"{number} of {rows} rows", "Filter or fill them."
        )
    twice = connection.execute(
        f"SELECT {key}, COUNT(*) FROM {table} GROUP BY {key}, {at} HAVING COUNT(*) > 1 ORDER BY 2 DESC, 1 LIMIT 1"
    ).fetchone()
    if twice:
        raise ConfigurationError(
            f"Rows of the spine of {view.name} share {view.key} and {view.predict_at}",
            f"{twice[1]} rows with {view.key} {twice[0]!r}",
            "Make the key unique in the snapshot's query.",
        )
    return int(rows)


def check_lookups(connection: duckdb.DuckDBPyConnection, view: FeatureView, *, sources: Mapping[str, str]) -> None:
    """Refuse a lookup table with several rows for a key: which one was meant?

    Raises:
        ConfigurationError.
    """
    for join in view.joins:
        if isinstance(join, Lookup):
            statement = doubled_sql(join, relation=sources[join.table], dialect="duckdb")
            refuse_doubled(join, connection.execute(statement).fetchone())


def refuse_doubled(join: Lookup, found: Sequence[object] | None) -> None:
    """Refuse a lookup table of which ``doubled_sql`` found a key: its values and its rows.

    Raises:
        ConfigurationError.
    """
    if found:
        raise ConfigurationError(
            f"Lookup({join.table!r}) finds several rows for one key",
            f"{found[-1]} rows with {dict(zip(join.by, found[:-1], strict=True))}",
            "Make the key unique, or use AsOf if the facts change with time.",
        )


def check_known(connection: duckdb.DuckDBPyConnection, view: FeatureView, *, spine: str) -> None:
    """Refuse an input that became known after the prediction, in any row of the spine.

    Raises:
        FeatureKnownTooLate.
    """
    for item in view.inputs:
        if item.known_at == PREDICT_AT:
            continue
        row = connection.execute(late_sql(view, item, spine=spine, dialect="duckdb")).fetchone()
        if row is None:
            continue
        rows, nulls, key, predict_at, known_at = row
        worst = f"{view.key} {key!r} is predicted at {_time(predict_at)}"
        worst += f" and {item.name} was known at {_time(known_at)}" if known_at else f" and {item.known_at} is null"
        unknown = f" ({nulls} of them nobody knows when)" if nulls else ""
        raise FeatureKnownTooLate(
            f"The input {item.name} of the view {view.name} is known too late",
            f"in {rows} rows {item.known_at} is after {view.predict_at}{unknown}; the worst: {worst}",
            "Drop the column, or predict later.",
        )


def check_splits(view: FeatureView, counts: Mapping[str, int], cuts: Cuts) -> None:
    """Refuse a split without rows.

    Raises:
        EmptyDataset: naming the split, its dates and what became of the spine's rows.
    """
    start, middle, end = (format_time(t) for t in (cuts.validate_at, cuts.test_at, cuts.as_of))
    spans = {TRAIN: f"before {start}", VALIDATE: f"from {start} to {middle}", TEST: f"from {middle} to {end}"}
    for name, span in spans.items():
        if not counts.get(name):
            found = ", ".join(f"{reason}: {rows}" for reason, rows in sorted(counts.items()))
            raise EmptyDataset(
                f"The split {name} of {view.name} has no rows ({view.predict_at} {span})",
                f"the spine's rows are {found}",
                "Check as_of and the lengths of the splits, and that labels have arrived by then.",
            )


def _columns(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    described = connection.execute(f"DESCRIBE {_q(relation)}").fetchall()
    return {str(name).lower(): str(kind) for name, kind, *_ in described}


def _require(where: str, needed: tuple[str, ...], present: Mapping[str, str]) -> None:
    missing = [name for name in needed if name not in present]
    if missing:
        raise ColumnMissing(
            f"No such column in {where}", ", ".join(missing), f"It has {', '.join(sorted(present)[:40])}."
        )


def _require_times(where: str, names: list[str] | tuple[str, ...], present: Mapping[str, str]) -> None:
    for name in names:
        if not present[name].startswith("TIMESTAMP"):
            raise ConfigurationError(
                f"The column {name} of {where} is not a timestamp",
                present[name],
                "Make it a timestamp in UTC; a date alone does not say when in the day a value was known.",
            )


def _require_numbers(where: str, names: list[str], present: Mapping[str, str]) -> None:
    for name in names:
        if not present[name].startswith(_NUMBERS):
            raise ConfigurationError(
                f"The column {name} of {where} cannot be summed", present[name], "Roll up a number or a boolean."
            )


_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_NUMBERS = (*_INTEGERS, "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN")


def _q(name: str) -> str:
    return ident(f'"{name}"')


def _time(value: datetime | None) -> str:
    return format_time(value.replace(tzinfo=UTC)) if value else "null"
