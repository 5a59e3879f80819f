"""Stage 2, gate: data and models that do not pass go no further."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import JSON, Record
from airflow_ml.core.severity import ON_BAD_ROWS
from airflow_ml.errors import ConfigurationError

#: Verdicts, from best to worst. ``error`` is the gate's own failure; it stops the pipeline too.
PASS, WARN, BLOCK, ERROR = "pass", "warn", "block", "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One expectation or model check and what it found."""

    name: str
    #: ``critical`` blocks, ``warning`` warns, ``info`` is only reported.
    severity: str
    passed: bool
    #: What was seen, in words or as a number: ``"0.3 % of rows are null"``.
    observed: JSON = None
    #: The rule in words.
    expected: str = ""
    #: Rows that break a row-level rule; None for a rule about the whole table.
    unexpected_rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport(Record):
    """What a gate saw and decided."""

    #: Fingerprint of the record that was tested.
    subject: str
    #: ``dataset`` or ``model``.
    kind: str
    verdict: str
    reason: str
    #: At most 10, those that failed first; ``report`` has all of them.
    checks: tuple[CheckResult, ...]
    #: Rows tested, and rows taken out because they break a row-level rule.
    rows: int
    quarantined: int = 0
    quarantine: Artifact | None = None
    #: The whole result as JSON, for people and the UI.
    report: Artifact | None = None
    #: How many checks were run, and how many of them failed.
    checks_run: int = 0
    checks_failed: int = 0


#: Checks that a report names. A suite may have hundreds, and a report is an XCom.
SHOWN_CHECKS = 10


