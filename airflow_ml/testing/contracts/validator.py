"""What every ``core.ports.Validator`` must do: subclass ``ValidatorContract``, override the ``validator`` fixture."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.core.gate import BLOCK, PASS, WARN, decide
from airflow_ml.core.ports import Validation, Validator
from airflow_ml.errors import ColumnMissing, ConfigurationError, GateErrored, UnknownExpectation

NOT_NULL = "expect_column_values_to_not_be_null"
UNIQUE = "expect_column_values_to_be_unique"
IN_SET = "expect_column_values_to_be_in_set"
BETWEEN = "expect_column_values_to_be_between"
ROW_COUNT = "expect_table_row_count_to_be_between"
MEAN = "expect_column_mean_to_be_between"

GOOD: Mapping[str, list[Any]] = {
    "flight_id": [f"f{number}" for number in range(8)],
    "number": [2**53 + number for number in range(8)],
    "origin": ["EWR", "JFK", "LGA", "EWR", "JFK", "LGA", "EWR", "JFK"],
    "distance": [100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0],
    "late": [True, False, None, False, True, False, True, False],
}


def rule(kind: str, severity: str = "critical", **kwargs: Any) -> dict[str, Any]:
    """Return one expectation in wire form."""
    return {"type": kind, "kwargs": kwargs, "severity": severity}


#: A suite that the good rows pass.
SUITE: tuple[dict[str, Any], ...] = (
    rule(NOT_NULL, column="flight_id"),
    rule(UNIQUE, column="flight_id"),
    rule(UNIQUE, column="number"),
    rule(IN_SET, column="origin", value_set=["EWR", "JFK", "LGA"]),
    rule(BETWEEN, column="distance", min_value=1, max_value=6000),
    rule(ROW_COUNT, min_value=1),
    rule(MEAN, column="distance", min_value=1, max_value=6000),
    rule(NOT_NULL, "warning", column="late", mostly=0.8),
)

#: Name of the poison, the columns that differ from the good ones, the rule that must fail, the positions it names.
POISONS: tuple[tuple[str, Mapping[str, list[Any]], dict[str, Any], tuple[int, ...]], ...] = (
    ("null key", {"flight_id": ["f0", None, *GOOD["flight_id"][2:]]}, SUITE[0], (1,)),
    ("duplicate key", {"flight_id": ["f7", *GOOD["flight_id"][1:]]}, SUITE[1], (0, 7)),
    ("duplicate large integer beside a null", {"number": [None, 2**53 + 1, *([2**53 + 1] * 2), 4, 5, 6, 7]}, SUITE[2],
     (1, 2, 3)),
    ("foreign value", {"origin": ["EWR", "BOS", None, *GOOD["origin"][3:]]}, SUITE[3], (1,)),
    ("infinite", {"distance": [math.inf, -math.inf, *GOOD["distance"][2:]]}, SUITE[4], (0, 1)),
    ("negative beside NaN", {"distance": [math.nan, 200.0, -1.0, *GOOD["distance"][3:]]}, SUITE[4], (2,)),
    ("all NaN", {"distance": [math.nan] * 8}, SUITE[4], ()),
    ("all NaN, mean", {"distance": [math.nan] * 8}, SUITE[6], ()),
    ("infinite mean", {"distance": [math.inf, *GOOD["distance"][1:]]}, SUITE[6], ()),
    ("all null", {"origin": [None] * 8}, SUITE[3], ()),
    ("all null key, unique", {"flight_id": [None] * 8}, SUITE[1], ()),
    ("too few rows", {}, rule(ROW_COUNT, min_value=9), ()),
    ("column not there", {}, rule("expect_column_to_exist", column="tailnum"), ()),
    ("another set of columns", {}, rule("expect_table_columns_to_match_set", column_set=["flight_id"]), ()),
)  # fmt: skip


def write_table(path: Path, changed: Mapping[str, list[Any]] | None = None, rows: int = 8) -> Path:
    """Write the good rows, with some columns replaced, and return the path."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"flight_id": pa.string(), "number": pa.int64(), "origin": pa.string(), "distance": pa.float64()}
    columns = {**GOOD, **(changed or {})}
    arrays = {name: pa.array(values[:rows], type=types.get(name, pa.bool_())) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), path)
    return path


