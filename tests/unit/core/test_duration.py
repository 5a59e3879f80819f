"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.duration import parse_duration
from airflow_ml.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20min", 1200), ("20 m", 1200), ("3h", 10_800), ("1.5d", 129_600), ("2w", 1_209_600), ("0s", 0), (" 7sec ", 7)],
)
def test_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_a_bare_number_is_seconds() -> None:
    assert parse_duration(90) == parse_duration(90.0) == 90.0


@pytest.mark.parametrize("text", ["", "7", "d", "-2h", "2 hours", "1e3s", "nan", "2h30m", None, True, -1, float("nan")])
def test_anything_else_is_refused(text: object) -> None:
    with pytest.raises(ConfigurationError, match="Not a duration"):
        parse_duration(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["36526d", "9" * 400 + "s", float("inf"), 4e9])
def test_more_than_a_century_is_refused(text: str | float) -> None:
    with pytest.raises(ConfigurationError, match="century"):
        parse_duration(text)


@given(st.text(max_size=12) | st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,3})?(s|m|h|d|w)", fullmatch=True))
def test_what_is_taken_is_a_timedelta(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ConfigurationError:
        return
    assert timedelta(seconds=seconds) >= timedelta(0)
