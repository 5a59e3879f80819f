"""The failure table, and how ends of processes become rows of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_ml.core import far_side
from airflow_ml.core.failure import Failure, can_succeed, failure_of_exit, job_failed, out_of_memory, summary
from airflow_ml.core.failure_table import REASONS
from airflow_ml.core.job import IndexFailure

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "failures.md"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, "user_error"),
        (2, "user_error"),
        (far_side.BAD_INPUT, "bad_input"),
        (far_side.WRONG_PLATFORM, "wrong_platform"),
        (far_side.FAILED, "runtime_error"),
        (far_side.TRY_AGAIN, "store_away"),
        (far_side.STOPPED, "stopped"),
        (127, "start_error"),
        (135, "shared_memory"),
        (137, "killed"),
        (139, "user_error"),
    ],
)
def test_exit_codes(code: int, reason: str) -> None:
    found = failure_of_exit(code, "last words")
    assert (found.reason, found.exit_code) == (reason, code)
    assert found.message.startswith(f"exit code {code}")
    assert found.message.endswith(": last words")


def test_a_signal_is_named() -> None:
    assert failure_of_exit(139).message == "exit code 139 (signal 11)"


def test_the_peak_is_told_where_it_is_known() -> None:
    assert out_of_memory("8192Mi", 9 * 2**30).message == (
        "killed for its memory: its limit is 8192Mi, its peak was 9.00 GiB"
    )
    assert out_of_memory().message == "killed for its memory"


def failures(*reasons: str) -> list[IndexFailure]:
    return [IndexFailure(index=at + 3, reason=reason, message=f"m{at}") for at, reason in enumerate(reasons)]


def test_a_job_in_one_line() -> None:
    assert summary(failures("evicted", "user_error", "user_error"), indexes=200) == (
        "3 of 200 indexes (2 user_error, 1 evicted); index 4: m1"
    )
    assert summary(failures("image_pull"), indexes=1) == "image_pull: m0"
    assert summary(failures("evicted", "evicted"), indexes=200, failed=150) == (
        "150 of 200 indexes (of 2 that are known 2 evicted); index 3: m0"
    )


def test_the_error_says_what_can_be_done() -> None:
    error = job_failed(failures("out_of_memory", "out_of_memory", "evicted"), indexes=3)
    assert str(error) == (
        "A remote job failed: 3 of 3 indexes (2 out_of_memory, 1 evicted); index 3: m0. Raise memory_gib of the "
        "profile, or set max_memory_gib and retry_policy=GpuRetryPolicy(). Nothing: it is begun again."
    )
    assert error.reasons == ("out_of_memory", "evicted")
    assert error.retryable


def test_what_can_succeed() -> None:
    assert not can_succeed(["user_error", "out_of_memory"])
    assert can_succeed(["user_error", "out_of_memory"], may_grow=True)
    assert can_succeed(["user_error", "evicted"])


def test_every_row_says_enough() -> None:
    for name, row in REASONS.items():
        assert row.name == name
        assert row.remedy.endswith(".")
        assert not row.disruption or row.retryable
        assert Failure(reason=name, message="").row is row


def test_the_reference_is_the_table() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    expected = [
        f"| `{row.name}` | {row.meaning} | {'yes' if row.retryable else 'no'} | {row.remedy} |"
        for row in REASONS.values()
    ]
    assert rows == expected, "\n".join(expected)
