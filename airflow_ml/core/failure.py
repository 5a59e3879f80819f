"""Why one index, or a whole job, ended without success: a row of the failure table and what the platform said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from airflow_ml.core import far_side
from airflow_ml.core.failure_table import REASONS, Reason
from airflow_ml.core.job import IndexFailure
from airflow_ml.errors import JobFailed

_BY_CODE = {
    far_side.BAD_INPUT: "bad_input",
    far_side.WRONG_PLATFORM: "wrong_platform",
    far_side.FAILED: "runtime_error",
    far_side.TRY_AGAIN: "store_away",
    far_side.STOPPED: "stopped",
    124: "timeout",
    126: "start_error",
    127: "start_error",
    128 + 7: "shared_memory",  # SIGBUS: a page of /dev/shm that is not there
    128 + 9: "killed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why one index, pod or job ended without success."""

    #: Name of a row.
    reason: str
    #: In the platform's own words.
    message: str
    exit_code: int | None = None

    @property
    def row(self) -> Reason:
        """The row of the table."""
        return REASONS[self.reason]


def index_failure(found: Failure, index: int, name: str = "") -> IndexFailure:
    """Return a failure as that of one index; ``name`` is its pod's or child's."""
    return IndexFailure(index=index, reason=found.reason, message=found.message, exit_code=found.exit_code, name=name)


def failure_of_exit(code: int, said: str = "") -> Failure:
    """Classify the end of a process by its exit code.

    Args:
        code: Not 0. Above 128 it is 128 and the number of a signal; a shell's convention, and the container runtimes'.
        said: What else is known, such as the last line of the log.
    """
    reason = _BY_CODE.get(code, "user_error")
    message = f"exit code {code}" + (f" (signal {code - 128})" if 128 < code < 160 and code != far_side.STOPPED else "")
    return Failure(reason=reason, message=f"{message}: {said}" if said else message, exit_code=code)


def out_of_memory(limit: str = "", peak_memory_bytes: int | None = None) -> Failure:
    """Return the failure of a process that was killed for its memory.

    Args:
        limit: As the platform writes it, for example ``8192Mi``.
        peak_memory_bytes: The most that it was seen to have, where somebody looked.
    """
    parts = [f"its limit is {limit}"] if limit else []
    if peak_memory_bytes:
        parts.append(f"its peak was {peak_memory_bytes / 2**30:.2f} GiB")
    message = "killed for its memory" + (f": {', '.join(parts)}" if parts else "")
    return Failure(reason="out_of_memory", message=message, exit_code=137)


def summary(failures: Sequence[IndexFailure], *, indexes: int, failed: int = 0) -> str:
    """Return what failed, in a line: how many by reason, and the first message of the most frequent one.

    Args:
        failures: Those that are known; a backend keeps the newest 100.
        indexes: All indexes of the job.
        failed: How many failed, where these may be more than are known.
    """
    counts = Counter(one.reason for one in failures).most_common()
    first = next(one for one in failures if one.reason == counts[0][0])
    by_reason = ", ".join(f"{number} {reason}" for reason, number in counts)
    if indexes == 1:
        return f"{first.reason}: {first.message}"
    if failed > len(failures):
        by_reason = f"of {len(failures)} that are known {by_reason}"
    return f"{max(failed, len(failures))} of {indexes} indexes ({by_reason}); index {first.index}: {first.message}"


def job_failed(failures: Sequence[IndexFailure], *, indexes: int, failed: int = 0, may_grow: bool = False) -> JobFailed:
    """Return the error of a job with failed indexes: what failed, and the remedies of its reasons.

    Args:
        failures: At least one.
        indexes: All indexes of the job.
        failed: How many failed, where these may be more than are known.
        may_grow: Whether the next try may have more memory.
    """
    reasons = [name for name, _ in Counter(one.reason for one in failures).most_common()]
    remedies = dict.fromkeys(REASONS[name].remedy for name in reasons[:2])
    return JobFailed(
        "A remote job failed", summary(failures, indexes=indexes, failed=failed), " ".join(remedies), reasons=reasons,
        retryable=can_succeed(reasons, may_grow=may_grow), may_grow=may_grow,
    )  # fmt: skip


def can_succeed(reasons: Iterable[str], *, may_grow: bool = False) -> bool:
    """Return whether trying again, unchanged but for more memory where that is allowed, can give a result more."""
    return any(REASONS[name].retryable or (may_grow and name == "out_of_memory") for name in reasons)
