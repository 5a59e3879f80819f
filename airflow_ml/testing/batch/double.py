"""A Batch for tests and laptops: moto's server in this process, each attempt a process of this machine."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from airflow_ml.testing.batch.faults import Faults
from airflow_ml.testing.batch.front import Front
from airflow_ml.testing.batch.job import Job, now_ms
from airflow_ml.testing.batch.responses import jobs_run_by
from airflow_ml.testing.batch.worker import Worker

LOG_GROUP = "/aws/batch/job"
_LONGEST_EVENT = 250_000


class BatchDouble:
    """AWS on 127.0.0.1, where jobs of Batch run as the user who starts it. One in a process: moto's state is global.

    All other services of moto (S3, Secrets Manager, CloudWatch Logs, ...) are behind the same address.

    Args:
        slots: Attempts side by side.
        gpus: GPUs of the compute environment; a job that asks for more stays RUNNABLE.
        image_env: What each image would bring in its environment, besides the credentials of a job role.
        region: Of the clients that ``client`` makes.
    """

    def __init__(
        self,
        *,
        slots: int = 8,
        gpus: int = 0,
        image_env: Mapping[str, str] | None = None,
        region: str = "eu-central-1",
    ) -> None:
        self.faults = Faults()
        self.region = region
        #: Access key without which Batch answers nobody: whoever has it can run commands.
        self.access_key = f"AKIA{secrets.token_hex(8).upper()}"
        self.url = ""
        self._slots, self._gpus, self._image_env = slots, gpus, dict(image_env or {})
        self._stack = contextlib.ExitStack()
        self._sent: dict[str, int] = {}
        self._front: Front | None = None
        self._worker: Worker | None = None

    @property
    def env(self) -> dict[str, str]:
        """The environment by which clients in other processes find it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": "of the double",
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
        }

    def start(self) -> Self:
        """Start it and return when it answers."""
        from moto.core.base_backend import BackendDict
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_request(self, code: Any = "-", size: Any = "-") -> None:
                """Say nothing."""

        BackendDict.reset()
        self._stack.callback(BackendDict.reset)
        folder = Path(tempfile.mkdtemp(prefix="airflow-ml-batch-"))
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        self._front = Front(DomainDispatcherApplication(create_backend_app), self.faults, self.access_key)
        server = make_server("127.0.0.1", 0, self._front, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{server.server_port}"
        self._worker = worker = Worker(
            folder,
            self.faults,
            slots=self._slots,
            gpus=self._gpus,
            image_env={**self.env, **self._image_env},
            send_log=self._send_log,
            secret=self._secret,
        )
        self._stack.callback(worker.close)
        self._stack.enter_context(jobs_run_by(worker))
        thread = threading.Thread(target=server.serve_forever, name="batch-double", daemon=True)
        thread.start()
        self._stack.callback(thread.join, 10)
        self._stack.callback(server.server_close)
        self._stack.callback(server.shutdown)
        return self

    def stop(self) -> None:
        """End it and every process that it started; safe to call twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()

    def requests(self, operation: str = "") -> int:
        """Return how many requests Batch had, of one operation (``SubmitJob``) or all."""
        return self._front.count(operation) if self._front else 0

    def client(self, service: str = "batch", **settings: Any) -> Any:
        """Return a boto3 client of the double."""
        import boto3  # type: ignore[import-untyped]

        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key="of the double",
            **settings,
        )

    def forget(self, job: str) -> None:
        """Drop a job, as the service does some days after its end."""
        if self._worker is not None:
            self._worker.forget(job)

    def make_queue(self, name: str = "queue") -> str:
        """Make a queue with a compute environment, as a deployment has them; return its ARN."""
        role = self.client("iam").create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        batch = self.client()
        environment = batch.create_compute_environment(
            computeEnvironmentName=f"{name}-environment", type="UNMANAGED", state="ENABLED", serviceRole=role
        )["computeEnvironmentArn"]
        order = [{"order": 1, "computeEnvironment": environment}]
        made = batch.create_job_queue(jobQueueName=name, state="ENABLED", priority=1, computeEnvironmentOrder=order)
        return str(made["jobQueueArn"])

    def _send_log(self, job: Job, log: Path, ended: bool) -> None:
        """Append what is new in an attempt's log to its stream; half a line only where no more comes."""
        from moto.logs.models import logs_backends

        stream = job.log_stream or ""
        backend = logs_backends[job.submission.account][job.submission.region]
        if LOG_GROUP not in backend.groups:
            backend.create_log_group(LOG_GROUP, {})
        if stream not in self._sent:
            backend.create_log_stream(LOG_GROUP, stream)
            self._sent[stream] = 0
        if not log.exists():
            return
        with log.open("rb") as file:
            file.seek(self._sent[stream])
            data = file.read()
        if not ended:
            data = data[: data.rfind(b"\n") + 1]
        self._sent[stream] += len(data)
        lines = [line[:_LONGEST_EVENT] for line in data.decode(errors="replace").splitlines() if line]
        if lines:
            backend.put_log_events(LOG_GROUP, stream, [{"timestamp": now_ms(), "message": line} for line in lines])

    def _secret(self, arn: str) -> str:
        return str(self.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])


@contextlib.contextmanager
def batch_double(**settings: Any) -> Iterator[BatchDouble]:
    """Run a double for the time of a ``with``; the arguments are those of ``BatchDouble``."""
    with BatchDouble(**settings) as double:
        yield double
