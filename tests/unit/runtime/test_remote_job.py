"""Attempts at a remote job: one lives at a time, what is done is not done again, and late words find a newer entry."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))
from job_parts import calls, kubernetes_profile

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.call import CallResult
from airflow_ml.core.far_side import IndexResult, index_ref
from airflow_ml.core.job import FAILED, LOST, RUNNING, SUCCEEDED, IndexFailure, JobHandle, JobRequest, JobStatus
from airflow_ml.core.job_attempt import CANCELLED, ENDED, SUBMITTED, read_ranges, write_ranges
from airflow_ml.core.record import JSON
from airflow_ml.errors import BackendUnavailable, ConfigurationError, FencedOut
from airflow_ml.runtime.call import CallJob
from airflow_ml.runtime.job_reap import orphans
from airflow_ml.runtime.remote_job import RemoteJobs
from airflow_ml.runtime.remote_results import with_peak, without_results
from airflow_ml.runtime.work import read_work
from airflow_ml.testing.failpoints import FailpointError, failing

OWNER = {"namespace": "test", "dag": "d", "run": "r", "task": "t"}


class Scripted:
    """A backend that remembers what it was asked; its jobs are whatever the test writes into the store."""

    def __init__(self) -> None:
        self.jobs: dict[str, JobRequest] = {}
        self.cancelled: list[str] = []
        self.submissions = 0
        self.error: Exception | None = None

    def render(self, request: JobRequest) -> Mapping[str, JSON]:
        return {}

    def submit(self, request: JobRequest) -> JobHandle:
        self.submissions += 1
        if self.error is not None:
            raise self.error
        name = f"{request.key}-{request.epoch}"
        self.jobs.setdefault(name, request)
        return JobHandle(kind="kubernetes", names=(name,), epoch=request.epoch)

    def observe(self, handle: JobHandle) -> JobStatus:
        return JobStatus(phase=RUNNING if handle.names[0] in self.jobs else LOST, indexes=1)

    def log(self, handle: JobHandle, index: int, *, tail_lines: int = 200) -> Iterator[str]:
        return iter(())

    def cancel(self, handle: JobHandle) -> None:
        self.cancelled.append(handle.names[0])


class World:
    def __init__(self, folder: Path) -> None:
        self.store = FolderStore(folder / "store")
        self.backend = Scripted()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.remote = RemoteJobs(self.store, lambda place: self.backend, now=lambda: self.now, lease_seconds=3600)
        self.profile = kubernetes_profile(calls_per_index=2)
        self.work = calls(folder, self.store, [{"number": number} for number in range(5)])

    def begin(self, *, generation: str = "0", work: list[CallJob] | None = None, **changes: Any) -> Any:
        profile = replace(self.profile, **changes)
        return self.remote.begin("k", work or self.work, profile, owner=OWNER, generation=generation)

    def answer(self, request: JobRequest, *, failing: tuple[int, ...] = (), without: tuple[int, ...] = ()) -> None:
        """Write the results of a request's indexes, as the far side does."""
        size = request.profile.calls_per_index
        for index in range(request.indexes):
            if index in without:
                continue
            jobs = read_work(self.store.get_bytes(request.work), first=index * size, count=size)
            results = []
            for job in jobs:
                assert isinstance(job, CallJob)
                number = int(str(job.call.arguments["number"]))
                status = "failed" if number in failing else "succeeded"
                results.append(CallResult(call=job.call.key, status=status, value=number).to_dict())
            record = IndexResult(
                job=request.key, epoch=request.epoch, index=index, calls=len(jobs), succeeded=0, results=tuple(results)
            )
            self.store.append(index_ref(request.key, request.epoch, index), record.to_dict(), after=0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@given(st.sets(st.integers(0, 300)))
def test_ranges_come_back(numbers: set[int]) -> None:
    assert read_ranges(write_ranges(sorted(numbers))) == sorted(numbers)


def test_ranges_are_short() -> None:
    assert write_ranges(range(10_000)) == "0-9999"
    assert write_ranges([0, 1, 3, 7, 8, 9]) == "0-1,3,7-9"


@pytest.mark.fault("A5", "A13")
def test_a_second_worker_takes_over_what_runs_and_the_first_one_is_fenced_out(world: World) -> None:
    first = world.begin()
    second = world.begin()
    assert (second.epoch, second.claim, second.handle) == (first.epoch, first.claim + 1, first.handle)
    assert len(world.backend.jobs) == 1
    with pytest.raises(FencedOut):
        world.remote.renew(first)
    with pytest.raises(FencedOut):
        world.remote.end(first, JobStatus(phase=SUCCEEDED, indexes=3))
    assert not world.remote.cancel("k", first.epoch, first.claim, "late")
    assert world.backend.cancelled == []


@pytest.mark.fault("A5", "A13")
def test_of_workers_that_begin_at_the_same_moment_one_leads_one_job(world: World) -> None:
    together = Barrier(6)

    def begin(number: int) -> list[Any]:
        together.wait()
        with suppress(FencedOut):  # another one took it over between the claim and the submission
            return [world.begin()]
        return []

    with ThreadPoolExecutor(6) as pool:
        attempts = [one for found in pool.map(begin, range(6)) for one in found]
    assert len(world.backend.jobs) == 1
    assert {one.epoch for one in attempts} == {1}
    latest = world.remote.latest("k")
    assert latest is not None
    assert (latest.state, latest.handle is not None) == (SUBMITTED, True)
    assert world.backend.cancelled == []
    leading = []
    for attempt in attempts:
        with suppress(FencedOut):
            leading.append(world.remote.renew(attempt))
    assert [one.claim for one in leading] == [latest.claim]


@pytest.mark.fault("A15")
def test_a_worker_that_dies_around_the_submission_leaves_one_job(world: World) -> None:
    for place in ("job.before_submit", "job.after_submit"):
        with failing(f"{place}=raise"), pytest.raises(FailpointError):
            world.begin()
    attempt = world.begin()
    assert (attempt.state, attempt.epoch, len(world.backend.jobs)) == (SUBMITTED, 1, 1)


@pytest.mark.fault("A12")
def test_a_clear_begins_a_new_epoch_and_ends_the_old_job_by_its_own_handle(world: World) -> None:
    old = world.begin(generation="0")
    new = world.begin(generation="3")
    assert (new.epoch, new.claim) == (2, 1)
    assert world.backend.cancelled == ["k-1"]
    assert not world.remote.cancel("k", old.epoch, old.claim, "the old trigger's late on_kill")
    assert world.backend.cancelled == ["k-1"]
    assert new.request.calls == 5  # a clear runs everything again


def test_other_work_is_another_job(world: World) -> None:
    world.begin()
    new = world.begin(work=world.work[:3])
    assert (new.epoch, new.request.calls, world.backend.cancelled) == (2, 3, ["k-1"])


@pytest.mark.fault("A1", "K9")
def test_a_retry_after_an_end_runs_what_has_no_success(world: World) -> None:
    first = world.begin()
    world.answer(first.request, failing=(3,), without=(2,))
    world.remote.end(first, JobStatus(phase=FAILED, indexes=3))
    second = world.begin()
    assert (second.epoch, second.lines, second.request.calls) == (2, "3-4", 2)
    world.answer(second.request)
    found = world.remote.results(second)
    assert [found[line]["value"] for line in range(5)] == [0, 1, 2, 3, 4]
    assert all(found[line]["status"] == "succeeded" for line in range(5))
    assert world.remote.work(second) == world.work
    world.remote.end(second, JobStatus(phase=SUCCEEDED, indexes=1))
    third = world.begin()  # a worker died between the end and its XCom
    assert (third.epoch, third.state, world.backend.submissions) == (2, ENDED, 2)


def test_a_cancelled_job_is_not_taken_over(world: World) -> None:
    attempt = world.begin()
    assert world.remote.cancel("k", attempt.epoch, attempt.claim, "its task was set to failed")
    assert world.backend.cancelled == ["k-1"]
    latest = world.remote.latest("k")
    assert latest is not None
    assert latest.state == CANCELLED
    assert not world.remote.cancel("k", attempt.epoch, attempt.claim, "twice")
    assert world.begin().epoch == 2


def test_a_profile_that_cannot_work_is_forgotten_and_a_cluster_that_is_away_is_not(world: World) -> None:
    world.backend.error = BackendUnavailable("The cluster is away")
    with pytest.raises(BackendUnavailable):
        world.begin()
    with pytest.raises(BackendUnavailable):
        world.begin()
    world.backend.error = ConfigurationError("spec.template: invalid")
    with pytest.raises(ConfigurationError):
        world.begin()
    world.backend.error = None
    attempt = world.begin(parallelism=7)
    assert (attempt.epoch, attempt.request.profile.parallelism) == (2, 7)


def test_the_lease_is_renewed_when_half_of_it_is_over(world: World) -> None:
    attempt = world.begin()
    assert world.remote.renew(attempt) == attempt
    world.now += timedelta(seconds=1900)
    renewed = world.remote.renew(attempt)
    assert renewed.lease_expires_at == world.now + timedelta(seconds=3600)


@pytest.mark.fault("K7", "K8")
def test_why_there_is_no_result() -> None:
    known = IndexFailure(index=1, reason="evicted", message="node pressure")
    told = without_results(JobStatus(phase=FAILED, indexes=3, failures=(known,)), [2, 3, 4], 2)
    assert [(item.index, item.reason) for item in told] == [(1, "evicted"), (2, "cancelled")]  # 2 was not begun
    newest = tuple(IndexFailure(index=index, reason="out_of_memory", message="") for index in range(9_900, 10_000))
    many = JobStatus(phase=FAILED, indexes=10_000, failed=10_000, failures=newest)  # a backend keeps the newest 100
    assert {item.reason for item in without_results(many, range(10_000), 1)} == {"out_of_memory"}
    held = IndexFailure(index=0, reason="refused", message="LocalQueue team doesn't exist")
    told = without_results(JobStatus(phase=FAILED, indexes=3, failures=(held,), waiting_for="in a queue"), [0, 1, 2], 1)
    assert [(item.reason, item.message) for item in told] == [("refused", held.message)] * 3  # given up as a whole
    ended_well = without_results(JobStatus(phase=SUCCEEDED, indexes=3), [0], 2)
    assert [(item.index, item.reason) for item in ended_well] == [(0, "no_result")]
    enough = JobStatus(phase=SUCCEEDED, indexes=3, succeeded=2)
    assert [(item.index, item.reason) for item in without_results(enough, [2], 1)] == [(2, "cancelled")]
    gone = JobStatus(phase=LOST, indexes=0, waiting_for="job x is not in namespace y any more")
    assert "namespace y" in without_results(gone, [0], 1)[0].message


def test_of_memory_that_was_not_enough_the_peak_of_others_is_told(world: World) -> None:
    attempt = world.begin()
    killed = IndexFailure(index=1, reason="out_of_memory", message="killed for its memory: its limit is 8192Mi")
    other = IndexFailure(index=2, reason="evicted", message="node pressure")
    assert with_peak((killed, other), world.store, attempt) == (killed, other)
    for index, peak in ((0, 3 << 30), (2, 1 << 30)):
        record = IndexResult(
            job="k", epoch=1, index=index, calls=2, succeeded=2, results=(None, None), peak_memory_bytes=peak
        )
        world.store.append(index_ref("k", 1, index), record.to_dict(), after=0)
    told = with_peak((killed, other), world.store, attempt)
    assert told[0].message.endswith("its limit is 8192Mi; the most that an index that ended took is 3.00 GiB")
    assert told[1] == other


@pytest.mark.fault("A8", "A16", "K11")
def test_orphans_are_jobs_that_nobody_waits_for(world: World) -> None:
    attempt = world.begin()
    notes = {"airflow-ml/key": "k", "airflow-ml/dag": "d", "airflow-ml/run": "r", "airflow-ml/task": "t"}
    job = (attempt.handle, notes)

    def found(state: str = "", **changes: Any) -> list[str]:
        handle = replace(attempt.handle, **changes)
        seen = [(handle, notes), (handle, {"airflow-ml:key": "another store's"})]
        return [one.reason for one in orphans(world.remote, seen, now=world.now, ended=lambda owner: state)]

    assert job[0].epoch == 1
    assert found() == []
    assert found("failed") == ["its task is failed"]
    world.now += timedelta(seconds=3601)
    assert "nobody has looked after it since" in found()[0]
    newer = world.begin(generation="1")
    assert found() == ["epoch 2 leads, this is 1"]
    assert found(epoch=2) == []
    world.remote.cancel("k", newer.epoch, newer.claim, "its task was set to failed")
    assert "its attempt is cancelled" in found(epoch=2)[0]
