"""The fast way and the slow way say the same."""

from __future__ import annotations

import json
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.errors import ConfigurationError
from airflow_ml.gateway.batch import Batch
from airflow_ml.gateway.batch_json import batch_from_json
from airflow_ml.gateway.wire import MAX_ROWS, batch_from_wire

ROW: dict[str, Any] = {
    "key": "k",
    "unit": "é",
    "at": "2013-05-01T10:00:00+02:00",
    "features": {"v": {"x": 1, "y": None, "z": "EWR", "t": True, "f": 0.5, "big": 2**70}},
}
zones = st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-9, minutes=-30))])
values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
rows = st.fixed_dictionaries(
    {
        "key": st.text(max_size=4) | values,
        "unit": st.text(min_size=1, max_size=4),
        "at": st.sampled_from(["2013-05-01T10:00:00Z", "2013-05-01T10:00:00", "2013-05-01", "", "2013-13-01T00:00:00Z"])
        | st.datetimes(timezones=zones).map(lambda at: at.isoformat()),
        "features": st.dictionaries(st.text(max_size=2), st.dictionaries(st.text(max_size=2), values | st.just([]))),
    }
)
columns = st.fixed_dictionaries(
    {
        "keys": st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=2) | st.lists(values, max_size=3),
        "units": st.lists(st.text(min_size=1, max_size=4), min_size=2, max_size=2),
        "at": st.lists(st.datetimes(timezones=zones).map(lambda at: at.isoformat()), min_size=2, max_size=2) | values,
        "features": st.dictionaries(
            st.text(max_size=2),
            st.dictionaries(
                st.text(max_size=2), st.lists(values, min_size=2, max_size=2) | st.lists(values, max_size=3)
            ),
        ),
    },
    optional={"rows": st.just([]), "more": values},
)
COLUMNS: dict[str, Any] = {
    "keys": ["a", "b"],
    "units": ["é", "é"],
    "at": ["2013-05-01T10:00:00+02:00", "2013-05-01T10:00:00Z"],
    "features": {"v": {"x": [1, None], "z": ["EWR", True]}},
}


def slow(data: bytes | bytearray) -> Batch | str:
    try:
        return batch_from_wire(json.loads(data))
    except ConfigurationError as error:
        return str(error)


def fast(data: bytes | bytearray) -> Batch | str:
    try:
        return batch_from_json(data, json.loads)
    except ConfigurationError as error:
        return str(error)


@given(st.lists(rows, max_size=3), st.booleans())
def test_both_ways_agree(given_rows: list[dict[str, Any]], escape: bool) -> None:
    data = json.dumps({"rows": given_rows}, ensure_ascii=escape).encode(errors="surrogatepass")
    assert fast(data) == slow(data)


@settings(max_examples=50)
@given(columns, st.booleans())
def test_both_ways_agree_on_columns(body: dict[str, Any], escape: bool) -> None:
    data = json.dumps(body, ensure_ascii=escape).encode(errors="surrogatepass")
    assert fast(data) == slow(data)


@pytest.mark.parametrize("body", [{"rows": [ROW]}, COLUMNS])
def test_times_are_in_utc(body: dict[str, Any]) -> None:
    data = json.dumps(body, ensure_ascii=False).encode()
    assert all(moment.tzinfo is UTC for moment in batch_from_json(data, json.loads).at)


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
def test_a_time_beyond_the_years_of_utc_is_refused(at: str) -> None:
    for body in ({"rows": [{**ROW, "at": at}]}, {**COLUMNS, "at": [at, at]}):
        with pytest.raises(ConfigurationError, match="at"):
            batch_from_json(json.dumps(body, ensure_ascii=False).encode(), json.loads)


def test_columns_are_read() -> None:
    found = fast(json.dumps(COLUMNS, ensure_ascii=False).encode())
    assert isinstance(found, Batch)
    assert (len(found), found.keys, found.units, found.columnar) == (2, ["a", "b"], ["é", "é"], True)
    assert [at.isoformat() for at in found.at] == ["2013-05-01T08:00:00+00:00", "2013-05-01T10:00:00+00:00"]
    assert found.features.take("v", ["z", "x"], [1]) == (1, {"z": (True,), "x": (None,)})
    assert found.features.fitting("v", frozenset("xz"), [0, 1]) == [0, 1]
    assert not found.features.fitting("v", frozenset("xy"), [0, 1])
    assert not found.features.fitting("w", frozenset(), [0, 1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": []}, "rows and columns"),
        ({"units": ["u"]}, "units is of another length than keys: 1. Send 2"),
        ({"keys": "ab"}, "keys is wrong"),
        ({"keys": ["a", "\x00"]}, "keys[1] is wrong"),
        ({"at": ["2013-05-01T10:00:00Z", 5]}, "at[1] is wrong"),
        ({"features": {"v": {"x": [1]}}}, "features['v'].x is of another length"),
        ({"features": {"v": {"x": [1, [2]]}}}, "features['v'].x[1] is wrong"),
        ({"features": {"v": [1, 2]}}, "features['v'] is wrong"),
        ({"keys": ["a"] * (MAX_ROWS + 1)}, "Too many rows"),
    ],
)
def test_what_is_wrong_in_columns_is_named(change: dict[str, Any], said: str) -> None:
    data = json.dumps({**COLUMNS, **change}, ensure_ascii=False).encode()
    assert said in str(fast(data))
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
