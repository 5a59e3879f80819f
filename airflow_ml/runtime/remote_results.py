"""What the far sides of a remote job left in the store: results by line of all the work, and why lines have none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_ml.core.far_side import IndexResult, index_ref, job_ref
from airflow_ml.core.job import CANCELLED, FAILED, MAX_FAILURES, SUCCEEDED, IndexFailure, JobStatus
from airflow_ml.core.job_attempt import JobAttempt, read_ranges
from airflow_ml.core.record import parse_as
from airflow_ml.runtime.call import CallJob, call_ref

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore

_READERS = 16
#: Stands for a result that is too large for the index's record: the call's own ref has it.
IN_ITS_REF: dict[str, Any] = {"record": "CallResult", "status": "succeeded", "in_ref": True}


def results_of(store: ArtifactStore, attempt: JobAttempt) -> dict[int, Any]:
    """Return the results of all epochs of an attempt's generation in wire form, by line of all the work.

    The result that an index wrote last of all counts, whatever became of its pod; of two epochs the newer one's.
    """
    found: dict[int, Any] = {}
    for earlier in epochs_of(store, attempt):
        lines = read_ranges(earlier.lines)
        size = max(1, earlier.request.profile.calls_per_index)
        for result in _index_results(store, earlier):
            for line, wire in zip(lines[result.index * size :], result.results, strict=False):
                found[line] = wire if wire is not None else IN_ITS_REF
    return found


def epochs_of(store: ArtifactStore, attempt: JobAttempt) -> list[JobAttempt]:
    """Return the newest entry of each epoch with the same work and generation, oldest first."""
    found: dict[int, JobAttempt] = {}
    for entry in store.history(job_ref(attempt.key)):
        item = parse_as(JobAttempt, entry.value)
        if (item.what, item.generation) == (attempt.what, attempt.generation) and item.epoch <= attempt.epoch:
            found[item.epoch] = item
    return [found[epoch] for epoch in sorted(found)]


def is_success(wire: Any) -> bool:
    """Whether a line's result needs no other try."""
    if not wire:
        return False
    if wire["record"] == "ShardOutcome":
        return not wire["stopped"]
    return bool(wire["status"] == "succeeded")


def whole(wire: Any, job: CallJob, store: ArtifactStore) -> Any:
    """Return a call's result in wire form, from its own ref where the index's record had no room for it."""
    if wire is not IN_ITS_REF:
        return wire
    newest = store.latest(call_ref(job.call))
    return dict(newest.value) if newest is not None else None


#: Reasons for which a whole job is given up while it waits.
_HELD_UP = frozenset(("unschedulable", "quota", "refused", "image_pull", "start_error"))


def without_results(status: JobStatus, missing: Sequence[int], size: int) -> tuple[IndexFailure, ...]:
    """Return why lines have no result: what the backend says of their indexes, or that it says they ended well.

    Args:
        status: The last look.
        missing: Lines of this epoch's work without a result.
        size: Calls of one index.
    """
    indexes = dict.fromkeys(line // size for line in missing)
    told = {item.index: item for item in status.failures}
    known = [told[index] for index in indexes if index in told] or list(status.failures)
    untold = [index for index in indexes if index not in told]
    if status.phase == FAILED:  # a backend tells the newest failures only, and others are like them
        untold = untold[max(0, status.failed - len(told)) :]
    reason, words = _untold(status)
    return tuple(
        [*known, *(IndexFailure(index=index, reason=reason, message=words) for index in untold)][:MAX_FAILURES]
    )


def _untold(status: JobStatus) -> tuple[str, str]:
    """Return why indexes have no result of which a backend says nothing: a reason, and words."""
    if status.phase == FAILED and status.failures:
        held = [one for one in status.failures if one.reason in _HELD_UP]
        if held:  # it was given up for all that had not begun
            return held[-1].reason, held[-1].message
        return CANCELLED, "not begun, or not ended, when the job failed for others"
    if status.phase == SUCCEEDED and 0 < status.succeeded < status.indexes:
        return CANCELLED, "not ended when enough others had succeeded (success_fraction of the profile)"
    words = status.waiting_for or f"the job {status.phase}, and the store has no result of it"
    return {SUCCEEDED: "no_result", CANCELLED: CANCELLED}.get(status.phase, "lost"), words


def with_peak(
    failures: tuple[IndexFailure, ...], store: ArtifactStore, attempt: JobAttempt
) -> tuple[IndexFailure, ...]:
    """Return failures; those for memory with the most that an index of the job is known to have taken.

    An index that is killed cannot tell its own peak, but those that went well say how much others may need.
    """
    if not any(one.reason == "out_of_memory" for one in failures):
        return failures
    most = max((result.peak_memory_bytes for result in _index_results(store, attempt)), default=0)
    if not most:
        return failures
    words = f"; the most that an index that ended took is {most / 2**30:.2f} GiB"
    return tuple(
        replace(one, message=one.message + words) if one.reason == "out_of_memory" else one for one in failures
    )


def _index_results(store: ArtifactStore, attempt: JobAttempt) -> Iterator[IndexResult]:
    request = attempt.request
    refs = [index_ref(request.key, request.epoch, index) for index in range(request.indexes)]
    if store.uri.startswith("file:"):
        entries = [store.latest(ref) for ref in refs]
    else:
        with ThreadPoolExecutor(_READERS) as pool:
            entries = list(pool.map(store.latest, refs))
    return (parse_as(IndexResult, entry.value) for entry in entries if entry is not None)
