"""Comparing results: reflexive, symmetric in its verdict, and it names the place."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.comparison import TOLERANCE, compare

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_value_is_identical_to_itself(value: Any) -> None:
    assert compare(value, value).verdict == "identical"


@given(JSON, JSON)
def test_the_verdict_has_no_side(left: Any, right: Any) -> None:
    assert compare(left, right).verdict == compare(right, left).verdict


@given(st.floats(min_value=1e-300, max_value=1e300), st.floats(min_value=-TOLERANCE / 2, max_value=TOLERANCE / 2))
def test_small_differences_are_equivalent(value: float, change: float) -> None:
    assert compare({"a": value}, {"a": value * (1 + change)}).verdict in ("identical", "equivalent")


@pytest.mark.parametrize(
    ("left", "right", "where"),
    [
        ({"a": 1.0, "b": 2}, {"a": 1.0 + 1e-9, "b": 3}, "b: 2 was recorded, 3 came here"),
        ({"a": [1, 2]}, {"a": [1]}, "a: [1, 2] was recorded, [1] came here"),
        ({"a": 1}, {}, "a: 1 was recorded, nothing came here"),
        (True, 1, "result: True was recorded, 1 came here"),
        (math.inf, 1.0, "result: inf was recorded, 1.0 came here"),
        ("x", None, "result: 'x' was recorded, None came here"),
    ],
)
def test_the_worst_place_is_named(left: Any, right: Any, where: str) -> None:
    found = compare(left, right)
    assert (found.verdict, found.where) == ("different", where)
