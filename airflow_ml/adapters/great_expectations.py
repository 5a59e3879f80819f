"""The gate's validator on Great Expectations 1.x, over a pandas frame."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core.expectation import Expectation, parse_expectations, require_columns, require_known
from airflow_ml.core.gate import CheckResult
from airflow_ml.core.ports import Validation
from airflow_ml.core.severity import CRITICAL
from airflow_ml.errors import AirflowMLError, ConfigurationError, GateErrored, MissingDependency

if TYPE_CHECKING:
    import pandas as pd

#: Examples of unexpected values in the details of one check. They are data: shown as text, never as markup.
_EXAMPLES, _EXAMPLE_CHARACTERS = 20, 200


class GreatExpectationsValidator:
    """Runs a suite over a Parquet file in memory; the file is read whole, as a pandas frame.

    Great Expectations takes 6 to 13 s to import, so it is imported on the first call only. Its usage analytics and
    progress bars are switched off. Nothing is written to disk.
    """

    def validate(self, parquet: Path, expectations: Sequence[Mapping[str, Any]]) -> Validation:
        """Run expectations (``{"type", "kwargs", "severity"}``) over the file.

        ``bad_rows`` of the result are the rows that break a critical row-level rule which failed. Rows that a rule
        tolerates by ``mostly``, and rows that only a warning is about, are good rows.

        A rule never passes for want of values: not on a file without rows, nor on a column that holds only nulls.

        Raises:
            UnknownExpectation, ColumnMissing: the suite does not fit.
            ConfigurationError: the arguments of an expectation do not fit it.
            GateErrored: the file cannot be read, or Great Expectations itself failed on a rule, for instance because
                a column holds text where the rule compares numbers.
        """
        wanted = parse_expectations(expectations)
        library = _import_library()
        require_known(wanted, frozenset(library.expectations.registry.list_registered_expectation_implementations()))
        frame = _read_frame(parquet)
        require_columns(wanted, frozenset(frame.columns))
        built = [_build(library, rule, position) for position, rule in enumerate(wanted)]
        details = {"library": f"great_expectations {library.__version__}", "rows": len(frame)}
        if frame.empty or not wanted:
            checks = tuple(_nothing_to_judge(rule, "the data has no rows") for rule in wanted)
            return Validation(checks=checks, rows=len(frame), bad_rows=(), details={**details, "results": []})
        try:
            results = _run(library, frame, built)
        except AirflowMLError:
            raise
        except Exception as error:  # rules are code of many authors: whatever one raises, the gate stays closed
            raise GateErrored("Great Expectations failed", f"{type(error).__name__}: {error}"[:500], _REMEDY) from error
        return _collect(wanted, results, frame, details)


_REMEDY = "Correct the expectation or the data; until then the gate stays closed."


def _import_library() -> Any:
    # Read once, at import; a task must not call home or wait for an address that a closed network never answers.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    try:
        with _quiet():
            import great_expectations
            import great_expectations.expectations.registry
    except ImportError as error:
        raise MissingDependency(
            "Great Expectations is not installed", str(error)[:200], "Install airflow-ml[gx] on the workers."
        ) from error
    return great_expectations


def _read_frame(parquet: Path) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Without these an integer column with one null becomes float, and keys above 2**53 would seem to be duplicates.
    nullable = {
        getattr(pa, f"{kind}{bits}")(): pd.api.types.pandas_dtype(f"{name}{bits}")
        for kind, name in (("int", "Int"), ("uint", "UInt"))
        for bits in (8, 16, 32, 64)
    }
    nullable[pa.bool_()] = pd.BooleanDtype()
    try:
        table = pq.read_table(parquet)
        frame: pd.DataFrame = table.to_pandas(types_mapper=nullable.get, ignore_metadata=True)
    except (OSError, pa.ArrowException) as error:
        raise GateErrored(
            "Cannot read the data to be tested", f"{parquet.name}: {error}"[:300], "Run the snapshot again."
        ) from error
    return frame


def _build(library: Any, rule: Expectation, position: int) -> Any:
    kind = library.expectations.registry.get_expectation_impl(rule.type)
    try:
        return kind(**rule.kwargs, severity=rule.severity, meta={"position": position})
    except (TypeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ConfigurationError(
            f"The arguments of {rule.label} do not fit",
            "; ".join(lines[1:] or lines)[:300],
            "Correct the kwargs in the suite.",
        ) from None


def _run(library: Any, frame: pd.DataFrame, built: Sequence[Any]) -> list[Any]:
    """Return one result per expectation, in the order of ``built``: the library hands them back in another."""
    from great_expectations.data_context.types import base

    with _quiet():
        settings = base.DataContextConfig(
            store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            analytics_enabled=False,
            progress_bars=base.ProgressBarsConfig(globally=False),
        )
        context = library.get_context(mode="ephemeral", project_config=settings)
        asset = context.data_sources.add_pandas("gate").add_dataframe_asset("data")
        batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
        suite = library.ExpectationSuite("gate")
        for expectation in built:
            suite.add_expectation(expectation)
        outcome = batch.validate(
            suite, result_format={"result_format": "COMPLETE", "return_unexpected_index_query": False}
        )
    by_position = {result.expectation_config.meta["position"]: result for result in outcome.results}
    missing = [expectation for position, expectation in enumerate(built) if position not in by_position]
    if missing:
        raise GateErrored("Great Expectations gave no result for", type(missing[0]).__name__, _REMEDY)
    return [by_position[position] for position in range(len(built))]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's own remarks out of the task's log while it runs; errors still show."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _collect(
    wanted: Sequence[Expectation], results: Sequence[Any], frame: pd.DataFrame, details: dict[str, Any]
) -> Validation:
    named = {name for rule in wanted for name in rule.columns}
    all_null = frozenset(name for name in named if bool(frame[name].isna().all()))
    checks: list[CheckResult] = []
    shown: list[dict[str, Any]] = []
    bad: set[int] = set()
    for rule, result in zip(wanted, results, strict=True):
        _refuse_exception(rule, result, frame)
        check, positions = _read(rule, result, all_null)
        checks.append(check)
        shown.append(_details(rule, check, result))
        if not check.passed and rule.severity == CRITICAL:
            bad.update(positions)
    return Validation(
        checks=tuple(checks), rows=len(frame), bad_rows=sorted(bad), details={**details, "results": shown}
    )


def _refuse_exception(rule: Expectation, result: Any, frame: pd.DataFrame) -> None:
    """Raise if the library met an exception: it reports those as a failed rule, one level down or two."""
    info = result.exception_info or {}
    entries = [info, *(value for value in info.values() if isinstance(value, Mapping))]
    raised = [entry for entry in entries if entry.get("raised_exception")]
    if raised:
        kinds = ", ".join(f"{name} is {frame[name].dtype}" for name in rule.columns)
        raise GateErrored(
            f"Great Expectations failed on {rule.label}",
            f"{str(raised[0].get('exception_message'))[:300]}{f' ({kinds})' if kinds else ''}",
            _REMEDY,
        )


def _read(rule: Expectation, result: Any, all_null: frozenset[str]) -> tuple[CheckResult, Sequence[int]]:
    found = result.result or {}
    # Some rules about a whole column count unexpected values too; only rules about rows say how many they judged.
    count = found.get("unexpected_count") if "element_count" in found else None
    judged = int(found.get("element_count") or 0) - int(found.get("missing_count") or 0)
    passed = _plain(result.success) is True  # some rules answer with numpy's own True
    why = rule.unjudgeable(all_null)
    if count is not None and judged <= 0:
        why = why or "nothing to judge: the rule met no value"
    if passed and why:
        return _nothing_to_judge(rule, why), ()
    positions = [int(position) for position in found.get("unexpected_index_list") or ()]
    shown = (found.get(key) for key in ("observed_value", "details", "partial_unexpected_list"))
    observed = next((_plain(value) for value in shown if value is not None), None)
    if count is not None:
        observed = f"{int(count):,} of {judged:,} values break it"
    check = CheckResult(
        name=rule.label,
        severity=rule.severity,
        passed=passed,
        observed=observed
        if observed is None or isinstance(observed, bool | int | float | str)
        else str(observed)[:300],
        expected=rule.rule,
        # Rows that cannot be named cannot be quarantined either: then the rule counts as one about the whole table.
        unexpected_rows=None if count is None or len(positions) < int(count) else int(count),
    )
    return check, positions


def _nothing_to_judge(rule: Expectation, why: str) -> CheckResult:
    return CheckResult(name=rule.label, severity=rule.severity, passed=False, observed=why, expected=rule.rule)


def _details(rule: Expectation, check: CheckResult, result: Any) -> dict[str, Any]:
    found = result.result or {}
    figures = {key: _plain(value) for key, value in found.items() if not key.endswith(("_list", "_counts"))}
    values = (found.get("unexpected_list") or [])[:_EXAMPLES]
    return {
        "type": rule.type,
        "kwargs": _plain(rule.kwargs),
        "severity": rule.severity,
        "passed": check.passed,
        "observed": check.observed,
        "figures": figures,
        "examples": [str(_plain(value))[:_EXAMPLE_CHARACTERS] for value in values],
        "example_rows": [int(position) for position in (found.get("unexpected_index_list") or ())[:_EXAMPLES]],
    }


def _plain(value: object) -> Any:
    """Return a JSON-able form: numpy scalars as numbers, NaN and infinities as text, anything else as its text."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if "numpy" in sys.modules and hasattr(value, "item") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
