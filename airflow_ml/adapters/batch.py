"""Jobs on AWS Batch: a job for one index, an array for up to 10,000, several arrays above.

An observation is one ``DescribeJobs`` for all arrays together while all goes well; children are listed only where some
have failed, or where none runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from airflow_ml.adapters.batch_api import BatchApi
from airflow_ml.adapters.kept_answers import KeptAnswers
from airflow_ml.core.batch_failure import (
    CANCELLED as CANCELLED_BY_US,
)
from airflow_ml.core.batch_failure import (
    batch_failure,
    batch_waited_too_long,
    batch_waiting,
)
from airflow_ml.core.batch_options import BatchOptions
from airflow_ml.core.batch_request import batch_options, batch_requests
from airflow_ml.core.compute_choice import BATCH
from airflow_ml.core.failure import Failure, index_failure
from airflow_ml.core.job import (
    CANCELLED,
    FAILED,
    LOST,
    MAX_FAILURES,
    RUNNING,
    SUCCEEDED,
    WAITING,
    IndexFailure,
    JobHandle,
    JobRequest,
    JobStatus,
)
from airflow_ml.core.record import JSON
from airflow_ml.errors import AirflowMLError, JobConflict

#: Where Batch writes logs unless the job definition says otherwise.
LOG_GROUP = "/aws/batch/job"
REQUEST_TAG = "airflow-ml:request"
_RUNS, _ENDS = ("STARTING", "RUNNING"), ("SUCCEEDED", "FAILED")


class BatchJobs:
    """A ``JobBackend`` on AWS Batch.

    Args:
        api: The connection.
        conn_id, region: Its name, put into handles so that another process opens the same one; an empty region is the
            connection's own.
    """

    def __init__(self, api: BatchApi, *, conn_id: str = "aws_default", region: str = "") -> None:
        self.api = api
        self._conn_id = conn_id
        self._region = region
        self._explained: KeptAnswers[tuple[IndexFailure, ...]] = KeptAnswers()

    def render(self, request: JobRequest) -> Mapping[str, JSON]:
        """Return the arguments of each ``SubmitJob``."""
        return {"submit_job": list(batch_requests(request))}

    def submit(self, request: JobRequest) -> JobHandle:
        """Submit each array that is not there yet.

        Raises:
            JobConflict: a job of that name is not of this request.
            ConfigurationError: Batch finds the request invalid.
            BackendUnavailable: it cannot be reached, or refuses.
        """
        options = batch_options(request.profile)
        ids, sizes = [], []
        for submission in batch_requests(request):
            arguments: dict[str, Any] = dict(submission)
            ids.append(self._submit(arguments, request))
            sizes.append(int(arguments.get("arrayProperties", {}).get("size", 1)))
        return JobHandle(
            kind=BATCH,
            names=tuple(ids),
            epoch=request.epoch,
            place={
                "conn_id": self._conn_id,
                "region": options.region or "",
                "queue": options.queue,
                "sizes": ",".join(map(str, sizes)),
                "schedule_timeout_seconds": str(options.schedule_timeout_seconds),
            },
        )

    def observe(self, handle: JobHandle) -> JobStatus:
        """Return what is known now.

        Raises:
            BackendUnavailable: nothing is known.
        """
        found = self.api.describe(handle.names)
        sizes = _sizes(handle)
        gone = [name for name in handle.names if name not in found]
        ended = all(job["status"] in _ENDS for job in found.values())
        if gone and ended:  # while others run, what is gone ended before them: AWS keeps it for a week
            return JobStatus(phase=LOST, indexes=sum(sizes), waiting_for=f"nobody knows job {gone[0]} any more")
        counts = [_counts(found[name]) if name in found else {} for name in handle.names]
        succeeded, failed = (sum(count.get(status, 0) for count in counts) for status in ("SUCCEEDED", "FAILED"))
        active = sum(count.get(status, 0) for count in counts for status in _RUNS)
        failures: list[IndexFailure] = []
        for name, first, count in zip(handle.names, _firsts(sizes), counts, strict=True):
            if count.get("FAILED"):
                failures += self._why_failed(found[name], first, count["FAILED"])
        waiting_for = ""
        if ended:
            phase = FAILED if failed else SUCCEEDED
            if failed and all(item.reason == "cancelled" for item in failures):
                phase = CANCELLED
        else:
            late, waiting_for = self._why_waiting(handle, found) if not active else (None, "")
            phase = RUNNING if active or succeeded or failed else WAITING
            if late is not None and phase == WAITING:  # how long the rest of a job that has begun waits is not known
                phase = FAILED
                failures.append(index_failure(late, 0))
        return JobStatus(
            phase=phase,
            indexes=sum(sizes),
            active=active,
            succeeded=succeeded,
            failed=failed,
            waiting_for=waiting_for,
            failures=tuple(failures[-MAX_FAILURES:]),
        )

    def log(self, handle: JobHandle, index: int, *, tail_lines: int = 200) -> Iterator[str]:
        """Yield the last lines of an index's newest attempt; nothing where they are gone."""
        try:
            child = _child(handle, index)
            container = self.api.describe([child])[child].get("container") or {}
            stream = container.get("logStreamName")
            if not stream:
                return
            options = (container.get("logConfiguration") or {}).get("options") or {}
            answer = self.api.call(
                "get_log_events",
                service="logs",
                logGroupName=options.get("awslogs-group", LOG_GROUP),
                logStreamName=stream,
                limit=min(10_000, tail_lines),
                startFromHead=False,
            )
            lines = [str(event["message"]) for event in answer["events"]]
        except (AirflowMLError, KeyError, IndexError, ValueError, TypeError):
            return
        yield from lines[-tail_lines:]

    def cancel(self, handle: JobHandle) -> None:
        """End the arrays and all their children. Job ids are never given twice, so nothing else can be meant.

        Raises:
            BackendUnavailable: it cannot be reached, or refuses.
        """
        for name in handle.names:
            self.api.call("terminate_job", jobId=name, reason=f"{CANCELLED_BY_US} by its task, epoch {handle.epoch}")

    def found(self, queue: str) -> Iterator[tuple[JobHandle, Mapping[str, str]]]:
        """Yield all jobs of airflow_ml in a queue that have not ended, with their tags, one handle for each array.

        Raises:
            BackendUnavailable: it cannot be reached, or refuses.
        """
        live = [
            str(item["jobId"])
            for status in ("SUBMITTED", "PENDING", "RUNNABLE", *_RUNS)
            for item in self.api.listed(jobQueue=queue, jobStatus=status)
        ]
        for name, job in self.api.describe(list(dict.fromkeys(live))).items():
            tags = {str(key): str(value) for key, value in (job.get("tags") or {}).items()}
            if REQUEST_TAG in tags:
                size = (job.get("arrayProperties") or {}).get("size", 1)
                place = {"conn_id": self._conn_id, "region": self._region, "queue": queue, "sizes": str(size)}
                epoch = int(tags.get("airflow-ml:epoch", 0))
                yield JobHandle(kind=BATCH, names=(name,), epoch=epoch, place=place), tags

    def _submit(self, submission: Mapping[str, Any], request: JobRequest) -> str:
        there = self._there(submission, request)
        if there is None:
            there = self.api.call("submit_job", done=lambda: self._there(submission, request), **submission)
        return str(there["jobId"])

    def _there(self, submission: Mapping[str, Any], request: JobRequest) -> Mapping[str, Any] | None:
        """Return the job that this request submitted before, if any."""
        named = [{"name": "JOB_NAME", "values": [submission["jobName"]]}]
        ids = [str(item["jobId"]) for item in self.api.listed(jobQueue=submission["jobQueue"], filters=named)]
        for name, job in self.api.describe(ids).items():
            found = (job.get("tags") or {}).get(REQUEST_TAG)
            if job.get("jobName") != submission["jobName"]:
                continue
            if found != request.fingerprint:
                raise JobConflict(
                    f"Another job has the name {submission['jobName']}", f"{name}, request {found}", "Terminate it."
                )
            return job
        return None

    def _why_failed(self, job: Mapping[str, Any], first: int, failed: int) -> tuple[IndexFailure, ...]:
        """Return why children failed; asked again only where there are more of them."""
        return self._explained.get(str(job["jobId"]), failed, lambda: self._explain(job, first))

    def _explain(self, job: Mapping[str, Any], first: int) -> tuple[IndexFailure, ...]:
        name = str(job["jobId"])
        if "arrayProperties" in job and "size" in job["arrayProperties"]:
            children = self.api.listed(arrayJobId=name, jobStatus="FAILED", limit=MAX_FAILURES)
            described = self.api.describe([str(item["jobId"]) for item in children])
        else:
            described = {name: job}
        told = []
        for child, what in described.items():
            index = first + int((what.get("arrayProperties") or {}).get("index", 0))
            told.append(index_failure(batch_failure(what) or _UNKNOWN, index, child))
        return tuple(sorted(told, key=lambda item: item.index))

    def _why_waiting(self, handle: JobHandle, found: Mapping[str, Mapping[str, Any]]) -> tuple[Failure | None, str]:
        job = next(job for job in found.values() if job["status"] not in _ENDS)
        if "size" in (job.get("arrayProperties") or {}):  # the array itself only waits for its children
            some = list(self.api.listed(arrayJobId=job["jobId"], jobStatus="RUNNABLE", maxResults=1, limit=1))
            job = self.api.describe([str(some[0]["jobId"])]).get(str(some[0]["jobId"]), job) if some else job
        waiting = batch_waiting(job)
        if waiting is None:
            return None, ""
        seconds = float(handle.place.get("schedule_timeout_seconds", 3600.0))
        options = BatchOptions(queue="-", job_definition="-", schedule_timeout_seconds=seconds)
        return batch_waited_too_long(waiting, options, datetime.now(UTC)), waiting.message


_UNKNOWN = Failure(reason="lost", message="it failed and AWS says nothing of it")


def _counts(job: Mapping[str, Any]) -> Mapping[str, int]:
    """Return how many children are in which status; a job that is no array is its only child."""
    summary = (job.get("arrayProperties") or {}).get("statusSummary")
    return summary if summary else {str(job["status"]): 1}


def _sizes(handle: JobHandle) -> list[int]:
    return [int(size) for size in handle.place["sizes"].split(",")]


def _firsts(sizes: list[int]) -> list[int]:
    return [sum(sizes[:number]) for number in range(len(sizes))]


def _child(handle: JobHandle, index: int) -> str:
    sizes = _sizes(handle)
    for name, first, size in zip(handle.names, _firsts(sizes), sizes, strict=True):
        if first <= index < first + size:
            return name if size == 1 else f"{name}:{index - first}"
    raise IndexError(index)
