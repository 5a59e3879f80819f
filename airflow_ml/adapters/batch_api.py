"""Requests to AWS Batch and its logs: patient with throttling, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from airflow_ml.adapters.patience import DEADLINE_SECONDS, Patience
from airflow_ml.errors import BackendUnavailable, ConfigurationError

#: Jobs that one ``DescribeJobs`` takes.
DESCRIBED = 100
#: How a client is to be made: it repeats nothing by itself. Its repetitions would submit a job twice whose answer was
#: lost, and wait for longer than a look may.
CLIENT_SETTINGS: Mapping[str, Any] = {"retries": {"total_max_attempts": 1}, "connect_timeout": 10, "read_timeout": 20}
#: Not done, for there were too many requests.
_BUSY = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling", "RequestLimitExceeded"})
#: After a lost answer, until what the request did can be seen in lists.
_SETTLED_SECONDS = 3.0


class BatchApi:
    """A connection to AWS Batch in one region.

    Args:
        connect: Returns the boto3 client of a service, ``batch`` or ``logs``; called when one is first needed.
        deadline_seconds: After which a request that is throttled or finds nobody is given up.
        sleep: Waits so many seconds; replaced in tests.
    """

    def __init__(
        self,
        connect: Callable[[str], Any],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connect = connect
        self._clients: dict[str, Any] = {}
        self._deadline_seconds = deadline_seconds
        self._sleep = sleep
        #: Requests made so far, repetitions included.
        self.requests = 0

    def call(
        self,
        operation: str,
        *,
        service: str = "batch",
        done: Callable[[], Mapping[str, Any] | None] | None = None,
        **arguments: Any,
    ) -> Mapping[str, Any]:
        """Make a request and return its answer.

        Args:
            operation: Of the client.
            service: ``batch`` or ``logs``.
            done: For what must not be done twice. Asked where an answer was lost, before the request is repeated: what
                it returns is the answer, None where the request did nothing.
            arguments: Of the request.

        Raises:
            ConfigurationError: Batch finds the request invalid; its words say why.
            BackendUnavailable: refused, or throttled or away until the deadline.
        """
        from botocore.exceptions import (  # type: ignore[import-untyped]
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            PartialCredentialsError,
        )

        patience = Patience(self._deadline_seconds, self._sleep)
        while True:
            self.requests += 1
            lost = True
            try:
                answer: Mapping[str, Any] = getattr(self._client(service), operation)(**arguments)
                return answer
            except ClientError as error:
                said, problem = error.response.get("Error", {}), str(error)
                status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
                lost = said.get("Code") not in _BUSY
                if lost and status < 500:
                    raise _refused(operation, said, problem) from error
            except BotoCoreError as error:
                problem = f"{type(error).__name__}: {error}"
                if isinstance(error, NoCredentialsError | PartialCredentialsError):
                    raise BackendUnavailable(
                        f"AWS cannot be asked to {operation}", problem,
                        "Fill in the Airflow connection, or give workers and triggerer a role.",
                    ) from error  # fmt: skip
            unsure = lost and done is not None
            if not patience.wait(_SETTLED_SECONDS if unsure else None):
                raise BackendUnavailable(
                    f"AWS does not answer {operation}", problem, "Check the connection; running jobs go on."
                )
            if lost and done is not None and (found := done()) is not None:
                return found

    def describe(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Return what is known of some jobs, by id; those that nobody knows any more are not in it."""
        found: dict[str, Mapping[str, Any]] = {}
        for first in range(0, len(ids), DESCRIBED):
            some = list(ids[first : first + DESCRIBED])
            found |= {job["jobId"]: job for job in self.call("describe_jobs", jobs=some)["jobs"]}
        return found

    def listed(self, *, limit: int | None = None, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        """Yield the summaries of jobs, page by page, at most ``limit`` of them."""
        token: str | None = None
        left = limit
        while True:
            page = self.call("list_jobs", **(arguments | ({"nextToken": token} if token else {})))
            for item in page["jobSummaryList"]:
                if left == 0:
                    return
                yield item
                left = None if left is None else left - 1
            token = page.get("nextToken")
            if not token:
                return

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self._connect(service)
        return self._clients[service]


def _refused(operation: str, said: Mapping[str, Any], problem: str) -> Exception:
    if said.get("Code") in ("ClientException", "ValidationException", "ParamValidationError"):
        remedy = "Mend queue, job_definition or region of the profile: airflow-ml doctor --compute NAME tells which."
        return ConfigurationError(f"AWS Batch refuses {operation}", problem, remedy)
    return BackendUnavailable(
        f"AWS refused {operation}", problem, "Check the rights of the connection's role: airflow-ml doctor."
    )