def most_important(checks: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
    """Return the checks that a report names: failed ones before passed ones, critical before warning before info.

    Otherwise their order stays. Long words are cut; the report's artifact has the whole.
    """
    worst = {"warning": 1, "info": 2}
    ordered = sorted(checks, key=lambda check: (check.passed is True, worst.get(check.severity, 0)))
    return tuple(
        replace(
            check,
            observed=check.observed[:120] if isinstance(check.observed, str) else check.observed,
            expected=check.expected[:120],
        )
        for check in ordered[:SHOWN_CHECKS]
    )


def count_failed(checks: Sequence[CheckResult]) -> int:
    """Return how many checks did not pass, of whatever severity."""
    return sum(check.passed is not True for check in checks)


def decide(
    checks: Sequence[CheckResult],
    *,
    rows: int,
    bad_rows: int,
    on_bad_rows: str = "block",
    max_quarantine_fraction: float = 0.05,
) -> tuple[str, str]:
    """Decide about a dataset. Anything that was not proven good stays outside.

    Args:
        checks: What the validator found.
        rows: Rows tested.
        bad_rows: Distinct rows that break a failed, critical, row-level rule: those a quarantine would take out.
        on_bad_rows: ``block``: such a rule blocks. ``quarantine``: its rows are taken out and the rest goes on.
            ``warn``: the rows stay and the report says so. Rules about the whole table block in any case.
        max_quarantine_fraction: Above this share of the rows a quarantine blocks. The default of 5 % is the point
            where "a few bad rows" becomes a broken source, and taking them out would bias what is left.

    Returns:
        The verdict (``pass``, ``warn``, ``block``, ``error``) and the reason in words.

    Raises:
        ConfigurationError: for an unknown ``on_bad_rows`` or a fraction outside 0 to 1.
    """
    _check_options(on_bad_rows, max_quarantine_fraction)
    if not checks:
        return ERROR, "No check was run, so nothing is known about the data."
    if rows <= 0:
        return BLOCK, f"There are no rows; {_count(len(checks), 'check')} had nothing to judge."
    critical, warnings = _failed(checks)
    about_rows = [check for check in critical if check.unexpected_rows]
    about_table = [check for check in critical if not check.unexpected_rows]
    if about_table or (critical and on_bad_rows == "block"):
        return BLOCK, f"{_count(len(critical), 'critical check')} of {len(checks)} failed: {_listed(critical, rows)}."
    if about_rows and on_bad_rows == "quarantine":
        if not 0 < bad_rows <= rows:
            return ERROR, f"Rows break a rule, but {bad_rows} of {rows:,} rows were named: {_listed(about_rows, rows)}."
        taken = f"{_count(bad_rows, 'row')} of {rows:,} ({_percent(bad_rows, rows)})"
        if bad_rows > max_quarantine_fraction * rows:
            limit = f"more than the {_percent(max_quarantine_fraction, 1)} that may be quarantined"
            return BLOCK, f"{taken} break critical rules, {limit}: {_listed(about_rows, rows)}."
        if bad_rows == rows:
            return BLOCK, f"All {rows:,} rows break critical rules: {_listed(about_rows, rows)}."
        return WARN, f"{taken} quarantined: {_listed([*about_rows, *warnings], rows)}."
    if critical or warnings:
        kept = f"{_count(bad_rows, 'bad row')} kept; " if critical else ""
        return WARN, f"{kept}{_count(len(critical + warnings), 'check')} failed: {_listed(critical + warnings, rows)}."
    return PASS, f"{_passed(checks)} on {_count(rows, 'row')}."


def decide_model(checks: Sequence[CheckResult]) -> tuple[str, str]:
    """Decide about a model: any failed critical check blocks, a failed warning warns, no checks at all is an error."""
    if not checks:
        return ERROR, "No check was run, so nothing is known about the model."
    critical, warnings = _failed(checks)
    if critical:
        return BLOCK, f"{_count(len(critical), 'critical check')} of {len(checks)} failed: {_listed(critical, 0)}."
    if warnings:
        return WARN, f"{_count(len(warnings), 'check')} of {len(checks)} failed with a warning: {_listed(warnings, 0)}."
    return PASS, f"{_passed(checks)}."


def _check_options(on_bad_rows: str, max_quarantine_fraction: float) -> None:
    if on_bad_rows not in ON_BAD_ROWS:
        raise ConfigurationError("Unknown on_bad_rows", repr(on_bad_rows), f"Use one of {', '.join(ON_BAD_ROWS)}.")
    if not 0.0 <= max_quarantine_fraction <= 1.0:
        raise ConfigurationError(
            "max_quarantine_fraction is not a fraction", max_quarantine_fraction, "Use a number from 0 to 1."
        )


def _failed(checks: Sequence[CheckResult]) -> tuple[list[CheckResult], list[CheckResult]]:
    """Return the failed checks that block and those that warn; a severity nobody knows blocks."""
    failed = [check for check in checks if check.passed is not True]
    critical = [check for check in failed if check.severity not in ("warning", "info")]
    return critical, [check for check in failed if check.severity == "warning"]


def _passed(checks: Sequence[CheckResult]) -> str:
    """Say how many passed; what failed for information only is named, or "all passed" would be a lie."""
    noted = [check.name for check in checks if check.passed is not True]
    if not noted:
        return f"All {_count(len(checks), 'check')} passed"
    return (
        f"{len(checks) - len(noted)} of {_count(len(checks), 'check')} passed (for information: {', '.join(noted[:5])})"
    )


def _listed(checks: Sequence[CheckResult], rows: int) -> str:
    shown = "; ".join(_describe(check, rows) for check in checks[:5])
    return f"{shown}; and {len(checks) - 5} more" if len(checks) > 5 else shown


def _describe(check: CheckResult, rows: int) -> str:
    if check.unexpected_rows and rows:
        return f"{check.name}: {_count(check.unexpected_rows, 'row')} ({_percent(check.unexpected_rows, rows)})"
    noted = check.name if check.observed is None else f"{check.name}: {str(check.observed)[:160]}"
    return f"{noted} (expected {check.expected[:120]})" if check.expected else noted


def _percent(part: float, whole: int) -> str:
    return f"{100 * part / whole:.3g} %"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
