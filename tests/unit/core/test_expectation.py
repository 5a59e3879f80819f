from __future__ import annotations

from typing import Any

import pytest

from airflow_ml.core.expectation import Expectation, parse_expectations, require_columns, require_known
from airflow_ml.errors import ColumnMissing, ConfigurationError, UnknownExpectation


def test_defaults_and_order() -> None:
    found = parse_expectations(
        [{"type": "expect_a", "kwargs": {"column": "x", "mostly": 0.9}}, {"type": "expect_b", "severity": "info"}]
    )
    assert [(one.type, one.severity, one.columns) for one in found] == [
        ("expect_a", "critical", ("x",)),
        ("expect_b", "info", ()),
    ]
    assert (found[0].label, found[0].rule) == ("expect_a(x)", "mostly=0.9")


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"kwargs": {}}, "has no type"),
        ("expect_a", "has no type"),
        ({"type": "expect_a", "kwargs": [1]}, "kwargs of expectation 1"),
        ({"type": "expect_a", "severity": "fatal"}, "critical, warning, info"),
        ({"type": "expect_a", "kwargs": {"column_list": "x"}}, "column_list"),
    ],
)
def test_malformed_items_are_refused(item: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        parse_expectations([item])


@pytest.mark.parametrize(
    ("kwargs", "columns"),
    [
        ({"column": "a"}, ("a",)),
        ({"column_A": "a", "column_B": "b"}, ("a", "b")),
        ({"column_list": ["a", "b", "c"]}, ("a", "b", "c")),
        ({"min_value": 1}, ()),
    ],
)
def test_columns(kwargs: dict[str, Any], columns: tuple[str, ...]) -> None:
    assert Expectation(type="expect_x", kwargs=kwargs).columns == columns


def test_a_rule_about_presence_needs_no_column() -> None:
    rule = Expectation(type="expect_column_to_exist", kwargs={"column": "gone"})
    require_columns([rule], {"here"})
    assert rule.label == "expect_column_to_exist(gone)"


def test_near_matches() -> None:
    with pytest.raises(ColumnMissing, match="did you mean origin"):
        require_columns([Expectation(type="expect_x", kwargs={"column": "orgin"})], {"origin", "dest"})
    with pytest.raises(ColumnMissing, match="the data has dest, origin"):
        require_columns([Expectation(type="expect_x", kwargs={"column": "zzz"})], {"origin", "dest"})
    with pytest.raises(UnknownExpectation, match="Did you mean expect_column_a"):
        require_known([Expectation(type="expect_colum_a", kwargs={})], {"expect_column_a"})
    with pytest.raises(UnknownExpectation, match="gallery"):
        require_known([Expectation(type="qqq", kwargs={})], {"expect_column_a"})


def test_rules_about_values_cannot_be_judged_on_nulls() -> None:
    unique = Expectation(type="expect_column_values_to_be_unique", kwargs={"column": "a"})
    assert "every value of a is null" in unique.unjudgeable({"a"})
    assert unique.unjudgeable({"b"}) == ""
    about_nulls = Expectation(type="expect_column_values_to_be_null", kwargs={"column": "a"})
    assert about_nulls.unjudgeable({"a"}) == ""
