from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.errors import ConfigurationError
from airflow_ml.gateway.wire import (
    MAX_ROWS,
    check_model,
    outcomes_from_wire,
    rows_from_wire,
    traffic_from_wire,
    traffic_to_wire,
)

MODELS = {
    "record": "Artifact",
    "schema": 1,
    "digest": f"sha256:{'a' * 64}",
    "format": "json",
    "size_bytes": 2,
    "uri": "",
}
VARIANT = {"version": "1", "models": MODELS, "view_digest": "sha256:v", "features": ["x"]}
TRAFFIC = {
    "model": "flight_delays",
    "epoch": 3,
    "champion": VARIANT,
    "challenger": {**VARIANT, "version": "2"},
    "weight_percent": 5,
    "expires_at": "2026-01-01T00:00:00Z",
    "salt": "",
}
ROW = {"key": "k", "unit": "N1", "at": "2013-05-01T10:00:00Z", "features": {"v": {"x": 1.5, "y": None, "z": "EWR"}}}
OUTCOME = {"key": "k", "label": True, "known_at": "2013-05-01T10:00:00Z"}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def test_traffic_survives_the_wire() -> None:
    traffic = traffic_from_wire(TRAFFIC)
    assert traffic.weight_percent == 5.0
    assert traffic_from_wire(json.loads(json.dumps(traffic_to_wire(traffic)))) == traffic


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "../etc"),
        ("model", ""),
        ("epoch", -1),
        ("epoch", True),
        ("epoch", "3"),
        ("epoch", 2**70),
        ("weight_percent", 100.1),
        ("weight_percent", None),
        ("champion", None),
        ("champion", {**VARIANT, "version": 1}),
        ("champion", {**VARIANT, "models": {}}),
        ("champion", {**VARIANT, "models": {**MODELS, "digest": "sha256:../../x"}}),
        ("challenger", {"version": "2"}),
        ("challenger", []),
        ("expires_at", "2026-01-01T00:00:00"),
        ("expires_at", 5),
        ("salt", None),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match="model name" if field == "model" else field):
        traffic_from_wire({**TRAFFIC, field: value})


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a.", "a b", "a\n", "é", "a" * 129, None, 5])
def test_a_model_name_is_safe_as_a_file_name(name: object) -> None:
    with pytest.raises(ConfigurationError):
        check_model(name)


def test_rows_are_read() -> None:
    (row,) = rows_from_wire({"rows": [ROW]})
    assert (row.key, row.unit, row.at.isoformat()) == ("k", "N1", "2013-05-01T10:00:00+00:00")
    assert row.features == {"v": {"x": 1.5, "y": None, "z": "EWR"}}


@pytest.mark.parametrize(
    "change",
    [
        {"key": ""},
        {"key": 5},
        {"key": "a\x00b"},
        {"unit": "u" * 257},
        {"at": "yesterday"},
        {"at": "2013-05-01T10:00:00"},
        {"features": []},
        {"features": {"v": 1}},
        {"features": {"v": {"x": [1]}}},
    ],
)
def test_a_wrong_row_is_named(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"rows\[1\]"):
        rows_from_wire({"rows": [ROW, {**ROW, **change}]})


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=str(MAX_ROWS)):
        rows_from_wire({"rows": [ROW] * (MAX_ROWS + 1)})


def test_outcomes_are_read() -> None:
    watermark_at, (yes, never) = outcomes_from_wire(
        {"watermark_at": "2013-05-02T00:00:00Z", "rows": [OUTCOME, {**OUTCOME, "label": None}]}
    )
    assert watermark_at.isoformat() == "2013-05-02T00:00:00+00:00"
    assert (yes.label, never.label) == (1.0, None)


@pytest.mark.parametrize("row", [{"key": "k", "known_at": "2013-05-01T10:00:00Z"}, {**OUTCOME, "label": "late"}, 5])
def test_a_wrong_outcome_is_named(row: object) -> None:
    with pytest.raises(ConfigurationError, match=r"rows\[0\]"):
        outcomes_from_wire({"watermark_at": "2013-05-02T00:00:00Z", "rows": [row]})


@given(anything)
def test_junk_is_refused_in_words(junk: object) -> None:
    for read in (traffic_from_wire, outcomes_from_wire):
        with pytest.raises(ConfigurationError):
            read(junk)
    if not (isinstance(junk, dict) and junk.get("rows") == []):
        with pytest.raises(ConfigurationError):
            rows_from_wire(junk)


@given(st.sampled_from(sorted(TRAFFIC)), anything)
def test_traffic_with_one_junk_field_is_read_or_refused(field: str, junk: Any) -> None:
    try:
        traffic = traffic_from_wire({**TRAFFIC, field: junk})
    except ConfigurationError:
        return
    assert traffic_from_wire(traffic_to_wire(traffic)) == traffic
