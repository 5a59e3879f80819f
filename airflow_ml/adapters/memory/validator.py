"""The in-memory twin of the gate's validator: a few expectation types on Arrow alone.

It means by each type what Great Expectations means, so a pipeline's tests can run without that library's long import.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_ml.core.expectation import Expectation, parse_expectations, require_columns, require_known
from airflow_ml.core.gate import CheckResult
from airflow_ml.core.ports import Validation
from airflow_ml.core.severity import CRITICAL
from airflow_ml.errors import ConfigurationError, GateErrored


class MemoryValidator:
    """Implements ``core.ports.Validator`` for the types in ``TYPES``."""

    def validate(self, parquet: Path, expectations: Sequence[Mapping[str, Any]]) -> Validation:
        """Run expectations over a file; means and raises what ``GreatExpectationsValidator.validate`` does."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = parse_expectations(expectations)
        require_known(wanted, TYPES.keys())
        try:
            table = pq.read_table(parquet)
        except (OSError, pa.ArrowException) as error:
            raise GateErrored(
                "Cannot read the data to be tested", f"{parquet.name}: {error}"[:300], "Run the snapshot again."
            ) from error
        require_columns(wanted, frozenset(table.column_names))
        named = {name for rule in wanted for name in rule.columns}
        all_null = frozenset(name for name in named if _present(table, name).null_count == table.num_rows)
        checks: list[CheckResult] = []
        bad: set[int] = set()
        for rule in wanted:
            try:
                check, positions = _judge(table, rule, all_null)
            except KeyError as error:
                raise ConfigurationError(
                    f"The arguments of {rule.label} do not fit", f"no {error}", "Correct the kwargs in the suite."
                ) from None
            except (pa.ArrowException, TypeError) as error:
                raise GateErrored(
                    f"The validator failed on {rule.label}", str(error)[:300], "Correct the expectation or the data."
                ) from error
            checks.append(check)
            if not check.passed and rule.severity == CRITICAL:
                bad.update(positions)
        details = {"library": "memory", "rows": table.num_rows, "results": [_details(check) for check in checks]}
        return Validation(checks=tuple(checks), rows=table.num_rows, bad_rows=sorted(bad), details=details)


def _details(check: CheckResult) -> dict[str, Any]:
    return {"name": check.name, "severity": check.severity, "passed": check.passed, "observed": check.observed}


def _judge(table: Any, rule: Expectation, all_null: frozenset[str]) -> tuple[CheckResult, Sequence[int]]:
    """Return the check and the positions of the rows that break it."""
    by_row, judge = TYPES[rule.type]
    why = "the data has no rows" if table.num_rows == 0 else rule.unjudgeable(all_null)
    if why:
        return _check(rule, passed=False, observed=why), ()
    if not by_row:
        passed, observed = judge(table, rule.kwargs)
        return _check(rule, passed=passed, observed=observed), ()
    broken, judged = judge(table, rule.kwargs)
    positions = [position for position, is_bad in enumerate(broken.to_pylist()) if is_bad]
    passed = 1 - len(positions) / judged >= float(rule.kwargs.get("mostly", 1.0))
    observed = f"{len(positions):,} of {judged:,} values break it"
    return _check(rule, passed=passed, observed=observed, unexpected_rows=len(positions)), positions


def _check(rule: Expectation, *, passed: bool, observed: Any, unexpected_rows: int | None = None) -> CheckResult:
    return CheckResult(
        name=rule.label,
        severity=rule.severity,
        passed=passed,
        observed=observed,
        expected=rule.rule,
        unexpected_rows=unexpected_rows,
    )


def _present(table: Any, name: str) -> Any:
    """Return a column in which NaN is null, as pandas (and so Great Expectations) has it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = table.column(name)
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column


def _not_null(table: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    column = _present(table, kwargs["column"])
    return column.is_null(), len(column)


def _null(table: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    column = _present(table, kwargs["column"])
    return column.is_valid(), len(column)


def _unique(table: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _present(table, kwargs["column"])
    counts = column.drop_null().value_counts()
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    broken = pc.is_in(column, value_set=twice, skip_nulls=True)
    return pc.fill_null(broken, pa.scalar(False)), len(column) - column.null_count


def _in_set(table: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _present(table, kwargs["column"])
    allowed = pc.is_in(column, value_set=pa.array(kwargs["value_set"], type=column.type), skip_nulls=True)
    return pc.and_(column.is_valid(), pc.invert(allowed)), len(column) - column.null_count


def _between(table: Any, kwargs: Mapping[str, Any]) -> tuple[Any, int]:
    import pyarrow.compute as pc

    low, high = _bounds(kwargs)
    column = _present(table, kwargs["column"])
    broken = pc.is_null(column)
    if low is not None:
        broken = pc.or_(broken, (pc.less_equal if kwargs.get("strict_min") else pc.less)(column, low).fill_null(True))
    if high is not None:
        over = pc.greater_equal if kwargs.get("strict_max") else pc.greater
        broken = pc.or_(broken, over(column, high).fill_null(True))
    return pc.and_(broken, column.is_valid()), len(column) - column.null_count


def _column_exists(table: Any, kwargs: Mapping[str, Any]) -> tuple[bool, Any]:
    return kwargs["column"] in table.column_names, None


def _columns_match_set(table: Any, kwargs: Mapping[str, Any]) -> tuple[bool, Any]:
    wanted, found = set(kwargs["column_set"]), set(table.column_names)
    passed = wanted == found if kwargs.get("exact_match", True) else wanted <= found
    return passed, str(sorted(found))[:300]


def _row_count(table: Any, kwargs: Mapping[str, Any]) -> tuple[bool, Any]:
    return _within(table.num_rows, kwargs), table.num_rows


def _mean(table: Any, kwargs: Mapping[str, Any]) -> tuple[bool, Any]:
    import pyarrow.compute as pc

    value = pc.mean(_present(table, kwargs["column"])).as_py()
    return _within(value, kwargs), value if math.isfinite(value) else str(value)


def _within(value: float, kwargs: Mapping[str, Any]) -> bool:
    low, high = _bounds(kwargs)
    above = low is None or (value > low if kwargs.get("strict_min") else value >= low)
    below = high is None or (value < high if kwargs.get("strict_max") else value <= high)
    return above and below


def _bounds(kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    low, high = kwargs.get("min_value"), kwargs.get("max_value")
    if low is None and high is None:
        raise KeyError("min_value")
    return low, high


#: Each type this validator knows: whether it judges row by row, and the function that does it.
TYPES: Mapping[str, tuple[bool, Callable[[Any, Mapping[str, Any]], tuple[Any, Any]]]] = {
    "expect_column_values_to_not_be_null": (True, _not_null),
    "expect_column_values_to_be_null": (True, _null),
    "expect_column_values_to_be_unique": (True, _unique),
    "expect_column_values_to_be_in_set": (True, _in_set),
    "expect_column_values_to_be_between": (True, _between),
    "expect_column_to_exist": (False, _column_exists),
    "expect_table_columns_to_match_set": (False, _columns_match_set),
    "expect_table_row_count_to_be_between": (False, _row_count),
    "expect_column_mean_to_be_between": (False, _mean),
}
