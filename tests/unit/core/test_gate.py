from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.core.gate import BLOCK, ERROR, ON_BAD_ROWS, PASS, WARN, CheckResult, decide, decide_model
from airflow_ml.errors import ConfigurationError


def check(passed: bool, severity: str = "critical", rows: int | None = None, name: str = "c") -> CheckResult:
    return CheckResult(name=name, severity=severity, passed=passed, unexpected_rows=rows, observed="seen")


CHECKS = st.builds(
    CheckResult,
    name=st.just("c"),
    severity=st.sampled_from(["critical", "warning", "info", "bogus"]),
    passed=st.booleans(),
    unexpected_rows=st.none() | st.integers(0, 50),
)


@pytest.mark.parametrize(
    ("checks", "rows", "bad", "on_bad_rows", "verdict", "told"),
    [
        ([check(True)], 10, 0, "block", PASS, "All 1 check passed on 10 rows"),
        ([], 10, 0, "warn", ERROR, "No check was run"),
        ([check(True)], 0, 0, "warn", BLOCK, "no rows"),
        ([check(False)], 10, 0, "warn", BLOCK, "1 critical check of 1 failed: c: seen"),
        ([check(False, rows=3)], 100, 3, "block", BLOCK, "c: 3 rows (3 %)"),
        ([check(False, rows=3)], 100, 3, "quarantine", WARN, "3 rows of 100 (3 %) quarantined: c: 3 rows"),
        ([check(False, rows=6)], 100, 6, "quarantine", BLOCK, "more than the 5 % that may be quarantined"),
        ([check(False, rows=3)], 100, 3, "warn", WARN, "3 bad rows kept"),
        ([check(False, rows=3), check(False)], 100, 3, "quarantine", BLOCK, "2 critical checks of 2 failed"),
        ([check(False, "warning", 3)], 100, 0, "quarantine", WARN, "1 check failed"),
        ([check(False, "info", 3), check(True)], 100, 0, "block", PASS, "1 of 2 checks passed (for information: c)"),
        ([check(False, "info", 3), check(True)], 100, 0, "quarantine", PASS, "1 of 2 checks"),
        ([check(False, rows=3)], 100, 0, "quarantine", ERROR, "0 of 100 rows were named"),
        ([check(False, rows=0)], 100, 0, "quarantine", BLOCK, "failed"),
        ([check(False, "fatal")], 100, 0, "warn", BLOCK, "failed"),
    ],
)
def test_decide(checks: list[CheckResult], rows: int, bad: int, on_bad_rows: str, verdict: str, told: str) -> None:
    found, reason = decide(checks, rows=rows, bad_rows=bad, on_bad_rows=on_bad_rows)
    assert (found, told in reason) == (verdict, True), reason


def test_quarantining_everything_blocks_whatever_the_fraction() -> None:
    found, reason = decide(
        [check(False, rows=4)], rows=4, bad_rows=4, on_bad_rows="quarantine", max_quarantine_fraction=1.0
    )
    assert found == BLOCK
    assert "All 4 rows" in reason


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigurationError, match="max_quarantine_fraction"):
        decide([check(True)], rows=1, bad_rows=0, max_quarantine_fraction=fraction)


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="block, quarantine, warn"):
        decide([check(True)], rows=1, bad_rows=0, on_bad_rows="ignore")


@settings(deadline=None)
@given(st.lists(CHECKS, max_size=6), st.integers(0, 100), st.integers(0, 100), st.sampled_from(ON_BAD_ROWS))
def test_the_gate_opens_only_on_proof(checks: list[CheckResult], rows: int, bad: int, mode: str) -> None:
    verdict, reason = decide(checks, rows=rows, bad_rows=bad, on_bad_rows=mode)
    assert reason
    blocking = [one for one in checks if not one.passed and one.severity not in ("warning", "info")]
    if not checks or rows == 0:
        assert verdict in (BLOCK, ERROR)
    if verdict == PASS:
        assert not blocking
        assert not [one for one in checks if not one.passed and one.severity == "warning"]
    if verdict == WARN:
        assert all(one.unexpected_rows for one in blocking)
        assert not blocking or mode != "block"


@settings(deadline=None)
@given(st.lists(CHECKS, min_size=1, max_size=6))
def test_decide_model(checks: list[CheckResult]) -> None:
    verdict, reason = decide_model(checks)
    failed = {one.severity for one in checks if not one.passed}
    expected = BLOCK if failed & {"critical", "bogus"} else WARN if "warning" in failed else PASS
    assert verdict == expected
    assert reason


def test_no_model_checks_are_an_error() -> None:
    assert decide_model([])[0] == ERROR
