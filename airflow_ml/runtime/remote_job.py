"""Leads a remote job through its attempts: submit or take over, check, end, and collect results from the store.

Every step is an entry of the job's ref, written only behind the entry it was decided from. So of two workers that begin
the same job one goes on, and what an old attempt does late finds a newer entry in its way.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.failpoint import fp
from airflow_ml.core.far_side import job_ref
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.job import JobHandle, JobRequest, JobStatus
from airflow_ml.core.job_attempt import (
    CANCELLED,
    ENDED,
    SUBMITTED,
    SUBMITTING,
    JobAttempt,
    write_ranges,
)
from airflow_ml.core.record import parse_as
from airflow_ml.errors import AirflowMLError, FencedOut, RefConflict
from airflow_ml.runtime.call import CallJob
from airflow_ml.runtime.job import ShardJob
from airflow_ml.runtime.remote_results import epochs_of, is_success, results_of
from airflow_ml.runtime.work import read_work, store_work
from airflow_ml.runtime.zipapp import store_runtime

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore, JobBackend

#: How long a job may go without anybody who looks after it before the reaper may end it: longer than an upgrade of
#: Airflow, through which jobs go on.
LEASE_SECONDS = 6 * 3600.0


def _now() -> datetime:
    return datetime.now(UTC)


class RemoteJobs:
    """Leads jobs whose attempts are in a store.

    Args:
        store: Where attempts, work and results are.
        backend: Returns the backend of a kind that a request's profile or a handle names.
        now: Returns the time; for leases only.
        lease_seconds: See `LEASE_SECONDS`.
    """

    def __init__(
        self,
        store: ArtifactStore,
        backend: Callable[[ComputeProfile | JobHandle], JobBackend],
        *,
        now: Callable[[], datetime] = _now,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.store = store
        self._backend = backend
        self._now = now
        self._lease = timedelta(seconds=lease_seconds)

    def begin(
        self,
        key: str,
        jobs: Sequence[CallJob | ShardJob],
        profile: ComputeProfile,
        *,
        owner: dict[str, str],
        generation: str,
    ) -> JobAttempt:
        """Start what has no success yet, or take over what runs.

        Args:
            key: Identity of the logical attempt: namespace, dag, run, task and map index.
            jobs: All the work, in an order that does not change.
            profile: Where it runs, of kind ``kubernetes`` or ``batch``.
            owner: Whose it is, for labels.
            generation: The same for all retries of a task, another one after a clear.

        Returns:
            The attempt: ``submitted``, or ``ended`` where every line has its success already.

        Raises:
            JobConflict, ConfigurationError, BackendUnavailable: as ``JobBackend.submit``.
            FencedOut: another worker has begun the same job, and leads it.
        """
        what = digest_json([_identity(job) for job in jobs])
        while True:
            sequence, latest = self._latest(key)
            same = latest is not None and (latest.what, latest.generation) == (what, generation)
            if same and latest is not None and latest.live and (latest.handle is not None or _like(latest, profile)):
                attempt = replace(latest, claim=latest.claim + 1, lease_expires_at=self._now() + self._lease)
            else:
                missing = list(range(len(jobs)))
                if same and latest is not None:
                    done = self.results(latest)
                    missing = [number for number in missing if not is_success(done.get(number))]
                    if not missing:
                        return latest
                attempt = self._new(key, jobs, missing, profile, owner, generation, what, latest)
            try:
                sequence = self._write(attempt, after=sequence)
                break
            except RefConflict:
                continue  # another worker was first: look at what it did
        if latest is not None and latest.live and latest.epoch != attempt.epoch:
            self._end_old(latest)
        if attempt.handle is not None:
            return attempt
        return self._submit(attempt, sequence)

    def look(self, attempt: JobAttempt) -> JobStatus:
        """Return what the backend knows.

        Raises:
            BackendUnavailable: nothing is known.
        """
        if attempt.handle is None:
            raise FencedOut(f"Job {attempt.key} was never submitted", attempt.state, "Clear the task.")
        return self._backend(attempt.handle).observe(attempt.handle)

    def renew(self, attempt: JobAttempt) -> JobAttempt:
        """Renew the job's lease, if half of it is over.

        Raises:
            FencedOut: another attempt leads the job.
        """
        sequence, latest = self.mine(attempt.key, attempt.epoch, attempt.claim)
        if latest.lease_expires_at is not None and latest.lease_expires_at - self._now() > self._lease / 2:
            return latest
        renewed = replace(latest, lease_expires_at=self._now() + self._lease)
        try:
            self._write(renewed, after=sequence)
        except RefConflict:
            return self.mine(attempt.key, attempt.epoch, attempt.claim)[1]
        return renewed

    def end(self, attempt: JobAttempt, status: JobStatus) -> JobAttempt:
        """Record that a job has ended.

        Raises:
            FencedOut: another attempt leads the job.
        """
        sequence, latest = self.mine(attempt.key, attempt.epoch, attempt.claim)
        if not latest.live:
            return latest
        ended = replace(latest, state=ENDED, reason=status.phase, failures=status.failures)
        self._write(ended, after=sequence)
        return ended

    def cancel(self, key: str, epoch: int, claim: int, reason: str) -> bool:
        """End a job if this attempt leads it; tell whether it did. Late, or twice, does nothing.

        Raises:
            BackendUnavailable: it cannot be reached; the attempt is marked, and the reaper ends the job.
        """
        try:
            sequence, latest = self.mine(key, epoch, claim)
            if not latest.live:
                return False
            self._write(replace(latest, state=CANCELLED, reason=reason), after=sequence)
        except (FencedOut, RefConflict):
            return False
        fp("job.cancel")
        self._end_old(latest, quietly=False)
        return True

    def results(self, attempt: JobAttempt) -> dict[int, Any]:
        """Return the results of all epochs of an attempt's generation, as `results_of`."""
        return results_of(self.store, attempt)

    def work(self, attempt: JobAttempt) -> list[CallJob | ShardJob]:
        """Return all the work of an attempt's generation, by line: its first epoch had all of it."""
        return read_work(self.store.get_bytes(epochs_of(self.store, attempt)[0].request.work))

    def mine(self, key: str, epoch: int, claim: int) -> tuple[int, JobAttempt]:
        """Return the newest entry and its number, if it is of this attempt.

        Raises:
            FencedOut: it is not.
        """
        sequence, latest = self._latest(key)
        if latest is None or (latest.epoch, latest.claim) != (epoch, claim):
            raise FencedOut(
                f"Job {key} is not led by this attempt any more",
                f"epoch {latest.epoch}, claim {latest.claim}" if latest else "no entry",
                "The newest attempt leads.",
            )
        return sequence, latest

    def latest(self, key: str) -> JobAttempt | None:
        """Return the newest entry of a job; None where there is none."""
        return self._latest(key)[1]

    def _latest(self, key: str) -> tuple[int, JobAttempt | None]:
        entry = self.store.latest(job_ref(key))
        return (entry.sequence, parse_as(JobAttempt, entry.value)) if entry is not None else (0, None)

    def _write(self, attempt: JobAttempt, *, after: int) -> int:
        return self.store.append(job_ref(attempt.key), attempt.to_dict(), after=after).sequence

    def _new(
        self,
        key: str,
        jobs: Sequence[CallJob | ShardJob],
        missing: Sequence[int],
        profile: ComputeProfile,
        owner: dict[str, str],
        generation: str,
        what: str,
        latest: JobAttempt | None,
    ) -> JobAttempt:
        epoch = latest.epoch + 1 if latest is not None else 1
        request = JobRequest(
            key=key,
            epoch=epoch,
            work=store_work([jobs[number] for number in missing], self.store),
            calls=len(missing),
            runtime=store_runtime(self.store),
            store_uri=self.store.uri,
            profile=profile,
            owner=owner,
            python=f"{sys.version_info[0]}.{sys.version_info[1]}",
            machine=platform.machine(),
        )
        return JobAttempt(
            key=key,
            epoch=epoch,
            claim=1,
            state=SUBMITTING,
            generation=generation,
            what=what,
            lines=write_ranges(missing),
            request=request,
            lease_expires_at=self._now() + self._lease,
        )

    def _submit(self, attempt: JobAttempt, sequence: int) -> JobAttempt:
        fp("job.before_submit")
        try:
            handle = self._backend(attempt.request.profile).submit(attempt.request)
        except AirflowMLError as error:
            if not error.retryable:  # the next attempt starts again, with the profile as it is then
                self._write_mine(
                    replace(attempt, state=ENDED, reason=f"{type(error).__name__}: {error}"), after=sequence
                )
            raise
        fp("job.after_submit")
        submitted = replace(attempt, state=SUBMITTED, handle=handle)
        self._write_mine(submitted, after=sequence)
        return submitted

    def _write_mine(self, attempt: JobAttempt, *, after: int) -> None:
        """Write the next entry of an attempt.

        Raises:
            FencedOut: another worker has taken it over and leads the job.
        """
        try:
            self._write(attempt, after=after)
        except RefConflict:
            self.mine(attempt.key, attempt.epoch, attempt.claim)
            raise

    def _end_old(self, attempt: JobAttempt, *, quietly: bool = True) -> None:
        """Cancel an attempt's job; one that was about to be submitted is found by its name first."""
        try:
            handle = attempt.handle or self._backend(attempt.request.profile).submit(attempt.request)
            self._backend(handle).cancel(handle)
        except AirflowMLError:
            if not quietly:
                raise


def _identity(job: CallJob | ShardJob) -> list[Any]:
    if isinstance(job, ShardJob):
        return ["shard", job.plan.sweep, job.plan.shards, job.shard]
    return ["call", job.call.key, job.timeout_seconds]


def _like(attempt: JobAttempt, profile: ComputeProfile) -> bool:
    return attempt.request.profile == profile
