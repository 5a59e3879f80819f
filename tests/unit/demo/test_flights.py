"""Counts here are those of the published data set; a wrong join, filter or time conversion changes them."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from airflow_ml.errors import ConfigurationError
from demo import flights

FLIGHTS = flights.flights()


def test_every_departure_is_there_and_the_traps_are_counted() -> None:
    assert len(FLIGHTS) == 336_776
    assert int(FLIGHTS["cancelled"].sum()) == 8_255
    assert int(FLIGHTS["late"].isna().sum()) == 9_430
    assert int(FLIGHTS["late"].sum()) == 80_100  # counted in the file by awk
    assert (FLIGHTS["late"].dropna() == (FLIGHTS["arr_delay"].dropna() >= 15)).all()


def test_the_identifier_is_a_key_and_says_nothing_about_the_outcome() -> None:
    assert FLIGHTS["flight_id"].is_unique
    assert FLIGHTS["sched_dep_at"].is_monotonic_increasing
    busy = FLIGHTS[FLIGHTS["sched_dep_at"] == FLIGHTS["sched_dep_at"].mode()[0]]
    assert busy["carrier"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("local", "offset_hours"),
    [((2013, 1, 1, 5, 15), 5), ((2013, 3, 9, 6, 0), 5), ((2013, 3, 10, 6, 0), 4), ((2013, 11, 3, 6, 0), 5)],
)
def test_times_follow_new_york_through_both_changes_of_clock(local: tuple[int, ...], offset_hours: int) -> None:
    expected = datetime(*local, tzinfo=ZoneInfo("America/New_York")).astimezone(UTC)  # type: ignore[misc, arg-type]
    assert expected.hour == local[3] + offset_hours
    assert (FLIGHTS["sched_dep_at"] == expected).any()


def test_minute_of_day_is_local_for_every_row() -> None:
    local = FLIGHTS["sched_dep_at"].dt.tz_convert("America/New_York")
    assert (local.dt.hour * 60 + local.dt.minute == FLIGHTS["sched_minute"]).all()


def test_nothing_is_known_before_it_happened() -> None:
    assert FLIGHTS["known_at"].notna().all()
    assert (FLIGHTS["predict_at"] == FLIGHTS["sched_dep_at"] - timedelta(hours=2)).all()
    assert not (FLIGHTS["known_at"] < FLIGHTS["departed_at"]).any()
    assert (FLIGHTS["known_at"] > FLIGHTS["predict_at"]).all()
    landed = FLIGHTS[FLIGHTS["landed_at"].notna()]
    assert len(landed) == 336_776 - 9_430
    assert (landed["known_at"] == landed["landed_at"]).all()


def test_the_schedule_holds_no_outcome() -> None:
    schedule = flights.departures()
    assert len(schedule) == len(FLIGHTS)
    assert schedule["dep_delay"].isna().all()
    assert str(schedule["dep_delay"].dtype) == "float64"
    assert not {"arr_delay", "late", "cancelled", "departed_at", "landed_at", "known_at"} & set(schedule.columns)


@pytest.mark.parametrize("name", ["weather", "planes", "airports", "airlines", "flights", "departures"])
def test_every_table_has_the_key_it_is_written_by(name: str) -> None:
    table = getattr(flights, name)()
    key = list(flights.KEYS[name])
    assert not table.duplicated(key).any()
    assert table[key].notna().all(axis=None)


def test_planes_are_unknown_for_the_documented_share_of_flights() -> None:
    unknown = ~FLIGHTS["tailnum"].isin(flights.planes()["tailnum"])
    assert round(float(unknown.mean()), 3) == 0.156
    # So a sticky unit is missing only where no outcome is ever measured.
    assert FLIGHTS.loc[FLIGHTS["tailnum"].isna(), "late"].isna().all()


def test_weather_is_hourly_in_utc() -> None:
    weather = flights.weather()
    assert len(weather) == 26_115
    assert (weather["observed_at"].dt.minute == 0).all()
    assert weather["observed_at"].min() == pd.Timestamp("2013-01-01T06:00:00Z")


def test_replay_yields_each_flight_of_the_days_once_and_hides_its_outcome() -> None:
    days = list(flights.replay_days(date(2013, 3, 9), 3))
    assert [day.day for day in days] == [date(2013, 3, 9), date(2013, 3, 10), date(2013, 3, 11)]
    for day in days:
        assert day.requests["predict_at"].is_monotonic_increasing
        assert day.requests["dep_delay"].isna().all()
        assert (day.requests["flight_id"] == day.outcomes["flight_id"]).all()
        assert "late" not in day.requests
    identifiers = pd.concat([day.requests["flight_id"] for day in days])
    local = FLIGHTS["sched_dep_at"].dt.tz_convert("America/New_York").dt.strftime("%Y-%m-%d")
    assert set(identifiers) == set(FLIGHTS.loc[local.between("2013-03-09", "2013-03-11"), "flight_id"])
    assert identifiers.is_unique


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="without a zone"):
        flights.load(lambda: None, until=datetime(2013, 4, 1))  # type: ignore[arg-type, return-value] # noqa: DTZ001
