from __future__ import annotations

import pytest

from airflow_ml.testing.batch.retry import begins_again

RULES = [
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onReason": "OutOfMemory*", "onExitCode": "137", "action": "EXIT"},
    {"onExitCode": "64", "action": "exit"},
]


@pytest.mark.parametrize(
    ("status_reason", "reason", "code", "again"),
    [
        ("Host EC2 (instance i-1) terminated.", "", None, True),
        ("Essential container in task exited", "OutOfMemoryError: killed", 137, False),
        ("Essential container in task exited", "", 137, True),
        ("Essential container in task exited", "", 64, False),
        ("Essential container in task exited", "", 1, True),
    ],
)
def test_the_first_rule_whose_conditions_all_hold_decides(
    status_reason: str, reason: str, code: int | None, again: bool
) -> None:
    strategy = {"attempts": 3, "evaluateOnExit": RULES}
    assert begins_again(strategy, 1, status_reason=status_reason, reason=reason, exit_code=code) is again
    assert not begins_again(strategy, 3, status_reason=status_reason, reason=reason, exit_code=code)


def test_without_a_strategy_there_is_one_attempt() -> None:
    assert not begins_again(None, 1, status_reason="", reason="", exit_code=1)
    assert not begins_again({"attempts": 1}, 1, status_reason="", reason="", exit_code=1)
