from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from airflow_ml.testing.batch import BatchDouble, batch_double

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def running() -> Iterator[BatchDouble]:
    with batch_double(slots=6, gpus=1) as double:
        double.make_queue("queue")
        yield double


@pytest.fixture
def double(running: BatchDouble) -> Iterator[BatchDouble]:
    yield running
    running.faults.clear()


@pytest.fixture
def batch(double: BatchDouble) -> Any:
    return double.client("batch")


def submit(batch: Any, script: str, *, size: int = 0, name: str = "calls", **settings: Any) -> str:
    container = {"image": settings.pop("image", "python:3.11"), "command": ["sh", "-c", script]}
    needs = {"VCPU": "1", "MEMORY": "512", **settings.pop("needs", {})}
    container["resourceRequirements"] = [{"type": kind, "value": value} for kind, value in needs.items()]
    container["environment"] = [{"name": "OF_THE_DEFINITION", "value": "1"}]
    definition = batch.register_job_definition(
        jobDefinitionName=name,
        type="container",
        containerProperties=container,
        **({"retryStrategy": settings.pop("retry")} if "retry" in settings else {}),
    )
    arrays = {"arrayProperties": {"size": size}} if size else {}
    made = batch.submit_job(
        jobName=name, jobQueue="queue", jobDefinition=definition["jobDefinitionArn"], **arrays, **settings
    )
    return str(made["jobId"])


