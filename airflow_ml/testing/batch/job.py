"""A job of Batch, and its description in the words of the API."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_ml.testing.batch.retry import PENDING, STATUSES, SUBMITTED

Description = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Submission:
    """What SubmitJob was called with, and what the job definition adds."""

    name: str
    queue_arn: str
    queue_name: str
    definition_arn: str
    definition_name: str
    #: ``containerProperties`` with ``containerOverrides`` applied.
    container: Mapping[str, Any]
    parameters: Mapping[str, str]
    retry_strategy: Mapping[str, Any] | None
    timeout_seconds: int | None
    depends_on: tuple[Mapping[str, str], ...]
    tags: Mapping[str, str]
    #: Number of children; 0 for a single job.
    size: int
    region: str
    account: str

    @property
    def command(self) -> list[str]:
        """The command with ``Ref::name`` replaced by parameters."""
        words = []
        for word in self.container.get("command") or []:
            for name, value in self.parameters.items():
                word = word.replace(f"Ref::{name}", value)
            words.append(word)
        return words

    def requirement(self, kind: str) -> float | None:
        """Return a resource requirement: VCPU, MEMORY (MiB) or GPU."""
        for one in self.container.get("resourceRequirements") or []:
            if one["type"] == kind:
                return float(one["value"])
        old = self.container.get({"VCPU": "vcpus", "MEMORY": "memory"}.get(kind, ""))
        return None if old is None else float(old)


@dataclass(slots=True)
class Job:
    """A single job, an array, or a child of one."""

    id: str
    submission: Submission
    index: int | None = None
    parent: Job | None = None
    children: list[Job] = field(default_factory=list)
    status: str = SUBMITTED
    status_reason: str | None = None
    reason: str | None = None
    exit_code: int | None = None
    attempts: list[Description] = field(default_factory=list)
    created_ms: int = field(default_factory=lambda: now_ms())
    started_ms: int | None = None
    stopped_ms: int | None = None
    log_stream: str | None = None
    #: Of an array: how many children have each status.
    summary: dict[str, int] = field(default_factory=dict)
    #: Why it is to end, whatever its process says: (statusReason, counts as a host's end).
    ending: tuple[str, bool] | None = None

    @property
    def arn(self) -> str:
        """The job's ARN."""
        return f"arn:aws:batch:{self.submission.region}:{self.submission.account}:job/{self.id}"

    def move(self, status: str) -> None:
        """Take a status, and keep the parent's counts."""
        if self.parent is not None:
            self.parent.summary[self.status] -= 1
            self.parent.summary[status] += 1
        self.status = status

    def short(self) -> Description:
        """Return the summary of ListJobs."""
        found: Description = {
            "jobId": self.id,
            "jobArn": self.arn,
            "jobName": self.submission.name,
            "createdAt": self.created_ms,
            "status": self.status,
            "jobDefinition": self.submission.definition_arn,
        }
        if self.status_reason:
            found["statusReason"] = self.status_reason
        for name, value in (("startedAt", self.started_ms), ("stoppedAt", self.stopped_ms)):
            if value is not None:
                found[name] = value
        container = {"exitCode": self.exit_code, "reason": self.reason}
        if any(value is not None for value in container.values()):
            found["container"] = {name: value for name, value in container.items() if value is not None}
        if self.submission.size and self.index is None:
            found["arrayProperties"] = {"size": self.submission.size}
        elif self.index is not None:
            found["arrayProperties"] = {"index": self.index}
        return found

    def describe(self) -> Description:
        """Return the detail of DescribeJobs."""
        submission = self.submission
        found = self.short()
        found |= {
            "jobQueue": submission.queue_arn,
            "dependsOn": [dict(one) for one in submission.depends_on],
            "parameters": dict(submission.parameters),
            "tags": dict(submission.tags),
            "attempts": self.attempts,
            "isCancelled": False,
            "isTerminated": False,
        }
        if submission.retry_strategy:
            found["retryStrategy"] = dict(submission.retry_strategy)
        if submission.timeout_seconds:
            found["timeout"] = {"attemptDurationSeconds": submission.timeout_seconds}
        container = {**submission.container, **found.get("container", {}), "command": submission.command}
        if self.log_stream is not None:
            container["logStreamName"] = self.log_stream
        found["container"] = container
        if submission.size and self.index is None:
            found["arrayProperties"] = {"size": submission.size, "statusSummary": dict(self.summary)}
        return found


def make_job(submission: Submission) -> Job:
    """Return a job, with its children where it is an array."""
    job = Job(str(uuid.uuid4()), submission)
    if submission.size:
        job.summary = dict.fromkeys(STATUSES, 0)
        job.status = PENDING
        for index in range(submission.size):
            job.children.append(Job(f"{job.id}:{index}", submission, index=index, parent=job))
        job.summary[SUBMITTED] = submission.size
    return job


def now_ms() -> int:
    """Return the time in milliseconds since the epoch."""
    return int(time.time() * 1000)
