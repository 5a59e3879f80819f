"""Jobs on AWS Batch, against the double: each child is a process that runs the far side for real."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from job_parts import batch_profile, calls, ended, job_definition, request_of, until

from airflow_ml.adapters.batch import REQUEST_TAG, BatchJobs
from airflow_ml.adapters.batch_api import CLIENT_SETTINGS, BatchApi
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core import batch_request
from airflow_ml.core.far_side import IndexResult, index_ref
from airflow_ml.core.job import CANCELLED, FAILED, LOST, RUNNING, SUCCEEDED, WAITING, JobHandle, JobRequest
from airflow_ml.core.record import parse_as
from airflow_ml.errors import BackendUnavailable, ConfigurationError, JobConflict
from airflow_ml.testing.batch import BatchDouble, batch_double

_numbers = itertools.count()


@pytest.fixture(scope="module")
def aws() -> Iterator[BatchDouble]:
    with batch_double(slots=6, gpus=0) as double:
        double.make_queue("queue")
        job_definition(double.client())
        yield double


@pytest.fixture
def pauses() -> list[float]:
    return []


def connect(aws: BatchDouble, service: str) -> Any:
    """Return a client as Airflow's connections make it."""
    from botocore.config import Config

    return aws.client(service, config=Config(**CLIENT_SETTINGS))


@pytest.fixture
def backend(aws: BatchDouble, pauses: list[float]) -> Iterator[BatchJobs]:
    yield BatchJobs(BatchApi(partial(connect, aws), deadline_seconds=30.0, sleep=pauses.append))
    aws.faults.clear()


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def asked(folder: Path, store: FolderStore, *numbers: int, profile: dict[str, Any] | None = None, **call: Any) -> Any:
    jobs = calls(folder, store, [{"number": number, **call} for number in numbers])
    return request_of(store, jobs, batch_profile("calls", **(profile or {})), key=f"job-{next(_numbers)}")


def result(store: FolderStore, request: JobRequest, index: int) -> IndexResult | None:
    entry = store.latest(index_ref(request.key, request.epoch, index))
    return parse_as(IndexResult, entry.value) if entry is not None else None


def test_an_array_runs_each_index_and_its_logs_are_read(tmp_path: Path, store: FolderStore, backend: BatchJobs) -> None:
    request = asked(tmp_path, store, 1, 2, 13)
    handle = backend.submit(request)
    assert backend.submit(request) == handle  # adopted
    status = ended(backend, handle)
    assert (status.phase, status.indexes, status.succeeded) == (SUCCEEDED, 3, 3)
    assert [one and one.succeeded for one in (result(store, request, index) for index in range(3))] == [1, 1, 0]
    assert any("working on 2" in line for line in backend.log(handle, 1))
    assert list(backend.log(handle, 7)) == []
    with pytest.raises(JobConflict):
        backend.submit(replace(request, calls=2))


def test_one_index_is_no_array(tmp_path: Path, store: FolderStore, backend: BatchJobs) -> None:
    request = asked(tmp_path, store, 4)
    handle = backend.submit(request)
    assert (ended(backend, handle).phase, handle.place["sizes"]) == (SUCCEEDED, "1")
    assert any("working on 4" in line for line in backend.log(handle, 0))


@pytest.mark.fault("K12")
def test_many_indexes_are_several_arrays_listed_and_described_in_pages(
    tmp_path: Path, store: FolderStore, backend: BatchJobs, aws: BatchDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_request, "MAX_ARRAY", 2)
    request = asked(tmp_path, store, 1, 2, 3, 4, 5)
    aws.faults.throttle("SubmitJob", times=1)
    aws.faults.throttle("Describe*", times=2)
    handle = backend.submit(request)
    assert (len(handle.names), handle.place["sizes"]) == (3, "2,2,1")
    status = ended(backend, handle)
    assert (status.phase, status.indexes, status.succeeded) == (SUCCEEDED, 5, 5)
    assert all(result(store, request, index) for index in range(5))
    assert any("working on 4" in line for line in backend.log(handle, 3))
    assert any("working on 5" in line for line in backend.log(handle, 4))


@pytest.mark.fault("A15")
def test_an_answer_that_is_lost_after_the_job_was_made_makes_no_second_one(
    tmp_path: Path, store: FolderStore, backend: BatchJobs, aws: BatchDouble
) -> None:
    request = asked(tmp_path, store, 1, 2)
    aws.faults.lose_answers("SubmitJob")
    handle = backend.submit(request)
    queue = aws.client("batch").list_jobs(jobQueue="queue", filters=[{"name": "JOB_NAME", "values": ["a-dag-a-task*"]}])
    found = aws.client("batch").describe_jobs(jobs=[job["jobId"] for job in queue["jobSummaryList"]])["jobs"]
    ours = [job["jobId"] for job in found if job["tags"].get(REQUEST_TAG) == request.fingerprint]
    assert ours == list(handle.names)
    assert ended(backend, handle).phase == SUCCEEDED
    aws.faults.fail_requests("SubmitJob", 500, "ServerException", times=2)  # nothing was done: done again
    assert ended(backend, backend.submit(asked(tmp_path, store, 1))).phase == SUCCEEDED


@pytest.mark.fault("K12")
def test_throttling_is_waited_for_and_no_longer_than_the_deadline(
    tmp_path: Path, store: FolderStore, backend: BatchJobs, aws: BatchDouble, pauses: list[float]
) -> None:
    aws.faults.throttle("ListJobs", times=2)
    handle = backend.submit(asked(tmp_path, store, 1))
    assert len(pauses) == 2
    assert max(pauses) <= 15
    hasty = BatchJobs(BatchApi(partial(connect, aws), deadline_seconds=0.0))
    aws.faults.throttle(times=-1)
    with pytest.raises(BackendUnavailable, match="Too Many Requests"):
        hasty.observe(handle)
    aws.faults.clear()
    assert ended(backend, handle).phase == SUCCEEDED


