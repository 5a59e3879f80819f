from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from airflow_ml.core.check_options import read_options
from airflow_ml.core.model_checks import SliceMetric
from airflow_ml.errors import ConfigurationError

FIELDS = dataclasses.fields(SliceMetric)


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("at_least", "0.25", 0.25),
        ("at_least", 1, 1.0),
        ("min_rows", "300", 300),
        ("severity", "warning", "warning"),
        ("at_most", None, None),
    ],
)
def test_values_take_the_declared_type(name: str, value: Any, read: Any) -> None:
    options = {"metric": "auc", "by": "origin", "at_least": 0.5, name: value}
    found = read_options("SliceMetric", FIELDS, options)[name]
    assert (found, type(found)) == (read, type(read))


@pytest.mark.parametrize("value", ["0.5x", "", [], True, "nan", float("inf"), "1.5"])
def test_a_count_is_a_whole_number(value: Any) -> None:
    options = {"metric": "auc", "by": "origin", "at_least": 0.5, "min_rows": value}
    with pytest.raises(ConfigurationError, match="min_rows of SliceMetric"):
        read_options("SliceMetric", FIELDS, options)
