"""Jobs beside this process: each index a process of this machine, on the very program that a pod would run."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from airflow_ml.core import far_side
from airflow_ml.core.failure import failure_of_exit
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
from airflow_ml.core.job_names import job_name
from airflow_ml.core.record import JSON
from airflow_ml.errors import BackendUnavailable, JobConflict

#: Between SIGTERM and SIGKILL; a pod has 30 s.
_GRACE_SECONDS = 5.0
#: What a process here inherits: no settings of Airflow, no credentials, but the way to its programs.
_INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")


@dataclass(slots=True)
class _Index:
    """One index of a job."""

    log: Path
    process: subprocess.Popen[bytes] | None = None
    exit_code: int | None = None
    timed_out: bool = False
    ended: bool = False


@dataclass(slots=True)
class _Job:
    """A job that the machine knows."""

    request: JobRequest
    folder: Path
    indexes: list[_Index] = field(default_factory=list)
    cancelled: bool = False
    threads: ThreadPoolExecutor | None = None


class MemoryCluster:
    """What several backends of one test share: the jobs, and what goes wrong with the connection.

    Args:
        slots: Processes side by side, whatever a profile's parallelism.
    """

    def __init__(self, *, slots: int = 2) -> None:
        self.slots = slots
        self.jobs: dict[str, _Job] = {}
        self.lock = threading.RLock()
        #: So many of the next requests fail.
        self.failing_requests = 0
        self._root = Path(tempfile.mkdtemp(prefix="airflow-ml-jobs-"))
        atexit.register(self.close)

    def folder(self, name: str) -> Path:
        """Return a job's folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._root))

    def close(self) -> None:
        """End all jobs and drop their logs."""
        atexit.unregister(self.close)
        with self.lock:
            jobs = list(self.jobs.values())
        for job in jobs:
            _cancel(job)
        for job in jobs:
            if job.threads is not None:
                job.threads.shutdown(wait=True)
        shutil.rmtree(self._root, ignore_errors=True)


