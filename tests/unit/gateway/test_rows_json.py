"""The fast way and the slow way say the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.errors import ConfigurationError
from airflow_ml.gateway.rows_json import rows_from_json
from airflow_ml.gateway.wire import MAX_ROWS, Row, rows_from_wire

ROW: dict[str, Any] = {
    "key": "k",
    "unit": "é",
    "at": "2013-05-01T10:00:00+02:00",
    "features": {"v": {"x": 1, "y": None, "z": "EWR", "t": True, "f": 0.5, "big": 2**70}},
}
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
rows = st.fixed_dictionaries(
    {
        "key": st.text(max_size=4) | values,
        "unit": st.text(min_size=1, max_size=4),
        "at": st.sampled_from(["2013-05-01T10:00:00Z", "2013-05-01T10:00:00", "2013-05-01", "", "2013-13-01T00:00:00Z"])
        | st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat()),
        "features": st.dictionaries(st.text(max_size=2), st.dictionaries(st.text(max_size=2), values | st.just([]))),
    }
)


def slow(data: bytes | bytearray) -> list[Row] | str:
    try:
        return rows_from_wire(json.loads(data))
    except ConfigurationError as error:
        return str(error)


def fast(data: bytes | bytearray) -> list[Row] | str:
    try:
        return rows_from_json(data, json.loads)
    except ConfigurationError as error:
        return str(error)


@given(st.lists(rows, max_size=3), st.booleans())
def test_both_ways_agree(given_rows: list[dict[str, Any]], escape: bool) -> None:
    data = json.dumps({"rows": given_rows}, ensure_ascii=escape).encode(errors="surrogatepass")
    assert fast(data) == slow(data)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"more": [1]},
        {"key": ""},
        {"key": "k" * 257},
        {"key": "\x00"},
        {"key": 5},
        {"unit": None},
        {"at": "2013-05-01T10:00:00"},
        {"at": 1367402400},
        {"features": {"v": {"x": [1]}}},
        {"features": {"v": []}},
        {"features": {}},
    ],
)
def test_what_is_wrong_is_said_in_the_same_words(change: dict[str, Any]) -> None:
    data = json.dumps({"rows": [ROW, {**ROW, **change}]}, ensure_ascii=False).encode()
    assert fast(data) == slow(data)


def test_too_many_rows_are_refused() -> None:
    assert "Too many rows" in fast(json.dumps({"rows": [ROW] * (MAX_ROWS + 1)}).encode())
