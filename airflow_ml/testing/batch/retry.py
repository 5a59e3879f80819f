"""When AWS Batch begins an attempt again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SUBMITTED, PENDING, RUNNABLE, STARTING, RUNNING = "SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"
SUCCEEDED, FAILED = "SUCCEEDED", "FAILED"
STATUSES = (SUBMITTED, PENDING, RUNNABLE, STARTING, RUNNING, SUCCEEDED, FAILED)


def begins_again(
    strategy: Mapping[str, Any] | None, attempts: int, *, status_reason: str, reason: str, exit_code: int | None
) -> bool:
    """Tell whether a failed attempt is followed by another.

    The rules of ``evaluateOnExit`` are tried in order, all conditions of one must hold, and patterns may end with a
    ``*``; where none matches, the job is retried, as the service does.
    """
    if not strategy or attempts >= int(strategy.get("attempts") or 1):
        return False
    known = {
        "onStatusReason": status_reason,
        "onReason": reason,
        "onExitCode": "" if exit_code is None else str(exit_code),
    }
    for rule in strategy.get("evaluateOnExit") or []:
        if all(_matches(rule[name], value) for name, value in known.items() if rule.get(name)):
            return str(rule["action"]).upper() == "RETRY"
    return True


def _matches(pattern: str, text: str) -> bool:
    pattern, text = pattern.lower(), text.lower()
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern
