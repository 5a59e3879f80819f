"""Which rows of a table can be a feature of any row of a spine: only those are read from the warehouse.

A day of predictions over a table with years of history then reads days, not years.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_ml.core.feature_inputs import AsOf, Lookup
from airflow_ml.core.feature_names import microseconds
from airflow_ml.core.feature_view import FeatureView
from airflow_ml.core.sql import ident

#: Added at both ends. A warehouse compares a time without a zone in its session's zone, at most 14 hours from UTC.
ZONE_MARGIN = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Rows whose ``column`` lies between two moments (aware), both included; a null lies in no range."""

    column: str
    first_at: datetime
    last_at: datetime


def table_statement(
    relation: str, columns: Sequence[str] | None, within: Sequence[TimeRange], *, quote: Callable[[str], str] = ident
) -> tuple[str, dict[str, datetime]]:
    """Return a SELECT of a table's columns and rows, and the moments that it binds.

    Args:
        relation: What follows FROM, quoted.
        columns: Names; None means all.
        within: A row that lies in one of these is read; none means every row.
        quote: Turns a name into what the warehouse understands.
    """

    def quoted(column: str) -> str:
        return quote(column).replace("%", "%%")

    values: dict[str, datetime] = {}
    meets = []
    for number, part in enumerate(within):
        values |= {f"first_{number}": part.first_at, f"last_{number}": part.last_at}
        meets.append(f"{quoted(part.column)} BETWEEN %(first_{number})s AND %(last_{number})s")
    names = "*" if columns is None else ", ".join(map(quoted, columns))
    text = f"SELECT {names} FROM {relation}"  # noqa: S608 - quoted names only
    return f"{text} WHERE {' OR '.join(meets)}" if meets else text, values


def time_ranges(
    view: FeatureView, table: str, *, first_at: datetime, last_at: datetime, as_of: datetime
) -> tuple[TimeRange, ...]:
    """Return ranges of which a row of ``table`` must meet one to be able to change a feature; none means every row.

    Args:
        view: The features.
        table: One of ``view.sources``.
        first_at: The first ``predict_at`` of the spine (aware).
        last_at: The last one.
        as_of: What became known later is not used.
    """
    ranges: dict[str, TimeRange] = {}
    for join in view.joins:
        if join.table != table:
            continue
        if isinstance(join, Lookup):
            return ()
        column, reach = (join.time, join.max_age) if isinstance(join, AsOf) else (join.known_at, join.window)
        first = _before(first_at, timedelta(microseconds=microseconds(reach)) + ZONE_MARGIN)
        last = _after(min(last_at, as_of), ZONE_MARGIN)
        known = ranges.get(column)
        ranges[column] = TimeRange(column, min(first, known.first_at) if known else first, last)
    return tuple(ranges.values())


def _before(moment: datetime, span: timedelta) -> datetime:
    earliest = datetime.min.replace(tzinfo=moment.tzinfo)
    return moment - span if moment - earliest > span else earliest


def _after(moment: datetime, span: timedelta) -> datetime:
    latest = datetime.max.replace(tzinfo=moment.tzinfo)
    return moment + span if latest - moment > span else latest
