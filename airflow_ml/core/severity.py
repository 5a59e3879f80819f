"""How much an expectation or a model check weighs, and what may follow where rows break one."""

from __future__ import annotations

#: Critical ones block, warnings warn, the others are only reported.
CRITICAL, WARNING, INFO = "critical", "warning", "info"
SEVERITIES = (CRITICAL, WARNING, INFO)
#: What to do with rows that break a critical row-level rule.
ON_BAD_ROWS = ("block", "quarantine", "warn")
