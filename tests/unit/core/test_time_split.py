from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from airflow_ml.core.time_split import TimeSplit
from airflow_ml.errors import ConfigurationError, NotARecord


def test_cuts_count_back_from_as_of_in_utc() -> None:
    eastern = timezone(-timedelta(hours=5))
    cuts = TimeSplit(validate="14d", test="36h").cuts(datetime(2013, 4, 1, 19, tzinfo=eastern))
    assert cuts.as_of == datetime(2013, 4, 2, tzinfo=UTC)
    assert cuts.test_at == datetime(2013, 3, 31, 12, tzinfo=UTC)
    assert cuts.validate_at == datetime(2013, 3, 17, 12, tzinfo=UTC)


def test_a_split_round_trips() -> None:
    split = TimeSplit(validate="14d", test="7d")
    assert TimeSplit.from_dict(split.to_dict()) == split


def test_a_naive_as_of_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="time zone"):
        TimeSplit(validate="14d", test="7d").cuts(datetime(2013, 4, 1))  # noqa: DTZ001


@pytest.mark.parametrize("lengths", [("0d", "7d"), ("7d", "0s"), ("a week", "7d")])
def test_a_split_without_length_is_refused(lengths: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        TimeSplit(validate=lengths[0], test=lengths[1])


def test_what_is_no_split_is_refused() -> None:
    with pytest.raises(NotARecord):
        TimeSplit.from_dict({"train": "14d"})