def until(look: Callable[[], Any], seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing after {seconds} s"
        time.sleep(0.05)
    return found


def described(batch: Any, job: str) -> dict[str, Any]:
    found: dict[str, Any] = batch.describe_jobs(jobs=[job])["jobs"][0]
    return found


def ended(batch: Any, job: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = described(batch, job)
        return found if found["status"] in ("SUCCEEDED", "FAILED") else None

    result: dict[str, Any] = until(look)
    return result


def lines(double: BatchDouble, stream: str) -> list[str]:
    events = double.client("logs").get_log_events(logGroupName="/aws/batch/job", logStreamName=stream)["events"]
    return [event["message"] for event in events]


def test_a_job_runs_its_command_in_the_environment_of_batch(double: BatchDouble, batch: Any) -> None:
    overrides = {"environment": [{"name": "OF_THE_JOB", "value": "2"}]}
    script = "echo $OF_THE_DEFINITION$OF_THE_JOB $AWS_BATCH_JOB_ID $AWS_BATCH_JOB_ATTEMPT; exit 3"
    job = ended(batch, submit(batch, script, containerOverrides=overrides))
    assert job["status"] == "FAILED"
    assert job["container"]["exitCode"] == 3
    assert job["statusReason"] == "Essential container in task exited"
    assert lines(double, job["container"]["logStreamName"]) == [f"12 {job['jobId']} 1"]


def test_each_child_of_an_array_gets_its_index(double: BatchDouble, batch: Any) -> None:
    job = submit(batch, "echo index $AWS_BATCH_JOB_ARRAY_INDEX; test $AWS_BATCH_JOB_ARRAY_INDEX != 2", size=4)
    parent = ended(batch, job)
    assert parent["status"] == "FAILED"
    summary = {name: count for name, count in parent["arrayProperties"]["statusSummary"].items() if count}
    assert summary == {"SUCCEEDED": 3, "FAILED": 1}
    failed = batch.list_jobs(arrayJobId=job, jobStatus="FAILED")["jobSummaryList"]
    assert [one["arrayProperties"]["index"] for one in failed] == [2]
    child = described(batch, f"{job}:2")
    assert child["container"]["exitCode"] == 1
    assert lines(double, child["container"]["logStreamName"]) == ["index 2"]


def test_children_are_listed_in_pages_and_running_ones_unless_told(batch: Any) -> None:
    job = submit(batch, "true", size=7)
    ended(batch, job)
    assert batch.list_jobs(arrayJobId=job)["jobSummaryList"] == []
    pages = list(
        batch.get_paginator("list_jobs").paginate(
            arrayJobId=job, jobStatus="SUCCEEDED", PaginationConfig={"PageSize": 3}
        )
    )
    assert [len(page["jobSummaryList"]) for page in pages] == [3, 3, 1]


def test_a_retry_by_the_exit_code(batch: Any, tmp_path: Path) -> None:
    script = f"mkdir {tmp_path}/$AWS_BATCH_JOB_ARRAY_INDEX 2>/dev/null && exit 75; exit 0"
    rules = [{"onExitCode": "75", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
    retry = {"attempts": 3, "evaluateOnExit": rules}
    job = submit(batch, script, size=2, retry=retry)
    assert ended(batch, job)["status"] == "SUCCEEDED"
    attempts = described(batch, f"{job}:1")["attempts"]
    assert [one["container"]["exitCode"] for one in attempts] == [75, 0]
    assert attempts[0]["container"]["logStreamName"] != attempts[1]["container"]["logStreamName"]


def test_a_reclaimed_spot_host_is_retried_and_a_users_error_is_not(double: BatchDouble, batch: Any) -> None:
    rules = [{"onStatusReason": "Host EC2*", "action": "RETRY"}, {"onReason": "*", "action": "EXIT"}]
    retry = {"attempts": 4, "evaluateOnExit": rules}
    double.faults.reclaim_hosts("spot", after_seconds=0.1)
    job = ended(batch, submit(batch, "sleep 0.5; exit 1", name="spot", retry=retry))
    assert job["status"] == "FAILED"
    assert [one["statusReason"].split(" (")[0] for one in job["attempts"]] == [
        "Host EC2",
        "Essential container in task exited",
    ]
    assert "exitCode" not in job["attempts"][0]["container"]


def test_memory_above_the_requirement(batch: Any) -> None:
    script = "exec python -c \"import time; held = b'x' * (200 << 20); time.sleep(30)\""
    job = ended(batch, submit(batch, script, needs={"MEMORY": "100"}))
    assert job["container"]["exitCode"] == 137
    assert job["container"]["reason"].startswith("OutOfMemoryError")


def test_an_image_that_is_missing(double: BatchDouble, batch: Any) -> None:
    double.faults.refuse_images("*:missing")
    job = ended(batch, submit(batch, "true", image="model:missing"))
    assert job["container"]["reason"].startswith("CannotPullContainerError")
    assert "exitCode" not in job["container"]


def test_terminate_ends_the_processes_of_all_children(batch: Any, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/$AWS_BATCH_JOB_ARRAY_INDEX; sleep 300"
    job = submit(batch, script, size=8)
    until(lambda: len([one for one in tmp_path.iterdir() if one.read_text()]) == 6)
    for _ in range(2):
        batch.terminate_job(jobId=job, reason="no longer wanted")
    parent = ended(batch, job)
    assert parent["arrayProperties"]["statusSummary"]["FAILED"] == 8
    assert described(batch, f"{job}:0")["statusReason"] == "no longer wanted"
    for file in tmp_path.iterdir():
        assert not Path(f"/proc/{int(file.read_text())}").exists()


def test_cancel_ends_only_what_does_not_run(batch: Any) -> None:
    job = submit(batch, "sleep 1", size=8)
    until(lambda: described(batch, job)["arrayProperties"]["statusSummary"]["RUNNING"] == 6)
    batch.cancel_job(jobId=job, reason="enough")
    summary = ended(batch, job)["arrayProperties"]["statusSummary"]
    assert (summary["SUCCEEDED"], summary["FAILED"]) == (6, 2)


def test_a_job_waits_for_another(batch: Any) -> None:
    first = submit(batch, "sleep 0.3")
    second = submit(batch, "true", dependsOn=[{"jobId": first}])
    assert described(batch, second)["status"] == "PENDING"
    done = ended(batch, second)
    assert done["status"] == "SUCCEEDED"
    assert done["startedAt"] >= described(batch, first)["stoppedAt"]


def test_a_gpu_that_is_taken_and_one_that_does_not_exist(batch: Any) -> None:
    needs = {"GPU": "1"}
    first = submit(batch, "sleep 0.5", needs=needs)
    second = submit(batch, "true", needs=needs)
    assert described(batch, second)["status"] == "RUNNABLE"
    assert ended(batch, second)["startedAt"] >= described(batch, first)["stoppedAt"]
    third = submit(batch, "true", needs={"GPU": "8"})
    assert described(batch, third)["statusReason"].startswith("MISCONFIGURATION")
    batch.terminate_job(jobId=third, reason="none such")


def test_throttling_says_so_and_ends(double: BatchDouble) -> None:
    from botocore.config import Config

    patient = double.client("batch", config=Config(retries={"mode": "standard", "max_attempts": 5}))
    impatient = double.client("batch", config=Config(retries={"total_max_attempts": 1}))
    double.faults.throttle("DescribeJobs", times=2)
    with pytest.raises(ClientError, match="TooManyRequestsException"):
        impatient.describe_jobs(jobs=["x"])
    assert patient.describe_jobs(jobs=["x"])["jobs"] == []


def test_limits_of_the_service(batch: Any) -> None:
    with pytest.raises(ClientError, match="between 2 and 10000"):
        submit(batch, "true", size=10_001)
    with pytest.raises(ClientError, match="100"):
        batch.describe_jobs(jobs=[str(number) for number in range(101)])


def test_strangers_run_no_commands(double: BatchDouble) -> None:
    stranger = boto3.client(
        "batch",
        endpoint_url=double.url,
        region_name=double.region,
        aws_access_key_id="AKIAOTHER",
        aws_secret_access_key="x",
    )
    with pytest.raises(ClientError, match="AccessDenied"):
        submit(stranger, "true")
