"""The operations of Batch that concern jobs, in the place of moto's."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_ml.testing.batch.job import Job, Submission
from airflow_ml.testing.batch.retry import RUNNING, STATUSES
from airflow_ml.testing.batch.worker import Worker

_LARGEST_ARRAY, _LARGEST_DESCRIBE, _PAGE = 10_000, 100, 100


@contextlib.contextmanager
def jobs_run_by(worker: Worker) -> Iterator[None]:
    """Let moto's Batch hand its jobs to a worker for as long as the ``with`` lasts."""
    from moto.batch.responses import BatchResponse

    operations = Operations(worker)
    replaced = {
        "submitjob": operations.submit,
        "describejobs": operations.describe,
        "listjobs": operations.list,
        "terminatejob": operations.terminate,
        "canceljob": operations.cancel,
    }
    before = {name: getattr(BatchResponse, name) for name in replaced}
    for name, operation in replaced.items():
        setattr(BatchResponse, name, lambda response, operation=operation: operation(response))
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(BatchResponse, name, original)


class Operations:
    """SubmitJob, DescribeJobs, ListJobs, TerminateJob and CancelJob. Each takes moto's response object."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def submit(self, response: Any) -> str:
        """Answer SubmitJob.

        Raises:
            ClientException (moto's): unknown queue or definition, a disabled queue, or an array of a wrong size.
        """
        from moto.batch.exceptions import ClientException

        backend, get = response.batch_backend, response._get_param
        definition, queue = backend.get_job_definition(get("jobDefinition")), backend.get_job_queue(get("jobQueue"))
        if definition is None:
            raise ClientException(f"Job definition {get('jobDefinition')} does not exist")
        if queue is None:
            raise ClientException(f"Job queue {get('jobQueue')} does not exist")
        if queue.state != "ENABLED":
            raise ClientException(f"Job queue {get('jobQueue')} is in the state {queue.state} and takes no jobs")
        size = int((get("arrayProperties") or {}).get("size") or 0)
        if size and not 2 <= size <= _LARGEST_ARRAY:
            raise ClientException(f"Array size must be between 2 and {_LARGEST_ARRAY}: {size}")
        timeout = get("timeout") or definition.timeout or {}
        job = self._worker.submit(
            Submission(
                name=get("jobName"),
                queue_arn=queue.arn,
                queue_name=queue.name,
                definition_arn=definition.arn,
                definition_name=definition.name,
                container=_overridden(definition.container_properties or {}, get("containerOverrides") or {}),
                parameters={**(definition.parameters or {}), **(get("parameters") or {})},
                retry_strategy=get("retryStrategy") or definition.retry_strategy,
                timeout_seconds=timeout.get("attemptDurationSeconds"),
                depends_on=tuple(get("dependsOn") or ()),
                tags=get("tags") or {},
                size=size,
                region=response.region,
                account=response.current_account,
            )
        )
        return json.dumps({"jobId": job.id, "jobName": job.submission.name, "jobArn": job.arn})

    def describe(self, response: Any) -> str:
        """Answer DescribeJobs; jobs that nobody knows are left out, as the service does."""
        from moto.batch.exceptions import ClientException

        asked = response._get_param("jobs") or []
        if len(asked) > _LARGEST_DESCRIBE:
            raise ClientException(f"jobs must have at most {_LARGEST_DESCRIBE} members, not {len(asked)}")
        with self._worker.lock:
            found = [self._find(one) for one in asked]
            return json.dumps({"jobs": [job.describe() for job in found if job is not None]})

    def list(self, response: Any) -> str:
        """Answer ListJobs: of a queue or an array, running ones unless told otherwise, in pages."""
        from moto.batch.exceptions import ClientException

        get = response._get_param
        array, filters = get("arrayJobId"), get("filters") or []
        with self._worker.lock:
            if array:
                parent = self._find(array)
                jobs = parent.children if parent else []
            else:
                queue = response.batch_backend.get_job_queue(get("jobQueue"))
                if queue is None:
                    raise ClientException(f"Job queue {get('jobQueue')} does not exist")
                jobs = [
                    job
                    for job in self._worker.jobs.values()
                    if job.parent is None and job.submission.queue_arn == queue.arn
                ]
            if filters:
                jobs = [job for job in jobs if all(_fits(job, one) for one in filters)]
            else:
                status = get("jobStatus") or RUNNING
                if status not in STATUSES:
                    raise ClientException(f"Job status is not one of {' | '.join(STATUSES)}")
                jobs = [job for job in jobs if job.status == status]
            page = min(int(get("maxResults") or _PAGE), _PAGE)
            after = int(base64.b64decode(get("nextToken"))) if get("nextToken") else 0
            answer: dict[str, Any] = {"jobSummaryList": [job.short() for job in jobs[after : after + page]]}
            if after + page < len(jobs):
                answer["nextToken"] = base64.b64encode(str(after + page).encode()).decode()
            return json.dumps(answer)

    def terminate(self, response: Any) -> str:
        """Answer TerminateJob."""
        return self._end(response, running_too=True)

    def cancel(self, response: Any) -> str:
        """Answer CancelJob: what runs goes on."""
        return self._end(response, running_too=False)

    def _end(self, response: Any, *, running_too: bool) -> str:
        from moto.batch.exceptions import ClientException

        if not response._get_param("reason"):
            raise ClientException("reason is a required field (cannot be an empty string)")
        job = self._find(response._get_param("jobId") or "")
        if job is not None:
            self._worker.end(job, response._get_param("reason"), running_too=running_too)
        return "{}"

    def _find(self, id_or_arn: str) -> Job | None:
        return self._worker.jobs.get(id_or_arn.rpartition("job/")[2])


def _overridden(properties: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return container properties as an attempt gets them: lists with names are joined, all else is replaced."""
    merged = {**properties, **{name: value for name, value in overrides.items() if value not in (None, [])}}
    for field, key in (("environment", "name"), ("resourceRequirements", "type")):
        joined = {one[key]: one for one in [*(properties.get(field) or []), *(overrides.get(field) or [])]}
        merged[field] = list(joined.values())
    return merged


def _fits(job: Job, one: Mapping[str, Any]) -> bool:
    text = {"JOB_NAME": job.submission.name, "JOB_DEFINITION": job.submission.definition_name}.get(one["name"])
    if text is None:
        return True
    return any(
        text.lower().startswith(value[:-1].lower()) if value.endswith("*") else text.lower() == value.lower()
        for value in one["values"]
    )
