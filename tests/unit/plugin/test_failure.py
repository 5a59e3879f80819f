"""Whose failure it is, and what helps: from the words that a task left behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_ml.core.failure import failure_of_exit, job_failed
from airflow_ml.core.failure_table import REASONS
from airflow_ml.core.job import IndexFailure
from airflow_ml.core.provenance import FAILED, SUCCEEDED, Provenance
from airflow_ml.errors import AirflowMLError, GateBlocked, RefConflict
from airflow_ml.plugin.views.failure import failure_of
from airflow_ml.testing.recorded_line import NOW


def attempt(error: str, **more: Any) -> Provenance:
    return Provenance(
        dag="d", run="r", task="t", namespace="prod", operator="MLOperator", airflow_ml="1", python="3.11",
        platform="x", cpu="x", cpus=1, environment="sha256:0", started_at=NOW, ended_at=NOW + timedelta(seconds=1),
        error=error,
        **{"outcome": FAILED, **more},
    )  # fmt: skip


def left(error: AirflowMLError) -> str:
    """The error as an operator leaves it: what no retry cures stands behind Airflow's own exception."""
    words = f"{type(error).__name__}: {error}"
    return words if error.retryable else f"AirflowFailException: {words}"


def test_a_task_that_did_not_fail_has_no_failure() -> None:
    assert failure_of(attempt("", outcome=SUCCEEDED)) is None


@pytest.mark.parametrize(
    ("error", "whose"),
    [
        (GateBlocked("The gate is closed", "3 rows", "Mend the rows."), "user"),
        (RefConflict("x", 1, "Again."), "system"),
    ],
)
def test_an_error_of_ours_has_its_remedy_on_a_line_of_its_own(error: AirflowMLError, whose: str) -> None:
    found = failure_of(attempt(left(error), remedy=error.remedy))
    assert found is not None
    assert (found["error"], found["class"], found["retryable"]) == (type(error).__name__, whose, whose == "system")
    assert found["remedy"] == error.remedy
    assert found["message"] == f"{error.what}: {error.actual}."


def test_a_job_s_failure_names_the_rows_of_the_table() -> None:
    ends = [failure_of_exit(code) for code in (137, 137, 7)]
    failures = [
        IndexFailure(index=at, reason=one.reason, message=one.message, exit_code=one.exit_code)
        for at, one in enumerate(ends)
    ]
    error = job_failed(failures, indexes=3)
    found = failure_of(attempt(left(error), remedy=error.remedy, reasons=error.reasons))
    assert found is not None
    assert [one["name"] for one in found["causes"]] == ["killed", "user_error"]
    assert found["causes"][0]["remedy"] == REASONS["killed"].remedy
    assert found["retryable"], "what was killed may succeed"


def test_a_row_that_this_release_does_not_know_is_left_out() -> None:
    found = failure_of(attempt("JobFailed: x", reasons=("of_tomorrow", "quota")))
    assert found is not None
    assert [one["name"] for one in found["causes"]] == ["quota"]


@pytest.mark.parametrize(
    ("error", "whose", "says"),
    [
        ("AirflowTaskTimeout: Timeout", "system", "execution_timeout"),
        ("ConnectionResetError: peer", "system", "answer"),
        ("MemoryError", "system", "memory"),
        ("ValueError: x", "user", ""),
        ("SomethingElse: x", "unknown", ""),
    ],
)
def test_errors_of_others(error: str, whose: str, says: str) -> None:
    found = failure_of(attempt(error))
    assert found is not None
    assert found["class"] == whose
    assert says in found["remedy"]
