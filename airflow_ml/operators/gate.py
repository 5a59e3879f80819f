"""Stage 2, gate: data through Great Expectations, models through behavioural checks. Both fail closed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.core.severity import ON_BAD_ROWS
from airflow_ml.errors import AirflowMLError, ConfigurationError, GateBlocked, GateErrored
from airflow_ml.links import SnapshotPageLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator
from airflow_ml.operators.function import with_arguments_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk._shared.logging.types import Logger

    from airflow_ml.core.artifact import Artifact
    from airflow_ml.core.gate import CheckResult, GateReport
    from airflow_ml.core.ports import ArtifactStore, Validation
    from airflow_ml.core.snapshot import DatasetSnapshot

#: XCom key under which a gate pushes its report; its return value is the subject, passed on.
REPORT_KEY = "report"


def _read_suite(expectations: Any) -> None:
    """Refuse expectations that are not a suite; a file is read when the task runs."""
    if not isinstance(expectations, str):
        from airflow_ml.adapters.expectation_suite import load_suite

        load_suite(expectations)


class GateDatasetOperator(MLOperator):
    """Test a snapshot with Great Expectations and pass it on, if need be without the rows that break a row-level rule.

    The report is a record of its own, under the XCom key ``report``, also if the gate blocks. The gate fails closed: an
    expectation that raises, an unknown column or an empty table blocks.

    Retry, clear: tests the same snapshot again, with the same result. Kill, timeout: nothing is passed on.

    Args:
        subject: The `DatasetSnapshot` to test (templated).
        expectations: A list of expectations (dicts ``{"type", "kwargs", "severity"}`` or Great Expectations objects),
            or the path of a JSON suite beside the DAG file (templated). Severity ``critical`` (default) blocks,
            ``warning`` warns, ``info`` is only reported.
        on_bad_rows: What to do with rows that break a critical row-level rule: ``block`` (default: nothing is dropped
            silently), ``quarantine`` (remove them and keep them as an artifact), ``warn`` (let them through).
        max_quarantine_fraction: Above this share of bad rows the gate blocks: the source is broken, and removing so
            many would bias the rest. Default 0.05.

    Raises:
        GateBlocked: the data did not pass.
        GateErrored: the gate could not decide.
        UnknownExpectation, ColumnMissing: the suite does not fit the data.
    """

    template_fields: Sequence[str] = ("subject", "expectations", "on_bad_rows", "max_quarantine_fraction")
    template_ext: Sequence[str] = (".json",)
    operator_extra_links = (TaskPageLink(), SnapshotPageLink())
    ui_color = "#fef3c7"
    argument_rules = {
        "subject": rules.record("DatasetSnapshot"),
        "expectations": rules.either(
            "a list of expectations, or the path of a JSON suite", list, str, Mapping, read=_read_suite
        ),
        "on_bad_rows": rules.one_of(*ON_BAD_ROWS),
        "max_quarantine_fraction": rules.number(least=0, most=1),
    }

    def __init__(
        self,
        subject: Any,
        *,
        expectations: Any,
        on_bad_rows: str = "block",
        max_quarantine_fraction: float = 0.05,
        task_id: str = "gate_dataset",
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.subject = plain(subject)
        self.expectations = _as_suite(expectations)
        self.on_bad_rows = on_bad_rows
        self.max_quarantine_fraction = max_quarantine_fraction
        self.check_arguments()

    def run(self, context: Context) -> DatasetSnapshot:
        """Validate, report, and pass the subject on or stop."""
        from airflow_ml.adapters.expectation_suite import load_suite
        from airflow_ml.adapters.great_expectations import GreatExpectationsValidator
        from airflow_ml.core.gate import BLOCK, ERROR, GateReport, count_failed, decide, most_important
        from airflow_ml.core.snapshot import DatasetSnapshot

        subject = parse_as(DatasetSnapshot, self.subject)
        store = self.store()
        rows_file = store.path(subject.artifact)
        try:
            suite = load_suite(_loaded(self.expectations))
            validation = GreatExpectationsValidator().validate(rows_file, suite)
            verdict, reason = decide(
                validation.checks,
                rows=validation.rows,
                bad_rows=len(validation.bad_rows),
                on_bad_rows=self.on_bad_rows,
                max_quarantine_fraction=float(self.max_quarantine_fraction),
            )
        except AirflowMLError as error:
            report = error_report(subject.fingerprint, error, kind="dataset", rows=subject.rows)
            self.push_record(context, REPORT_KEY, report)
            raise
        clean, quarantine = self._split(store, rows_file, subject, validation, passed=verdict not in (BLOCK, ERROR))
        report = GateReport(
            subject=subject.fingerprint,
            kind="dataset",
            verdict=verdict,
            reason=reason,
            checks=most_important(validation.checks),
            checks_run=len(validation.checks),
            checks_failed=count_failed(validation.checks),
            rows=validation.rows,
            quarantined=quarantine.rows or 0 if quarantine else 0,
            quarantine=quarantine,
            report=store.put_bytes(canonical_json(cast(JSON, validation.details)), format="json"),
        )
        self.push_record(context, REPORT_KEY, report)
        log_checks(self.log, validation.checks, report)
        stop_unless_passed(report, "the data")
        parents = (subject.fingerprint, report.fingerprint)
        return replace(subject, artifact=clean, rows=clean.rows or 0, parents=parents)

    def _split(
        self, store: ArtifactStore, rows_file: Path, subject: DatasetSnapshot, validation: Validation, *, passed: bool
    ) -> tuple[Artifact, Artifact | None]:
        """Return the artifact to pass on and the quarantined rows, if any."""
        from airflow_ml.runtime.quarantine import split_rows

        if not validation.bad_rows:
            return subject.artifact, None
        columns = subject.artifact.columns
        with self.scratch() as folder:
            clean_file, bad_file = folder / "clean.parquet", folder / "bad.parquet"
            kept, bad = split_rows(rows_file, validation.bad_rows, clean_file, bad_file)
            quarantine = store.put_file(bad_file, format="parquet", rows=bad, columns=columns)
            if not passed or self.on_bad_rows != "quarantine":
                return subject.artifact, quarantine
            return store.put_file(clean_file, format="parquet", rows=kept, columns=columns), quarantine


def error_report(subject: str, error: AirflowMLError, *, kind: str, rows: int) -> GateReport:
    """Return the report of a gate that could not decide.

    Args:
        subject: Fingerprint of the record under test.
        error: Why it could not.
        kind: ``dataset`` or ``model``.
        rows: Rows that were to be tested.
    """
    from airflow_ml.core.gate import ERROR, GateReport

    return GateReport(subject=subject, kind=kind, verdict=ERROR, reason=str(error), checks=(), rows=rows)


def log_checks(log: Logger, checks: Sequence[CheckResult], report: GateReport) -> None:
    """Log each check with what it observed, and the verdict."""
    for check in checks:
        mark = "ok  " if check.passed else f"FAIL ({check.severity})"
        log.info("%s %s: %s, expected %s", mark, check.name, check.observed, check.expected)
    log.info("Verdict %s: %s", report.verdict, report.reason)


def stop_unless_passed(report: GateReport, what: str) -> None:
    """Raise unless the verdict lets the subject pass.

    Raises:
        GateBlocked: the verdict is ``block``.
        GateErrored: the verdict is ``error``.
    """
    from airflow_ml.core.gate import BLOCK, ERROR

    if report.verdict == BLOCK:
        raise GateBlocked(
            f"The gate blocked {what}", report.reason, "The report (XCom 'report') lists each check and what it saw."
        )
    if report.verdict == ERROR:
        raise GateErrored(f"The gate could not decide on {what}", report.reason, "It stays closed; fix the suite.")


@with_arguments_of(GateDatasetOperator)
def gate_dataset(subject: Any, **kwargs: Any) -> Any:
    """Build a `GateDatasetOperator` from the same arguments and return its output, the snapshot that passed."""
    return GateDatasetOperator(subject=subject, **kwargs).output


def _as_suite(expectations: Any) -> Any:
    """Turn Great Expectations objects into dicts without importing the library (it costs 10 s)."""
    items = getattr(expectations, "expectations", expectations)  # of an ExpectationSuite
    if isinstance(items, list | tuple):
        return [_expectation(item) for item in items]
    return plain(expectations)


def _expectation(item: Any) -> Any:
    configuration = getattr(item, "configuration", None)
    if configuration is not None and hasattr(configuration, "to_json_dict"):
        return configuration.to_json_dict()
    return plain(item)


def _loaded(expectations: Any) -> Any:
    """Return the suite's data; a ``.json`` file arrives as its text."""
    if not isinstance(expectations, str):
        return expectations
    try:
        suite: Mapping[str, Any] | list[Any] = json.loads(expectations)
    except ValueError as error:
        raise ConfigurationError(
            "The expectations are neither a list nor a readable JSON suite",
            repr(expectations[:120]),
            "Give a list of dicts, or the path of a .json file beside the DAG file.",
        ) from error
    return suite
