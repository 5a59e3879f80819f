"""What is particular to the adapter; what every validator must do is tests/contract/test_validator.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import great_expectations as gx
import numpy as np
import pandas as pd
import pytest

from airflow_ml.adapters import great_expectations as adapter
from airflow_ml.adapters.expectation_suite import load_suite
from airflow_ml.adapters.great_expectations import GreatExpectationsValidator
from airflow_ml.core.gate import BLOCK, PASS, WARN, decide
from airflow_ml.errors import ColumnMissing, ConfigurationError, GateErrored

SUITE = Path(__file__).parents[3] / "dags_examples" / "expectations" / "flights.json"
NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "a"}, "severity": "critical"}


def flights(rows: int) -> pd.DataFrame:
    draw = np.random.default_rng(3)
    at = pd.Timestamp("2013-01-01", tz="UTC") + pd.to_timedelta(np.arange(rows), unit="min")
    late = pd.array(draw.integers(0, 2, rows), dtype="Int64")
    late[::40] = pd.NA
    return pd.DataFrame(
        {
            "flight_id": np.arange(1, rows + 1),
            "carrier": draw.choice(["UA", "B6"], rows),
            "flight": draw.integers(1, 6000, rows),
            "origin": draw.choice(["EWR", "JFK", "LGA"], rows),
            "dest": draw.choice(["BOS", "ATL"], rows),
            "tailnum": draw.choice(["N1", "N2"], rows),
            "distance": draw.integers(17, 4983, rows),
            "sched_minute": draw.integers(0, 1440, rows),
            "sched_dep_at": at,
            "predict_at": at,
            "dep_delay": draw.normal(0, 10, rows),
            "arr_delay": draw.normal(0, 10, rows),
            "late": late,
            "cancelled": False,
            "departed_at": at,
            "landed_at": at,
        }
    )


def run(frame: pd.DataFrame, path: Path, suite: list[dict[str, Any]]) -> tuple[Any, str, str]:
    frame.to_parquet(path / "t.parquet")
    found = GreatExpectationsValidator().validate(path / "t.parquet", suite)
    verdict, reason = decide(found.checks, rows=found.rows, bad_rows=len(found.bad_rows), on_bad_rows="quarantine")
    return found, verdict, reason


def poison(column: str, value: object, positions: list[int]) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame[column] = frame[column].astype(object)
        frame.loc[positions, column] = value
        return frame

    return change


@pytest.mark.parametrize(
    ("change", "verdict", "bad"),
    [
        (lambda frame: frame, PASS, []),
        (poison("origin", "ZZZ", [3, 4]), WARN, [3, 4]),
        (poison("origin", None, [5]), WARN, [5]),
        (poison("flight_id", 1, [9]), WARN, [0, 9]),
        (poison("distance", -7, [1]), WARN, [1]),
        (poison("sched_minute", 1440, [1]), WARN, [1]),
        (poison("predict_at", None, [2]), WARN, [2]),
        (poison("tailnum", None, list(range(1500))), WARN, []),
        (poison("late", None, list(range(1500))), WARN, []),
        (poison("origin", "ZZZ", list(range(1500))), BLOCK, list(range(1500))),
        (lambda frame: frame.assign(origin=None), BLOCK, list(range(2000))),
        (lambda frame: frame.assign(distance=float("inf")), BLOCK, list(range(2000))),
        (lambda frame: frame.assign(distance=float("nan")), BLOCK, []),
        (lambda frame: frame.head(999), BLOCK, []),
        (lambda frame: frame.head(1), BLOCK, []),
        (lambda frame: frame.head(0), BLOCK, []),
        (lambda frame: frame.drop(columns="carrier"), BLOCK, []),
    ],
)
def test_the_flights_suite(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], verdict: str, bad: list[int]
) -> None:
    found, decided, reason = run(change(flights(2000)), tmp_path, load_suite(SUITE))
    assert decided == verdict, reason
    assert list(found.bad_rows) == bad


def test_the_flights_suite_without_a_column_it_names(tmp_path: Path) -> None:
    with pytest.raises(ColumnMissing, match="sched_minute"):
        run(flights(2000).drop(columns="sched_minute"), tmp_path, load_suite(SUITE))


def test_the_flights_suite_on_text_where_numbers_belong(tmp_path: Path) -> None:
    with pytest.raises(GateErrored, match=r"expect_column_values_to_be_between\(distance\).*distance is (str|object)"):
        run(flights(2000).assign(distance="far"), tmp_path, load_suite(SUITE))


def test_300_000_rows_take_seconds(tmp_path: Path) -> None:
    frame = poison("origin", "ZZZ", list(range(0, 300_000, 100)))(flights(300_000))
    frame.to_parquet(tmp_path / "t.parquet")
    suite = load_suite(SUITE)
    started = time.monotonic()
    found = GreatExpectationsValidator().validate(tmp_path / "t.parquet", suite)
    assert time.monotonic() - started < 30  # measured: 2 to 3 s; the machine may be busy
    assert list(found.bad_rows) == list(range(0, 300_000, 100))
    assert len(json.dumps(found.details)) < 20_000


def test_rules_over_several_columns_name_their_rows(tmp_path: Path) -> None:
    suite = [
        {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["a", "b"]}},
        {"type": "expect_column_pair_values_a_to_be_greater_than_b", "kwargs": {"column_A": "a", "column_B": "b"}},
    ]
    found, _, _ = run(pd.DataFrame({"a": [1, 2, 2, 9], "b": [0, 1, 1, 10]}), tmp_path, suite)
    assert [check.unexpected_rows for check in found.checks] == [2, 1]
    assert list(found.bad_rows) == [1, 2, 3]


@pytest.mark.filterwarnings("ignore:.*row_condition:DeprecationWarning")
def test_a_condition_that_no_row_meets_is_no_pass(tmp_path: Path) -> None:
    kwargs = {"column": "a", "max_value": 5, "row_condition": "b == 7", "condition_parser": "pandas"}
    suite = [{"type": "expect_column_values_to_be_between", "kwargs": kwargs}]
    found, _, _ = run(pd.DataFrame({"a": [1, 2], "b": [1, 7]}), tmp_path, suite)
    assert found.checks[0].passed
    found, decided, reason = run(pd.DataFrame({"a": [1, 2], "b": [1, 2]}), tmp_path, suite)
    assert decided == BLOCK
    assert "met no value" in reason


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [
        ("expect_column_distinct_values_to_be_in_set", {"value_set": ["x"]}),
        ("expect_column_most_common_value_to_be_in_set", {"value_set": ["x"]}),
        ("expect_column_unique_value_count_to_be_between", {"max_value": 5}),
    ],
)
def test_whole_column_rules_do_not_pass_on_nulls(tmp_path: Path, kind: str, kwargs: dict[str, Any]) -> None:
    suite = [{"type": kind, "kwargs": {"column": "a", **kwargs}}]
    assert run(pd.DataFrame({"a": ["x", "x"]}), tmp_path, suite)[1] == PASS
    assert run(pd.DataFrame({"a": pd.array([None, None], dtype="string")}), tmp_path, suite)[1] == BLOCK


def test_markup_in_the_data_stays_text(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    suite = [{"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "a", "value_set": ["x"]}}]
    found, _, _ = run(pd.DataFrame({"a": ["x", evil * 20]}), tmp_path, suite)
    told = found.details["results"][0]
    assert told["examples"] == [(evil * 20)[:200]]
    assert told["example_rows"] == [1]


class _Failing:
    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    def __call__(self, *args: object) -> object:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def test_a_crash_of_the_library_is_an_error_of_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "_run", _Failing(RuntimeError("segment lost")))
    with pytest.raises(GateErrored, match="RuntimeError: segment lost"):
        run(pd.DataFrame({"a": [1]}), tmp_path, [NOT_NULL])


def test_a_missing_result_is_an_error_of_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from great_expectations.datasource.fluent.interfaces import Batch

    class Nothing:
        results: tuple[object, ...] = ()

    monkeypatch.setattr(Batch, "validate", lambda *_, **__: Nothing())
    with pytest.raises(GateErrored, match="no result for"):
        run(pd.DataFrame({"a": [1]}), tmp_path, [NOT_NULL])


def test_analytics_and_progress_bars_are_off(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run(pd.DataFrame({"a": [1]}), tmp_path, [NOT_NULL])
    assert os.environ["GX_ANALYTICS_ENABLED"] == "false"
    assert "Calculating Metrics" not in "".join(capfd.readouterr())


def test_suites_in_every_form(tmp_path: Path) -> None:
    rule = gx.expectations.ExpectColumnValuesToNotBeNull(column="a", mostly=0.9, severity="warning")
    suite = gx.ExpectationSuite("s", expectations=[rule])
    (tmp_path / "s.json").write_text(json.dumps(suite.to_json_dict()))
    wanted = [
        {
            "type": "expect_column_values_to_not_be_null",
            "kwargs": {"column": "a", "mostly": 0.9},
            "severity": "warning",
        }
    ]
    forms = [tmp_path / "s.json", str(tmp_path / "s.json"), suite, suite.to_json_dict(), [rule], (rule,), wanted]
    assert [load_suite(form) for form in forms] == [wanted] * len(forms)
    before_one = [{"expectation_type": "expect_x", "kwargs": {"column": "a"}, "meta": {}}]
    assert load_suite(before_one) == [{"type": "expect_x", "kwargs": {"column": "a"}, "severity": "critical"}]


def test_templates_and_other_values_pass_through_untouched() -> None:
    later = object()
    kwargs = {"column": "{{ params.column }}", "min_value": later}
    found = load_suite([{"type": "expect_column_min_to_be_between", "kwargs": kwargs}])
    assert found[0]["kwargs"]["min_value"] is later


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is not JSON"),
        ("3", "Not an expectation suite"),
        ("{}", "Not an expectation suite"),
        ('{"expectations": []}', "holds no expectations"),
        ('[{"kwargs": {}}]', "has no type"),
        ('["expect_x"]', "has no type"),
    ],
)
def test_malformed_suites_are_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(ConfigurationError, match=told):
        load_suite(tmp_path / "s.json")


def test_a_missing_suite_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.json \(No such file"):
        load_suite(tmp_path / "nowhere.json")


def test_reading_a_suite_imports_no_library() -> None:
    code = (
        "import sys; from airflow_ml.adapters.expectation_suite import load_suite; "
        f"assert len(load_suite({str(SUITE)!r})) == 11; "
        "print(sorted({'great_expectations', 'pandas', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
