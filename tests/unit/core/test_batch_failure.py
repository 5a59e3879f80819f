"""Jobs as DescribeJobs describes them, each with the row of the failure table that it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_ml.core.batch_failure import CANCELLED, batch_failure, batch_waited_too_long, batch_waiting
from airflow_ml.core.batch_options import BatchOptions

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


def failed(status_reason: str = "Essential container in task exited", **container: Any) -> dict[str, Any]:
    limits = [{"type": "VCPU", "value": "4"}, {"type": "MEMORY", "value": "16384"}]
    return {
        "status": "FAILED",
        "statusReason": status_reason,
        "container": {"resourceRequirements": limits, **container},
    }


ENDED = [
    (failed(exitCode=1), "user_error", "exit code 1"),
    (failed(exitCode=64), "bad_input", "exit code 64"),
    (
        failed(exitCode=137, reason="OutOfMemoryError: Container killed due to memory usage"),
        "out_of_memory",
        "its limit is 16384Mi",
    ),
    (failed("Host EC2 (instance i-0abc) terminated."), "preempted", "i-0abc"),
    (failed("Your Spot Task was interrupted."), "preempted", "Spot"),
    (
        failed(
            "Task failed to start", reason="CannotPullContainerError: pull image manifest has been retried 5 time(s)"
        ),
        "image_pull",
        "retried 5 time(s)",
    ),
    (
        failed("Task failed to start", reason="ResourceInitializationError: unable to pull secrets"),
        "start_error",
        "secrets",
    ),
    (failed("Job attempt duration exceeded timeout", exitCode=137), "timeout", "exceeded timeout"),
    (failed(f"{CANCELLED} by a clear of the task"), "cancelled", "by a clear"),
    (failed("MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT - The job needs more"), "unschedulable", "The job needs more"),
    (failed(exitCode=137), "killed", "signal 9"),
    ({"status": "FAILED", "statusReason": "Gone"}, "lost", "Gone"),
    (
        {"status": "FAILED", "attempts": [{"container": {"exitCode": 1}}, {"container": {"exitCode": 69}}]},
        "wrong_platform",
        "exit code 69",
    ),
]


@pytest.mark.parametrize(("described", "reason", "words"), ENDED, ids=[f"{row[1]}: {row[2]}" for row in ENDED])
def test_ended(described: dict[str, Any], reason: str, words: str) -> None:
    found = batch_failure(described)
    assert found is not None
    assert found.reason == reason
    assert words in found.message


@pytest.mark.parametrize("status", ["SUBMITTED", "RUNNABLE", "RUNNING", "SUCCEEDED"])
def test_not_failed(status: str) -> None:
    assert batch_failure({"status": status, "container": {"exitCode": 0}}) is None


def test_waiting_for_an_instance() -> None:
    created = int(NOW.timestamp() * 1000)
    words = "CAPACITY:INSUFFICIENT_INSTANCE_CAPACITY - the service cannot fulfill the capacity"
    waiting = batch_waiting({"status": "RUNNABLE", "statusReason": words, "createdAt": created})
    assert waiting is not None
    assert waiting.message == f"RUNNABLE: {words}"
    options = BatchOptions(queue="q", job_definition="d", schedule_timeout_seconds=60)
    assert batch_waited_too_long(waiting, options, NOW + timedelta(seconds=59)) is None
    failure = batch_waited_too_long(waiting, options, NOW + timedelta(seconds=60))
    assert failure is not None
    assert failure.reason == "unschedulable"


def test_on_its_way_or_running() -> None:
    waiting = batch_waiting({"status": "SUBMITTED"})
    assert waiting is not None
    assert (waiting.reason, waiting.message) == ("", "SUBMITTED: no instance has taken it yet")
    assert batch_waited_too_long(waiting, BatchOptions(queue="q", job_definition="d"), NOW) is None
    assert batch_waiting({"status": "RUNNING"}) is None
