from __future__ import annotations

import pytest

from airflow_ml.core.job import IndexFailure, JobHandle
from airflow_ml.core.job_log import log_address


def handle(kind: str = "kubernetes", **place: str) -> JobHandle:
    return JobHandle(kind=kind, names=("job-1",), epoch=1, place={"namespace": "ml", **place})


FAILED = IndexFailure(index=3, reason="user_error", message="", name="job-1-3-abcde")


@pytest.mark.parametrize(
    ("job", "failure", "address"),
    [
        (handle(), FAILED, "kubectl logs -n ml job-1-3-abcde"),
        (handle(), None, "kubectl logs -n ml -l batch.kubernetes.io/job-name=job-1 --prefix --tail=-1"),
        (handle(log_url="https://logs/x?ns={namespace}&pod={pod}"), FAILED, "https://logs/x?ns=ml&pod=job-1-3-abcde"),
        (handle(log_url="https://logs/{job}"), None, "https://logs/job-1"),
        (
            handle("batch", region="eu-west-1"),
            IndexFailure(index=3, reason="user_error", message="", name="0a1b:3"),
            "https://eu-west-1.console.aws.amazon.com/batch/home?region=eu-west-1#jobs/detail/0a1b:3",
        ),
        (handle("batch"), None, "CloudWatch, jobs job-1"),
    ],
)
def test_where_a_log_is(job: JobHandle, failure: IndexFailure | None, address: str) -> None:
    assert log_address(job, failure) == address
