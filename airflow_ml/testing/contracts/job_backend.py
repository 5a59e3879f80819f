"""What every ``core.ports.JobBackend`` must do: subclass ``JobBackendContract`` and override its fixtures.

The calls really run: each index is the program of a pod, which takes its work from a store and commits to it. A test of
the suite costs a second or two; what can be seen of one job is seen of one.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.failure_table import REASONS
from airflow_ml.core.job import ENDED, FAILED, LOST, RUNNING, SUCCEEDED, JobHandle, JobRequest, JobStatus
from airflow_ml.core.ports import JobBackend
from airflow_ml.core.record import parse_as
from airflow_ml.errors import BackendUnavailable, JobConflict
from airflow_ml.runtime.call import CallJob, call_ref
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.work import store_work
from airflow_ml.runtime.zipapp import store_runtime

_FUNCTION = """
def work(number, folder, seconds=0.0, dies=False):
    import os, time
    print(f"working on {number}", flush=True)
    with open(os.path.join(folder, f"pid-{number}"), "a") as file:
        file.write(f"{os.getpid()}\\n")
    if dies:
        os.kill(os.getppid(), 11)  # the process of the index, by a signal that no platform gives a meaning
        time.sleep(60)
    time.sleep(seconds)
    return number * 2
"""
#: A machine of tests is slow and shared.
_PATIENCE_SECONDS = 60.0


class Jobs:
    """Makes requests whose calls leave traces in a folder."""

    def __init__(self, store: FolderStore, folder: Path, profile: ComputeProfile) -> None:
        self.store = store
        self.folder = folder
        self._profile = profile
        self._runtime = store_runtime(store)
        self._function = as_function_ref(capture(_imported(folder, _FUNCTION)), store)

    def request(
        self, calls: Sequence[dict[str, Any]], *, epoch: int = 1, **profile: Any
    ) -> tuple[JobRequest, list[Call]]:
        """Return a request with a key of its own, and its calls."""
        made = [
            Call(
                function=self._function,
                arguments={"folder": str(self.folder), **arguments},
                seed=number,
                environment="tests",
            )
            for number, arguments in enumerate(calls)
        ]
        key = f"contract/{uuid.uuid4().hex}"
        request = JobRequest(
            key=key,
            epoch=epoch,
            work=store_work([CallJob(call=call) for call in made], self.store),
            calls=len(made),
            runtime=self._runtime,
            store_uri=self.store.uri,
            profile=replace(self._profile, **{"retries": 0, **profile}),
            owner={"namespace": "tests", "dag": "contract", "run": key, "task": "work", "map_index": "-1"},
        )
        return request, made

    def results(self, call: Call) -> list[CallResult]:
        """Return all results that were committed for a call, oldest first."""
        return [parse_as(CallResult, entry.value) for entry in self.store.history(call_ref(call))]

    def pids(self, number: int) -> list[int]:
        """Return the processes that worked on a number."""
        path = self.folder / f"pid-{number}"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


class JobBackendContract:
    """Override ``backend``, ``another_client``, ``profile`` and the hooks that break things.

    All fixtures of the class have its scope: each job costs processes.
    """

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls) -> JobBackend:
        """The backend under test."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def another_client(cls, backend: JobBackend) -> JobBackend:
        """A second connection to the same system."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def profile(cls) -> ComputeProfile:
        """Where the calls run."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def unreachable(cls) -> JobBackend:
        """A backend whose system does not answer."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def occupy(cls, backend: JobBackend) -> Callable[[JobRequest], None]:
        """Give the name that a request would take to somebody else's job."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def remove(cls, backend: JobBackend) -> Callable[[JobHandle], None]:
        """Remove a job behind the backend's back, as a time to live or a human does."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def throttle(cls, backend: JobBackend) -> Callable[[int], None]:
        """Let the system refuse so many requests, as it does when there are too many."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def jobs(cls, profile: ComputeProfile, tmp_path_factory: pytest.TempPathFactory) -> Jobs:
        """Requests that leave traces."""
        folder = tmp_path_factory.mktemp("jobs")
        return Jobs(FolderStore(folder / "store"), folder, profile)

    @pytest.fixture(scope="class")
    @classmethod
    def ended(cls, backend: JobBackend, jobs: Jobs) -> Iterator[tuple[JobRequest, list[Call], JobHandle]]:
        """A job of three calls in two indexes, the second of which cannot read its work; it has ended."""
        request, calls = jobs.request([{"number": 3}, {"number": 4}, {"number": 5}], calls_per_index=2)
        request = replace(request, work=_without_line(jobs, request, 2))
        handle = backend.submit(request)
        wait_until(lambda: backend.observe(handle).phase in ENDED)
        yield request, calls, handle
        backend.cancel(handle)

    @pytest.fixture(scope="class")
    @classmethod
    def running(cls, backend: JobBackend, jobs: Jobs) -> Iterator[tuple[JobRequest, JobHandle]]:
        """A job of one call that runs."""
        request, _ = jobs.request([{"number": 40, "seconds": 300.0}])
        handle = backend.submit(request)
        wait_until(lambda: jobs.pids(40))
        yield request, handle
        backend.cancel(handle)

    # ---- a job that ended

    def test_each_call_has_its_result_in_the_store(
        self, jobs: Jobs, ended: tuple[JobRequest, list[Call], JobHandle]
    ) -> None:
        values = [[result.value for result in jobs.results(call)] for call in ended[1]]
        assert values == [[6], [8], []]

    def test_the_status_counts_and_says_why_an_index_failed(
        self, backend: JobBackend, ended: tuple[JobRequest, list[Call], JobHandle]
    ) -> None:
        status = backend.observe(ended[2])
        assert (status.phase, status.indexes, status.active) == (FAILED, 2, 0)
        assert (status.succeeded, status.failed) == (1, 1)
        [failure] = status.failures
        assert (failure.index, failure.reason, failure.exit_code) == (1, "bad_input", 64)
        assert failure.reason in REASONS
        assert failure.name

    def test_another_client_sees_the_same(
        self, backend: JobBackend, another_client: JobBackend, ended: tuple[JobRequest, list[Call], JobHandle]
    ) -> None:
        handle = JobHandle.from_dict(json.loads(json.dumps(ended[2].to_dict())))
        assert another_client.observe(handle) == backend.observe(ended[2])

    def test_the_same_request_again_adopts_what_ended_and_runs_nothing(
        self, another_client: JobBackend, jobs: Jobs, ended: tuple[JobRequest, list[Call], JobHandle]
    ) -> None:
        assert another_client.submit(ended[0]) == ended[2]
        assert len(jobs.pids(3)) == 1

    def test_the_log_of_an_index(self, backend: JobBackend, ended: tuple[JobRequest, list[Call], JobHandle]) -> None:
        lines = list(backend.log(ended[2], 0))
        assert [line for line in lines if line.startswith("working on")] == ["working on 3", "working on 4"]
        assert len(list(backend.log(ended[2], 0, tail_lines=1))) == 1
        assert any("airflow-ml" in line for line in backend.log(ended[2], 1))

    def test_no_log_of_an_index_that_does_not_exist(
        self, backend: JobBackend, ended: tuple[JobRequest, list[Call], JobHandle]
    ) -> None:
        assert list(backend.log(ended[2], 7)) == []

    def test_throttling_is_waited_out(
        self,
        backend: JobBackend,
        throttle: Callable[[int], None],
        ended: tuple[JobRequest, list[Call], JobHandle],
    ) -> None:
        throttle(2)
        assert patiently(lambda: backend.observe(ended[2])).phase == FAILED

    # ---- a job that runs

    def test_a_job_waits_and_then_runs(
        self, backend: JobBackend, jobs: Jobs, running: tuple[JobRequest, JobHandle]
    ) -> None:
        wait_until(lambda: backend.observe(running[1]).phase == RUNNING)
        status = backend.observe(running[1])
        assert (status.indexes, status.active, status.succeeded, status.failures) == (1, 1, 0, ())

    def test_a_second_submission_adopts_the_running_job(
        self, another_client: JobBackend, jobs: Jobs, running: tuple[JobRequest, JobHandle]
    ) -> None:
        assert another_client.submit(running[0]) == running[1]
        assert len(jobs.pids(40)) == 1

    def test_a_handle_of_another_epoch_ends_nothing(
        self, backend: JobBackend, running: tuple[JobRequest, JobHandle]
    ) -> None:
        later = backend.submit(replace(running[0], epoch=2))
        assert later.names != running[1].names
        backend.cancel(later)
        wait_until(lambda: backend.observe(later).phase in ENDED)
        assert backend.observe(running[1]).phase == RUNNING

    def test_cancelling_ends_the_processes_and_may_be_repeated(
        self, backend: JobBackend, another_client: JobBackend, jobs: Jobs
    ) -> None:
        request, _ = jobs.request([{"number": 50, "seconds": 300.0}])
        handle = backend.submit(request)
        wait_until(lambda: jobs.pids(50))
        another_client.cancel(handle)
        backend.cancel(handle)
        status = wait_until(lambda: (status := backend.observe(handle)).phase in ENDED and status)
        assert status.phase != SUCCEEDED
        wait_until(lambda: not any(_alive(pid) for pid in jobs.pids(50)))
        backend.cancel(handle)

    # ---- what goes wrong

    def test_an_index_that_died_is_begun_again_as_often_as_the_profile_says(
        self, backend: JobBackend, jobs: Jobs
    ) -> None:
        request, _ = jobs.request([{"number": 60, "dies": True}], retries=1)
        handle = backend.submit(request)
        status = wait_until(lambda: (status := backend.observe(handle)).phase in ENDED and status)
        assert (status.phase, status.failed, len(jobs.pids(60))) == (FAILED, 1, 2)
        assert status.failures[0].exit_code == 139

    def test_a_foreign_job_of_the_name_is_a_conflict(
        self, backend: JobBackend, jobs: Jobs, occupy: Callable[[JobRequest], None]
    ) -> None:
        request, _ = jobs.request([{"number": 70}])
        occupy(request)
        with pytest.raises(JobConflict):
            backend.submit(request)
        assert jobs.pids(70) == []

    def test_a_job_that_was_removed_is_lost(
        self, backend: JobBackend, jobs: Jobs, remove: Callable[[JobHandle], None]
    ) -> None:
        request, _ = jobs.request([{"number": 80}])
        handle = backend.submit(request)
        wait_until(lambda: backend.observe(handle).phase in ENDED)
        remove(handle)
        assert wait_until(lambda: backend.observe(handle).phase == LOST)
        assert list(backend.log(handle, 0)) == []
        backend.cancel(handle)

    def test_a_system_that_does_not_answer_is_no_verdict(
        self, unreachable: JobBackend, jobs: Jobs, running: tuple[JobRequest, JobHandle]
    ) -> None:
        request, _ = jobs.request([{"number": 90}])
        with pytest.raises(BackendUnavailable):
            unreachable.submit(request)
        with pytest.raises(BackendUnavailable):
            unreachable.observe(running[1])
        assert list(unreachable.log(running[1], 0)) == []

    def test_rendering_needs_no_connection(self, unreachable: JobBackend, jobs: Jobs) -> None:
        request, _ = jobs.request([{"number": 91}])
        rendered = unreachable.render(request)
        assert json.loads(json.dumps(rendered)) == rendered
        assert rendered == unreachable.render(request)
        assert request.work.digest in json.dumps(rendered)


def wait_until(look: Callable[[], Any]) -> Any:
    """Return the first true answer."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"nothing after {_PATIENCE_SECONDS} s"
        time.sleep(0.1)
    return found


def patiently(ask: Callable[[], JobStatus]) -> JobStatus:
    """Ask as a trigger does: where nothing is known, a moment later again."""
    for _ in range(4):
        try:
            return ask()
        except BackendUnavailable:
            time.sleep(0.1)
    return ask()


def _without_line(jobs: Jobs, request: JobRequest, line: int) -> Any:
    """Return a request's work with one line that is no job."""
    import gzip

    lines = gzip.decompress(jobs.store.get_bytes(request.work)).split(b"\n")
    lines[line] = b'{"no": "job"}'
    return jobs.store.put_bytes(gzip.compress(b"\n".join(lines), mtime=0), format="jsonl.gz", rows=len(lines))


def _imported(folder: Path, text: str) -> Callable[..., Any]:
    """Return the function of a file that is imported as Airflow imports a DAG file."""
    file = folder / "contract_dag.py"
    file.write_text(text)
    name = f"unusual_prefix_{uuid.uuid4().hex}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded
    spec.loader.exec_module(loaded)
    work: Callable[..., Any] = loaded.work
    return work


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