def test_failed_children_say_why_and_a_lost_host_is_no_failure(
    tmp_path: Path, store: FolderStore, backend: BatchJobs, aws: BatchDouble
) -> None:
    request = asked(tmp_path, store, 1, 2, 3)
    broken = replace(request, work=replace(request.work, digest="sha256:" + "0" * 64))
    handle = backend.submit(broken)
    status = ended(backend, handle)
    assert (status.phase, status.failed) == (FAILED, 3)
    assert [(item.index, item.reason, item.exit_code) for item in status.failures] == [
        (index, "bad_input", 64) for index in range(3)
    ]
    aws.faults.reclaim_hosts(times=1, after_seconds=0.1)
    handle = backend.submit(asked(tmp_path, store, 5, seconds=0.5, profile={"retries": 1}))
    assert ended(backend, handle).phase == SUCCEEDED


def test_a_job_that_no_instance_takes_waits_and_then_fails(
    tmp_path: Path, store: FolderStore, backend: BatchJobs
) -> None:
    limit = {"schedule_timeout_seconds": 1}
    handle = backend.submit(asked(tmp_path, store, 1, profile={"gpus": 1, "batch": limit}))
    status = until(backend, handle, lambda status: "RUNNABLE" in status.waiting_for)
    if status.phase == WAITING:
        status = ended(backend, handle)
    assert (status.phase, status.failures[0].reason) == (FAILED, "unschedulable")
    backend.cancel(handle)


def test_what_the_rest_of_a_job_waits_for_is_told_and_is_no_failure() -> None:
    first: Any = {
        "jobId": "a",
        "status": "SUCCEEDED",
        "arrayProperties": {"size": 2, "statusSummary": {"SUCCEEDED": 2}},
    }
    rest: Any = {"jobId": "b", "status": "PENDING", "arrayProperties": {"size": 2, "statusSummary": {"RUNNABLE": 2}}}
    child = {"jobId": "b:0", "status": "RUNNABLE", "statusReason": "MISCONFIGURATION: no network", "createdAt": 1}
    jobs: Any = {job["jobId"]: job for job in (first, rest, child)}

    class Client:
        def describe_jobs(self, jobs: list[str], known: Any = jobs) -> Any:
            return {"jobs": [known[job] for job in jobs if job in known]}

        def list_jobs(self, arrayJobId: str, **_: Any) -> Any:
            return {"jobSummaryList": [child] if arrayJobId == "b" else []}

    backend = BatchJobs(BatchApi(lambda service: Client()))
    handle = JobHandle(kind="batch", names=("a", "b"), epoch=1, place={"sizes": "2,2", "queue": "q"})
    status = backend.observe(handle)
    assert (status.phase, status.succeeded, status.failures) == (RUNNING, 2, ())
    assert status.waiting_for == "RUNNABLE: MISCONFIGURATION: no network"
    del jobs["a"]  # AWS forgets what ended a week ago
    child["status"] = rest["status"] = "RUNNING"
    rest["arrayProperties"] = {"size": 2, "statusSummary": {"RUNNING": 2}}
    assert (backend.observe(handle).phase, backend.observe(handle).active) == (RUNNING, 2)
    rest["status"] = "SUCCEEDED"
    assert backend.observe(handle).phase == LOST  # what has no result is to be run again


def test_cancelled_and_unknown_jobs(tmp_path: Path, store: FolderStore, backend: BatchJobs) -> None:
    request = asked(tmp_path, store, 1, 2, seconds=30)
    handle = backend.submit(request)
    until(backend, handle, lambda status: status.active == 2)
    found = {one.names[0]: tags for one, tags in backend.found("queue")}
    assert found[handle.names[0]]["airflow-ml:key"] == request.key
    backend.cancel(handle)
    backend.cancel(handle)
    assert ended(backend, handle).phase == CANCELLED
    gone = JobHandle(kind="batch", names=("no-such-job",), epoch=1, place=handle.place)
    assert backend.observe(gone).phase == LOST


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queue": "nobody-made-it"}, "Job queue nobody-made-it does not exist"),
        ({"queue": "closed"}, "Job queue closed is in the state DISABLED"),
        ({"job_definition": "nobody-made-it"}, "Job definition nobody-made-it does not exist"),
    ],
)
def test_a_queue_or_definition_that_cannot_be_used_is_an_error_at_once(
    tmp_path: Path, store: FolderStore, backend: BatchJobs, aws: BatchDouble, options: dict[str, str], words: str
) -> None:
    if options.get("queue") == "closed":
        aws.make_queue("closed")
        aws.client().update_job_queue(jobQueue="closed", state="DISABLED")
    jobs = calls(tmp_path, store, [{"number": 1}])
    request = request_of(store, jobs, batch_profile("calls", batch=options), key=f"batch-{next(_numbers)}")
    with pytest.raises(ConfigurationError, match=words):
        backend.submit(request)


def test_what_batch_refuses_is_told_in_its_words(
    tmp_path: Path, store: FolderStore, backend: BatchJobs, aws: BatchDouble
) -> None:
    request = asked(tmp_path, store, 1)
    aws.faults.fail_requests("SubmitJob", 400, "ClientException", "JobQueue queue is not in VALID state")
    with pytest.raises(ConfigurationError, match="not in VALID state"):
        backend.submit(request)
    aws.faults.fail_requests("SubmitJob", 403, "AccessDeniedException", "is not authorized to perform")
    with pytest.raises(BackendUnavailable, match="is not authorized"):
        backend.submit(request)
