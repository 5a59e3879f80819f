"""Runs the jobs of a double: each attempt is a process of this machine."""

from __future__ import annotations

import signal
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from airflow_ml.testing.batch.environment import environment_of, paths_of
from airflow_ml.testing.batch.faults import Faults
from airflow_ml.testing.batch.job import Job, Submission, make_job, now_ms
from airflow_ml.testing.batch.retry import (
    FAILED,
    PENDING,
    RUNNABLE,
    RUNNING,
    STARTING,
    SUBMITTED,
    SUCCEEDED,
    begins_again,
)
from airflow_ml.testing.processes.launch import Ended, Processes

#: The time between SIGTERM and SIGKILL in the service is 30 s; a laptop's jobs are smaller.
_GRACE_SECONDS = 5.0
_OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
#: Takes (job, the attempt's log file, whether it ended); called while an attempt runs and when it ended.
SendLog = Callable[[Job, Path, bool], None]


class Worker:
    """The compute environment: so many attempts at once, in the order in which jobs came.

    Args:
        slots: Attempts side by side.
        gpus: What all running attempts may ask of ``GPU`` together.
        image_env: What image, host and job role bring into the environment.
        secret: Returns the value of a secret by its ARN.
    """

    def __init__(
        self,
        folder: Path,
        faults: Faults,
        *,
        slots: int,
        gpus: int,
        image_env: Mapping[str, str],
        send_log: SendLog,
        secret: Callable[[str], str],
    ) -> None:
        self.jobs: dict[str, Job] = {}
        self.lock = threading.RLock()
        self._folder = folder
        self._faults = faults
        self._slots, self._gpus = slots, float(gpus)
        self._image_env = dict(image_env)
        self._send_log = send_log
        self._secret = secret
        self._queue: deque[Job] = deque()
        self._dependent: list[Job] = []
        self._running: dict[str, tuple[Job, str, Path]] = {}  # job id -> job, process, log
        self._timers: dict[str, list[threading.Timer]] = {}
        self._closed = threading.Event()
        self._processes = Processes()
        self._processes.receive_in_thread()
        self._sender = threading.Thread(target=self._send_running_logs, name="batch-logs", daemon=True)
        self._sender.start()

    def submit(self, submission: Submission) -> Job:
        """Take a job; it runs when there is room."""
        with self.lock:
            job = make_job(submission)
            self.jobs[job.id] = job
            for child in job.children:
                self.jobs[child.id] = child
            if submission.depends_on:
                self._dependent.append(job)
                if not job.children:
                    job.move(PENDING)
                self._look_at_dependent()
            else:
                self._enqueue(job)
            self._fill()
            return job

    def end(self, job: Job, reason: str, *, running_too: bool) -> None:
        """End a job and its children: those that run only where ``running_too`` (TerminateJob, not CancelJob)."""
        with self.lock:
            for one in job.children or [job]:
                if one.status in (SUCCEEDED, FAILED):
                    continue
                if one.status in (SUBMITTED, PENDING, RUNNABLE):
                    one.status_reason = reason
                    self._stop(one, FAILED)
                elif running_too:
                    one.ending = (reason, False)
                    self._signal(one)
            self._fill()

    def forget(self, job_id: str) -> None:
        """Drop a job and its children."""
        with self.lock:
            job = self.jobs.pop(job_id, None)
            for child in job.children if job else ():
                self.jobs.pop(child.id, None)

    def close(self) -> None:
        """End everything."""
        self._closed.set()
        with self.lock:
            self._queue.clear()
            for timers in self._timers.values():
                for timer in timers:
                    timer.cancel()
        self._processes.close()
        self._sender.join(5)

    # ---- from the queue to a process

    def _enqueue(self, job: Job) -> None:
        for one in job.children or [job]:
            one.move(RUNNABLE)
            self._queue.append(one)

    def _fill(self) -> None:
        if self._closed.is_set():
            return
        while self._queue and len(self._running) < self._slots:
            job = self._queue[0]
            if job.status != RUNNABLE:
                self._queue.popleft()
                continue
            asked = job.submission.requirement("GPU") or 0.0
            used = sum(one.submission.requirement("GPU") or 0.0 for one, _, _ in self._running.values())
            if asked and asked + used > self._gpus:
                if asked > self._gpus:
                    job.status_reason = "MISCONFIGURATION:JOB_RESOURCE_REQUIREMENT"
                return
            self._queue.popleft()
            job.status_reason = None
            self._begin(job)

    def _begin(self, job: Job) -> None:
        job.move(STARTING)
        submission = job.submission
        job.log_stream = f"{submission.definition_name}/default/{uuid.uuid4().hex}"
        image = str(submission.container.get("image", ""))
        if self._faults.image_missing(image):
            text = f"CannotPullContainerError: Error response from daemon: manifest for {image} not found"
            self._ended(job, None, Ended(0, False, 0), "Task failed to start", text)
            return
        base = self._folder / job.id.replace(":", "-") / str(len(job.attempts) + 1)
        root, log = base / "root", base / "log"
        root.mkdir(parents=True)
        (base / "tmp").mkdir()
        paths = paths_of(submission)
        job.move(RUNNING)
        job.started_ms = now_ms()
        memory = submission.requirement("MEMORY")
        self._running[job.id] = (job, "", log)
        process = self._processes.start(
            [paths.rewrite(word) for word in submission.command] or ["true"],
            env=environment_of(job, base, paths, self._image_env, self._secret),
            cwd=root,
            output=log,
            memory_bytes=int(memory * (1 << 20)) if memory else None,
            on_end=lambda how: self._process_ended(job, how),
        )
        if job.id not in self._running:
            return  # it could not even be asked for
        self._running[job.id] = (job, process, log)
        if submission.timeout_seconds:
            self._later(job, submission.timeout_seconds, ("Job attempt duration exceeded timeout", False))
        vanishes = self._faults.host_vanishes_after(job.id, submission.name)
        if vanishes is not None:
            self._later(job, vanishes, ("Host EC2 (instance i-0123456789abcdef0) terminated.", True))

    def _later(self, job: Job, seconds: float, ending: tuple[str, bool]) -> None:
        attempt = len(job.attempts)

        def end() -> None:
            with self.lock:
                if job.status == RUNNING and len(job.attempts) == attempt:
                    job.ending = ending
                    self._signal(job)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        self._timers.setdefault(job.id, []).append(timer)
        timer.start()

    def _signal(self, job: Job) -> None:
        running = self._running.get(job.id)
        if running is None:
            return
        process = running[1]
        if job.ending is not None and job.ending[1]:
            self._processes.kill(process)  # the host is gone: nobody is asked
            return
        self._processes.signal(process, signal.SIGTERM, group=False)
        timer = threading.Timer(_GRACE_SECONDS, self._processes.kill, [process])
        timer.daemon = True
        self._timers.setdefault(job.id, []).append(timer)
        timer.start()

    # ---- what ended

    def _process_ended(self, job: Job, how: Ended) -> None:
        with self.lock:
            log = self._running.pop(job.id)[2]
            for timer in self._timers.pop(job.id, ()):
                timer.cancel()
            if self._closed.is_set():
                return
            self._send_log(job, log, True)
            status_reason, reason = "Essential container in task exited", ""
            if how.error:
                status_reason, reason = "Task failed to start", f"CannotStartContainerError: {how.error}"
            elif how.memory_exceeded:
                reason = _OUT_OF_MEMORY
            code: int | None = None if how.error else how.exit_code
            if job.ending is not None:
                status_reason = job.ending[0]
                code = None if job.ending[1] else code
            self._ended(job, code, how, status_reason, reason)

    def _ended(self, job: Job, code: int | None, how: Ended, status_reason: str, reason: str) -> None:
        container = {"logStreamName": job.log_stream, "exitCode": code, "reason": reason or None}
        attempt = {
            "container": {name: value for name, value in container.items() if value is not None},
            "startedAt": job.started_ms,
            "stoppedAt": now_ms(),
            "statusReason": status_reason,
        }
        job.attempts.append(attempt)
        job.exit_code, job.reason = code, reason or None
        job.status_reason = status_reason
        stopped_by_user = job.ending is not None and not job.ending[1]
        job.ending = None
        if code == 0 and not stopped_by_user:
            self._stop(job, SUCCEEDED)
        elif not stopped_by_user and begins_again(
            job.submission.retry_strategy,
            len(job.attempts),
            status_reason=status_reason,
            reason=reason,
            exit_code=code,
        ):
            job.move(RUNNABLE)
            self._queue.append(job)
        else:
            self._stop(job, FAILED)
        self._fill()

    def _stop(self, job: Job, status: str) -> None:
        job.move(status)
        job.stopped_ms = now_ms()
        parent = job.parent
        if parent is not None and parent.summary[SUCCEEDED] + parent.summary[FAILED] == len(parent.children):
            parent.status = FAILED if parent.summary[FAILED] else SUCCEEDED
            parent.stopped_ms = now_ms()
            if parent.summary[FAILED]:
                parent.status_reason = "Array Child Job failed"
        if self._dependent:
            self._look_at_dependent()

    def _look_at_dependent(self) -> None:
        for job in list(self._dependent):
            before = [self.jobs.get(one.get("jobId", "")) for one in job.submission.depends_on]
            states: Iterable[str] = [one.status if one else FAILED for one in before]
            if FAILED in states:
                self._dependent.remove(job)
                for one in job.children or [job]:
                    one.status_reason = "Dependent Job failed"
                    self._stop(one, FAILED)
            elif all(state == SUCCEEDED for state in states):
                self._dependent.remove(job)
                self._enqueue(job)
                self._fill()

    def _send_running_logs(self) -> None:
        while not self._closed.wait(0.5):
            with self.lock:
                for job, _, log in list(self._running.values()):
                    self._send_log(job, log, False)