class ValidatorContract:
    """The suite. Each test starts from the same eight good rows."""

    @pytest.fixture
    def validator(self) -> Validator:
        """Return the adapter under test; override it."""
        raise NotImplementedError

    def run(self, validator: Validator, path: Path, suite: Sequence[Mapping[str, Any]]) -> Validation:
        """Validate and check what holds for every result."""
        found = validator.validate(path, suite)
        assert len(found.checks) == len(suite)
        assert list(found.bad_rows) == sorted(set(found.bad_rows))
        assert all(0 <= position < found.rows for position in found.bad_rows)
        json.dumps(found.details, allow_nan=False)
        for check, wanted in zip(found.checks, suite, strict=True):
            assert wanted["type"] in check.name
            assert check.severity == wanted["severity"]
            json.dumps(check.observed, allow_nan=False)
        return found

    def test_good_rows_pass(self, validator: Validator, tmp_path: Path) -> None:
        found = self.run(validator, write_table(tmp_path / "t.parquet"), SUITE)
        assert [check.name for check in found.checks if not check.passed] == []
        assert (found.rows, list(found.bad_rows)) == (8, [])
        assert decide(found.checks, rows=found.rows, bad_rows=0)[0] == PASS

    @pytest.mark.parametrize(("changed", "broken", "positions"), [poison[1:] for poison in POISONS],
                             ids=[poison[0] for poison in POISONS])  # fmt: skip
    def test_poison_is_found(
        self,
        validator: Validator,
        tmp_path: Path,
        changed: Mapping[str, list[Any]],
        broken: dict[str, Any],
        positions: tuple[int, ...],
    ) -> None:
        found = self.run(validator, write_table(tmp_path / "t.parquet", changed), [broken])
        assert not found.checks[0].passed
        assert tuple(found.bad_rows) == positions
        assert found.checks[0].unexpected_rows == (len(positions) or None)
        assert decide(found.checks, rows=8, bad_rows=len(positions))[0] == BLOCK
        quarantine = decide(
            found.checks, rows=8, bad_rows=len(positions), on_bad_rows="quarantine", max_quarantine_fraction=0.5
        )
        assert quarantine[0] == (WARN if positions else BLOCK)

    def test_no_rows_never_pass(self, validator: Validator, tmp_path: Path) -> None:
        found = self.run(validator, write_table(tmp_path / "t.parquet", rows=0), SUITE)
        assert not any(check.passed for check in found.checks)
        assert found.rows == 0
        assert decide(found.checks, rows=0, bad_rows=0)[0] == BLOCK

    def test_one_row_is_judged(self, validator: Validator, tmp_path: Path) -> None:
        found = self.run(validator, write_table(tmp_path / "t.parquet", rows=1), SUITE)
        assert all(check.passed for check in found.checks)

    def test_no_expectations_are_no_pass(self, validator: Validator, tmp_path: Path) -> None:
        found = self.run(validator, write_table(tmp_path / "t.parquet"), [])
        assert decide(found.checks, rows=found.rows, bad_rows=0)[0] == "error"

    def test_rows_of_several_rules_are_named_once(self, validator: Validator, tmp_path: Path) -> None:
        changed = {
            "origin": ["BOS", *GOOD["origin"][1:]],
            "distance": [-1.0, *GOOD["distance"][1:7], -2.0],
        }
        found = self.run(validator, write_table(tmp_path / "t.parquet", changed), SUITE)
        assert list(found.bad_rows) == [0, 7]

    def test_rows_of_warnings_are_good_rows(self, validator: Validator, tmp_path: Path) -> None:
        path = write_table(tmp_path / "t.parquet", {"late": [None] * 7 + [True]})
        found = self.run(validator, path, SUITE)
        assert [check.name for check in found.checks if not check.passed] == [found.checks[-1].name]
        assert found.checks[-1].unexpected_rows == 7
        assert list(found.bad_rows) == []

    @pytest.mark.parametrize(("mostly", "passed"), [(0.75, True), (0.8, False)])
    def test_mostly_tolerates(self, validator: Validator, tmp_path: Path, mostly: float, passed: bool) -> None:
        path = write_table(tmp_path / "t.parquet", {"origin": ["BOS", "BOS", *GOOD["origin"][2:]]})
        wanted = rule(IN_SET, column="origin", value_set=["EWR", "JFK", "LGA"], mostly=mostly)
        found = self.run(validator, path, [wanted])
        assert found.checks[0].passed is passed
        assert list(found.bad_rows) == ([] if passed else [0, 1])

    def test_order_of_checks_is_the_suites(self, validator: Validator, tmp_path: Path) -> None:
        suite = [rule(BETWEEN, column="distance", max_value=limit) for limit in (50, 900, 150)]
        found = self.run(validator, write_table(tmp_path / "t.parquet"), [*suite, SUITE[5], SUITE[0]])
        assert [check.passed for check in found.checks] == [False, True, False, True, True]

    def test_unknown_type_names_its_neighbours(self, validator: Validator, tmp_path: Path) -> None:
        wanted = [rule("expect_column_values_to_not_be_nul", column="flight_id")]
        with pytest.raises(UnknownExpectation, match=f"Did you mean .*{NOT_NULL}"):
            validator.validate(write_table(tmp_path / "t.parquet"), wanted)

    def test_missing_column_names_its_neighbours(self, validator: Validator, tmp_path: Path) -> None:
        with pytest.raises(ColumnMissing, match=r"orign.*did you mean origin"):
            validator.validate(write_table(tmp_path / "t.parquet"), [rule(NOT_NULL, column="orign")])

    def test_wrong_type_is_an_error_of_the_gate(self, validator: Validator, tmp_path: Path) -> None:
        with pytest.raises(GateErrored, match="origin"):
            validator.validate(write_table(tmp_path / "t.parquet"), [rule(MEAN, column="origin", min_value=1)])

    def test_wrong_arguments(self, validator: Validator, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="min_value"):
            validator.validate(write_table(tmp_path / "t.parquet"), [rule(BETWEEN, column="distance")])

    def test_unknown_severity(self, validator: Validator, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="severity"):
            validator.validate(write_table(tmp_path / "t.parquet"), [rule(NOT_NULL, "fatal", column="origin")])

    def test_unreadable_file(self, validator: Validator, tmp_path: Path) -> None:
        (tmp_path / "t.parquet").write_bytes(b"PAR1 no parquet")
        with pytest.raises(GateErrored, match=r"t\.parquet"):
            validator.validate(tmp_path / "t.parquet", SUITE)
