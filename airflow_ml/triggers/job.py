"""The trigger that watches a remote job: it polls the job, renews its lease, and fires when the job has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_ml.errors import FencedOut
from airflow_ml.hooks import job_backend as backend_hook
from airflow_ml.triggers.task_state import ENDED_BY_USER, task_state

if TYPE_CHECKING:
    from airflow_ml.core.job import JobHandle, JobStatus
    from airflow_ml.core.job_attempt import JobAttempt
    from airflow_ml.runtime.remote_job import RemoteJobs

_ON_KILL_SECONDS = 20.0
#: Failed indexes that one look names.
_LOGGED = 20


class JobTrigger(BaseTrigger):
    """Look at a remote job until it ends, then fire one event.

    All that matters is in the store, so any triggerer can go on with it, and two at once do no harm. A restart of the
    triggerer cancels nothing. Each look runs in a thread, at most one at a time, with a deadline; whatever fails is
    logged and tried again, for as long as the task may take: a cluster that is away has not lost its jobs.

    What happens stands in the task's log at once: of a job with one index its output, of a larger one how far it is and
    which indexes have failed, with the place of their logs.

    Args:
        key: The job.
        epoch: The attempt's epoch: what runs.
        claim: The task attempt that leads it; a later one makes this trigger stop.
        poll_interval_seconds: Pause between looks.
        timeout_seconds: After so long the job is cancelled and the event says so; None for no limit. Counted from the
            trigger's first start, by the wall clock.
        deadline_at: The same as seconds since 1970, filled in at the first start.
        look_seconds: After this time a look is not waited for any longer; it goes on in its thread.
    """

    def __init__(
        self,
        *,
        key: str,
        epoch: int,
        claim: int,
        poll_interval_seconds: float = 15.0,
        timeout_seconds: float | None = None,
        deadline_at: float | None = None,
        look_seconds: float = 90.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.key = key
        self.epoch = epoch
        self.claim = claim
        self.poll_interval_seconds = poll_interval_seconds
        self.timeout_seconds = timeout_seconds
        self.deadline_at = deadline_at
        if deadline_at is None and timeout_seconds is not None:
            self.deadline_at = time.time() + timeout_seconds
        self.look_seconds = look_seconds
        self._jobs: RemoteJobs | None = None
        self._logged: object = None
        self._logged_failures: set[int] = set()
        self._log_seen: list[str] = []

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return names and numbers only; connections are resolved where the trigger runs."""
        return (
            "airflow_ml.triggers.job.JobTrigger",
            {
                "key": self.key,
                "epoch": self.epoch,
                "claim": self.claim,
                "poll_interval_seconds": self.poll_interval_seconds,
                "timeout_seconds": self.timeout_seconds,
                "deadline_at": self.deadline_at,
                "look_seconds": self.look_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, sleep, repeat."""
        look: asyncio.Task[JobStatus] | None = None
        while True:
            look = look or asyncio.create_task(asyncio.to_thread(self.look_once))
            done, _ = await asyncio.wait({look}, timeout=self.look_seconds)
            if done:
                finished, look = look, None
                try:
                    status = finished.result()
                except FencedOut as error:
                    yield self._event(error=str(error))
                    return
                except Exception as error:  # a store or cluster out of reach: the job goes on without a look
                    self.log.warning("Job %s: a status check failed: %s: %s", self.key, type(error).__name__, error)
                    self._jobs = None
                    backend_hook.forget_backends()  # connections may have changed
                else:
                    if status.phase in _ended():
                        yield self._event(status=status.to_dict(), log_seen=self._log_seen)
                        return
            else:
                self.log.warning("Job %s: a status check takes more than %g s", self.key, self.look_seconds)
            if self.deadline_at is not None and time.time() >= self.deadline_at:
                await asyncio.to_thread(self.cancel, f"took longer than {self.timeout_seconds:g} s")
                yield self._event(timed_out=True)
                return
            await asyncio.sleep(self.poll_interval_seconds)

    def look_once(self) -> JobStatus:
        """Take one look; blocking.

        Raises:
            FencedOut: the job is led by another attempt.
            BackendUnavailable: nothing is known now.
        """
        jobs = self._connected()
        _, attempt = jobs.mine(self.key, self.epoch, self.claim)
        if not attempt.live:
            from airflow_ml.core.job import CANCELLED, JobStatus

            return JobStatus(phase=CANCELLED, indexes=attempt.request.indexes, waiting_for=attempt.reason)
        status = jobs.look(attempt)
        jobs.renew(attempt)
        self._log_changes(attempt, status)
        return status

    def cancel(self, reason: str) -> bool:
        """End the job if this attempt leads it; blocking. Tells whether it did."""
        return self._connected().cancel(self.key, self.epoch, self.claim, reason)

    async def on_kill(self) -> None:
        """End the job at once if the user has ended the task; the reaper does it otherwise, later.

        Airflow calls this for a clear too, where the next attempt takes over, and wrongly when a frozen triggerer wakes
        up; so the task's own state decides, and if that cannot be had, nothing is done.
        """
        await asyncio.wait_for(asyncio.to_thread(self._stop), timeout=_ON_KILL_SECONDS)

    def _stop(self) -> None:
        state = task_state(self.task_instance)
        if state not in ENDED_BY_USER:
            self.log.info("The task is %s: its job is left to the next attempt", state)
            return
        done = self.cancel(f"its task was set to {state}")
        self.log.info("Job %s is %s", self.key, "cancelled" if done else "led by another attempt, or ended: left alone")

    def _connected(self) -> RemoteJobs:
        if self._jobs is None:
            self._jobs = backend_hook.remote_jobs()
        return self._jobs

    def _log_changes(self, attempt: JobAttempt, status: JobStatus) -> None:
        """Log what is new; nothing that goes wrong here is worth a look."""
        from airflow_ml.core.job_log import log_address

        handle = attempt.handle
        name = handle.names[0] if handle is not None else self.key
        for failure in [one for one in status.failures if one.index not in self._logged_failures][:_LOGGED]:
            where = log_address(handle, failure) if handle is not None else ""
            self.log.warning("index %d: %s: %s; its log: %s", failure.index, failure.reason, failure.message, where)
        self._logged_failures |= {one.index for one in status.failures}
        now = (status.phase, status.active, status.succeeded, status.failed, status.waiting_for)
        if now != self._logged:
            self._logged = now
            self.log.info(
                "Job %s is %s: %d of %d indexes done, %d failed, %d active%s",
                name, status.phase, status.succeeded, status.indexes, status.failed, status.active,
                f"; {status.waiting_for}" if status.waiting_for else "",
            )  # fmt: skip
        if handle is not None and status.indexes == 1 and status.phase == "running":
            self._log_output(handle)

    def _log_output(self, handle: JobHandle) -> None:
        from airflow_ml.core.job_log import log_address
        from airflow_ml.core.log_tail import TAIL_LINES, marks, to_show

        lines = list(backend_hook.job_backend(handle).log(handle, 0, tail_lines=TAIL_LINES))
        for line in to_show(lines, self._log_seen, log_address(handle)):
            self.log.info("%s", line)
        if lines:
            self._log_seen = marks(lines)

    def _event(self, **facts: Any) -> TriggerEvent:
        payload = {"key": self.key, "epoch": self.epoch, "claim": self.claim, **facts}
        return TriggerEvent(payload)  # type: ignore[no-untyped-call]


def _ended() -> frozenset[str]:
    from airflow_ml.core.job import ENDED

    return ENDED
