"""One attempt at a remote job, as it stands in the store: who leads it, what it runs, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from airflow_ml.core.job import IndexFailure, JobHandle, JobRequest
from airflow_ml.core.record import Record

#: ``submitting``: written before the backend is asked. ``submitted``: it runs, or has ended and nobody has looked.
#: ``ended``: by itself, with or without all results. ``cancelled``: by whoever leads it, or by the reaper.
SUBMITTING, SUBMITTED, ENDED, CANCELLED = "submitting", "submitted", "ended", "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAttempt(Record):
    """The newest entry of a job's ref is the attempt that counts; whoever holds an older one may change nothing.

    A retry of the same task goes on with a job that still runs: same epoch, next claim. A clear, or other work, begins
    a new epoch. A retry after an end begins a new epoch with what has no success yet.
    """

    key: str
    epoch: int
    #: Raised by each task attempt that takes the job over.
    claim: int
    state: str
    #: What one clear of the task has in common with its retries.
    generation: str
    #: Digest of all the work, done or not: other work is another job.
    what: str
    #: Lines of all the work that this epoch runs, as ``0-4,7``; the request's lines are these, in this order.
    lines: str
    request: JobRequest
    handle: JobHandle | None = None
    #: Whoever leads it renews this; long after it, the reaper ends the job.
    lease_expires_at: datetime | None = None
    reason: str = ""
    failures: tuple[IndexFailure, ...] = ()

    @property
    def live(self) -> bool:
        """Whether something may be running."""
        return self.state in (SUBMITTING, SUBMITTED)


def write_ranges(numbers: Iterable[int]) -> str:
    """Return ascending numbers as ``0-4,7``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def read_ranges(text: str) -> list[int]:
    """Return the numbers of a text like ``0-4,7``; none for an empty one.

    Raises:
        ValueError: it is no such text.
    """
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found