class MemoryBackend:
    """A ``JobBackend`` without a cluster, for tests. It honours retries, time limits and calls per index, no resources.

    Args:
        cluster: Shared by the clients that are to see the same jobs; None for one of its own.
    """

    def __init__(self, cluster: MemoryCluster | None = None) -> None:
        self.cluster = cluster or MemoryCluster()

    def render(self, request: JobRequest) -> Mapping[str, JSON]:
        """Return the processes that ``submit`` starts."""
        return {
            "name": job_name(request),
            "command": list(far_side.command(sys.executable)),
            "environment": dict(far_side.environment(request)),
            "indexes": request.indexes,
            "fingerprint": request.fingerprint,
        }

    def submit(self, request: JobRequest) -> JobHandle:
        """Start the job, or adopt the one of this very request.

        Raises:
            JobConflict: another job has the name.
            BackendUnavailable: a scripted one.
        """
        self._connect()
        name = job_name(request)
        with self.cluster.lock:
            known = self.cluster.jobs.get(name)
            if known is not None and known.request.fingerprint != request.fingerprint:
                raise JobConflict(
                    f"Another job is called {name}", known.request.key, "Wait for its end, or clear the task."
                )
            if known is None:
                self.cluster.jobs[name] = self._start(name, request)
        return JobHandle(kind="memory", names=(name,), epoch=request.epoch)

    def observe(self, handle: JobHandle) -> JobStatus:
        """Return what is known now.

        Raises:
            BackendUnavailable: a scripted one.
        """
        self._connect()
        job = self.cluster.jobs.get(handle.names[0])
        if job is None:
            return JobStatus(phase=LOST, indexes=0, waiting_for=f"nobody knows {handle.names[0]}")
        done = [one for one in job.indexes if one.ended]
        good = sum(one.exit_code == 0 for one in done)
        active = sum(one.process is not None and not one.ended for one in job.indexes)
        if job.cancelled:
            phase = CANCELLED
        elif len(done) == len(job.indexes):
            phase = SUCCEEDED if good == len(done) else FAILED
        else:
            phase = RUNNING if active or done else WAITING
        failures = [
            _failure(number, one, handle.names[0])
            for number, one in enumerate(job.indexes)
            if one.ended and one.exit_code != 0
        ]
        return JobStatus(
            phase=phase,
            indexes=len(job.indexes),
            active=active,
            succeeded=good,
            failed=len(done) - good,
            waiting_for="a free process" if phase == WAITING else "",
            failures=tuple(failures[-MAX_FAILURES:]),
        )

    def log(self, handle: JobHandle, index: int, *, tail_lines: int = 200) -> Iterator[str]:
        """Yield the last lines of one index's output."""
        job = self.cluster.jobs.get(handle.names[0])
        if job is not None and 0 <= index < len(job.indexes):
            with contextlib.suppress(OSError):
                yield from job.indexes[index].log.read_text(errors="replace").splitlines()[-tail_lines:]

    def cancel(self, handle: JobHandle) -> None:
        """End the job's processes; nothing where it is of another epoch."""
        self._connect()
        job = self.cluster.jobs.get(handle.names[0])
        if job is not None and job.request.epoch == handle.epoch:
            _cancel(job)

    def _connect(self) -> None:
        with self.cluster.lock:
            if self.cluster.failing_requests:
                self.cluster.failing_requests -= 1
                raise BackendUnavailable("The machine cannot be reached", "scripted", "Try again.")

    def _start(self, name: str, request: JobRequest) -> _Job:
        folder = self.cluster.folder(name)
        job = _Job(request, folder, [_Index(folder / f"{number}.log") for number in range(request.indexes)])
        side_by_side = max(1, min(self.cluster.slots, request.profile.parallelism))
        job.threads = ThreadPoolExecutor(max_workers=side_by_side, thread_name_prefix=name)
        for number in range(request.indexes):
            job.threads.submit(_run_index, job, number)
        job.threads.shutdown(wait=False)
        return job


def _run_index(job: _Job, number: int) -> None:
    """Run one index until it is done, or has failed for good."""
    one = job.indexes[number]
    try:
        for _ in range(job.request.profile.retries + 1):
            if job.cancelled:
                break
            _run_once(job, number)
            if one.exit_code in (0, *far_side.FINAL_CODES) or one.timed_out:
                break
    finally:
        one.ended = True


def _run_once(job: _Job, number: int) -> None:
    one, profile = job.indexes[number], job.request.profile
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    env |= {"HOME": str(job.folder), "TMPDIR": str(job.folder), "HOSTNAME": f"{job.folder.name}-{number}"}
    env |= {**far_side.environment(job.request), "JOB_COMPLETION_INDEX": str(number)}
    with one.log.open("ab") as log:
        one.process = subprocess.Popen(
            list(far_side.command(sys.executable)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=job.folder,
            start_new_session=True,
        )
    if job.cancelled:  # meanwhile
        _end(one.process)
    try:
        code = one.process.wait(profile.timeout_seconds)
    except subprocess.TimeoutExpired:
        one.timed_out = True
        _end(one.process)
        code = one.process.wait()
    one.exit_code = 128 - code if code < 0 else code


def _cancel(job: _Job) -> None:
    job.cancelled = True
    for one in job.indexes:
        if one.process is not None and not one.ended:
            _end(one.process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group: SIGTERM, and after the grace SIGKILL."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _failure(number: int, one: _Index, job: str) -> IndexFailure:
    found = failure_of_exit(one.exit_code if one.exit_code is not None else far_side.STOPPED)
    reason = "timeout" if one.timed_out else found.reason
    return IndexFailure(
        index=number, reason=reason, message=found.message, exit_code=one.exit_code, name=f"{job}-{number}"
    )
