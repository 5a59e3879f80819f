"""Stage 2, gate: data and models that do not pass go no further."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import JSON, Record

#: Verdicts, from best to worst. ``error`` is the gate's own failure; the line stops there too.
PASS, WARN, BLOCK, ERROR = "pass", "warn", "block", "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One expectation or model check and what it found."""

    name: str
    #: ``critical`` blocks, ``warning`` warns, ``info`` is only told.
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
    checks: tuple[CheckResult, ...]
    #: Rows tested, and rows taken out because they break a row-level rule.
    rows: int
    quarantined: int = 0
    quarantine: Artifact | None = None
    #: The whole result as JSON, for people and the UI.
    report: Artifact | None = None
