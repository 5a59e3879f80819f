"""Jobs on Kubernetes, against the double: each pod's command is a process that runs the far side for real."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from job_parts import calls, ended, kubernetes_profile, request_of, until

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.kubernetes import KubernetesJobs
from airflow_ml.adapters.kubernetes_api import KubernetesApi
from airflow_ml.core.far_side import IndexResult, index_ref
from airflow_ml.core.job import CANCELLED, FAILED, LOST, RUNNING, SUCCEEDED, WAITING, JobRequest
from airflow_ml.core.record import parse_as
from airflow_ml.errors import BackendUnavailable, ConfigurationError, JobConflict
from airflow_ml.testing.kubernetes import KubernetesDouble, Node, kubernetes_double

_numbers = itertools.count()


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubernetesDouble]:
    with kubernetes_double(nodes=[Node(capacity={"cpu": 100})], schema_version="1.34") as cluster:
        yield cluster


@pytest.fixture
def pauses() -> list[float]:
    return []


@pytest.fixture
def backend(cluster: KubernetesDouble, pauses: list[float]) -> Iterator[KubernetesJobs]:
    yield KubernetesJobs(KubernetesApi(cluster.client(), deadline_seconds=20.0, sleep=pauses.append))
    cluster.faults.clear()
    cluster.access.allow_all()


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def asked(folder: Path, store: FolderStore, *numbers: int, profile: dict[str, Any] | None = None, **call: Any) -> Any:
    jobs = calls(folder, store, [{"number": number, **call} for number in numbers])
    return request_of(store, jobs, kubernetes_profile(**(profile or {})), key=f"job-{next(_numbers)}")


def result(store: FolderStore, request: JobRequest, index: int) -> IndexResult | None:
    entry = store.latest(index_ref(request.key, request.epoch, index))
    return parse_as(IndexResult, entry.value) if entry is not None else None


def test_a_request_becomes_pods_and_results(tmp_path: Path, store: FolderStore, backend: KubernetesJobs) -> None:
    request = asked(tmp_path, store, 1, 2, 13, 4, 5, profile={"calls_per_index": 2})
    handle = backend.submit(request)
    status = ended(backend, handle)
    assert (status.phase, status.indexes, status.succeeded, status.failed) == (SUCCEEDED, 3, 3, 0)
    found = [result(store, request, index) for index in range(3)]
    assert [one and one.succeeded for one in found] == [2, 1, 1]
    assert any("working on 4" in line for line in backend.log(handle, 1))
    assert list(backend.log(handle, 99)) == []


@pytest.mark.fault("K1")
def test_a_job_of_this_request_is_adopted_and_another_one_is_not(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs, cluster: KubernetesDouble
) -> None:
    request = asked(tmp_path, store, 1, seconds=20)
    first = backend.submit(request)
    assert backend.submit(request) == first
    assert len([job for job in cluster.jobs() if job["metadata"]["name"] == first.names[0]]) == 1
    with pytest.raises(JobConflict, match=first.names[0]):
        backend.submit(replace(request, calls=2))  # the same key and epoch, other work
    backend.cancel(first)
    backend.cancel(first)


@pytest.mark.fault("A15")
def test_an_answer_that_is_lost_after_the_job_was_made_makes_no_second_one(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs, cluster: KubernetesDouble
) -> None:
    request = asked(tmp_path, store, 1)
    before = len(cluster.jobs())
    cluster.faults.fail_requests(503, verb="create", resource="jobs", times=2)
    handle = backend.submit(request)
    assert len(cluster.jobs()) == before + 1
    assert ended(backend, handle).phase == SUCCEEDED


@pytest.mark.fault("K3")
def test_a_busy_server_is_waited_for_as_it_asks_and_no_longer_than_the_deadline(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs, cluster: KubernetesDouble, pauses: list[float]
) -> None:
    cluster.faults.fail_requests(429, verb="create", resource="jobs", times=1, retry_after_seconds=7)
    cluster.faults.fail_requests(500, verb="create", resource="jobs", times=1)
    cluster.faults.fail_requests(0, verb="create", resource="jobs", times=1)  # cut
    handle = backend.submit(asked(tmp_path, store, 1))
    assert pauses[0] == 7
    assert len(pauses) == 3
    cluster.faults.fail_requests(429, verb="get", resource="jobs*", times=-1, retry_after_seconds=3600)
    with pytest.raises(BackendUnavailable, match="429"):
        backend.observe(handle)
    assert max(pauses) < 60
    cluster.faults.clear()
    assert ended(backend, handle).phase == SUCCEEDED


def test_what_the_server_refuses_is_told_in_its_words(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs, cluster: KubernetesDouble
) -> None:
    request = asked(tmp_path, store, 1)
    cluster.faults.fail_requests(403, verb="create", resource="jobs", message="exceeded quota: gpus")
    with pytest.raises(BackendUnavailable, match="exceeded quota: gpus"):
        backend.submit(request)
    cluster.faults.fail_requests(422, verb="create", resource="jobs", message="spec.template: Invalid value")
    with pytest.raises(ConfigurationError, match=r"spec.template: Invalid value.*'k8s'"):
        backend.submit(request)
    with pytest.raises(ConfigurationError, match=r"namespaces .nowhere. not found"):
        backend.submit(asked(tmp_path, store, 1, profile={"kubernetes": {"namespace": "nowhere"}}))
    away = KubernetesJobs(KubernetesApi(cluster.client(), deadline_seconds=0.0))
    cluster.faults.fail_requests(0, times=-1)
    with pytest.raises(BackendUnavailable, match="cannot be reached"):
        away.submit(request)


@pytest.mark.fault("K4")
@pytest.mark.parametrize(
    "what",
    [
        "evict_without_statuses",
        pytest.param("preempt", marks=pytest.mark.long),
        pytest.param("node_lost", marks=pytest.mark.long),
    ],
)
def test_a_disrupted_index_is_begun_again_and_nothing_is_counted(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs, cluster: KubernetesDouble, what: str
) -> None:
    cluster.faults.disrupt_pods(what, times=1, after_seconds=0.1)
    request = asked(tmp_path, store, 3, seconds=0.5)
    handle = backend.submit(request)
    status = ended(backend, handle)
    assert (status.phase, status.failed, status.failures) == (SUCCEEDED, 0, ())
    assert result(store, request, 0) is not None
    events = backend.api.get("/api/v1/namespaces/default/events").body["items"]
    begun = [one for one in events if one["reason"] == "Scheduled" and handle.names[0] in one["involvedObject"]["name"]]
    assert len(begun) == 2


@pytest.mark.fault("K9")
def test_indexes_fail_alone_and_say_why(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs, cluster: KubernetesDouble
) -> None:
    request = asked(tmp_path, store, 1, 2, 3)
    cluster.faults.disrupt_pods("oom", name="*-1-*", times=1, after_seconds=0.0)
    handle = backend.submit(request)
    status = ended(backend, handle)
    assert (status.phase, status.succeeded, status.failed) == (FAILED, 2, 1)
    (failure,) = status.failures
    assert (failure.index, failure.reason) == (1, "out_of_memory")
    requests = backend.api.requests
    assert backend.observe(handle) == status
    assert backend.api.requests == requests + 1  # why they failed is not asked again


@pytest.mark.fault("K5")
def test_an_image_that_cannot_be_pulled_fails_fast(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs, cluster: KubernetesDouble
) -> None:
    cluster.faults.refuse_images("python:here")
    handle = backend.submit(asked(tmp_path, store, 1, profile={"kubernetes": {"start_timeout_seconds": 1}}))
    status = ended(backend, handle)
    assert (status.phase, status.failures[0].reason) == (FAILED, "image_pull")
    assert "python:here" in status.failures[0].message
    backend.cancel(handle)


@pytest.mark.fault("K6")
def test_what_no_node_takes_waits_and_then_fails_with_the_schedulers_words(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs
) -> None:
    limit = {"schedule_timeout_seconds": 2}
    handle = backend.submit(asked(tmp_path, store, 1, profile={"gpus": 1, "kubernetes": limit}))
    status = until(backend, handle, lambda status: "nvidia.com/gpu" in status.waiting_for)
    if status.phase == WAITING:
        status = ended(backend, handle)
    assert (status.phase, status.failures[0].reason) == (FAILED, "unschedulable")
    assert "Insufficient nvidia.com/gpu" in status.failures[0].message
    assert "(no node has nvidia.com/gpu)" in status.failures[0].message
    backend.cancel(handle)


@pytest.mark.parametrize("allowed", [True, False])
def test_what_is_free_is_told_where_nodes_may_be_seen(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs, cluster: KubernetesDouble, allowed: bool
) -> None:
    if not allowed:
        cluster.access.deny("list", "nodes")
    handle = backend.submit(asked(tmp_path, store, 1, profile={"cpus": 1000}))
    status = until(backend, handle, lambda status: "Insufficient cpu" in status.waiting_for)
    assert status.phase == WAITING
    assert (" cpu free on 1 node)" in status.waiting_for) is allowed
    assert "memory" not in status.waiting_for
    backend.cancel(handle)


@pytest.mark.fault("K8", "A14")
def test_a_job_that_somebody_removed_is_lost_and_one_of_the_same_name_is_not_it(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs
) -> None:
    request = asked(tmp_path, store, 1, seconds=20)
    handle = backend.submit(request)
    until(backend, handle, lambda status: status.phase == RUNNING)
    backend.cancel(handle)
    until(backend, handle, lambda status: status.phase in (LOST, CANCELLED))
    assert ended(backend, handle).phase in (LOST, CANCELLED)
    until(backend, handle, lambda status: status.phase == LOST)
    second = backend.submit(request)
    assert second.names == handle.names
    assert backend.observe(handle).phase == LOST
    backend.cancel(handle)  # the old one's late kill
    assert backend.observe(second).phase in (WAITING, RUNNING)
    backend.cancel(second)


@pytest.mark.fault("K10")
@pytest.mark.parametrize("status", [404, pytest.param(500, marks=pytest.mark.long), 0])
def test_a_log_that_cannot_be_read_is_empty(
    tmp_path: Path, store: FolderStore, cluster: KubernetesDouble, status: int
) -> None:
    backend = KubernetesJobs(KubernetesApi(cluster.client(), deadline_seconds=0.0))
    handle = backend.submit(asked(tmp_path, store, 1))
    ended(backend, handle)
    cluster.faults.fail_requests(status, resource="pods/log", times=-1)
    assert list(backend.log(handle, 0)) == []
    cluster.faults.clear()
    assert list(backend.log(handle, 0, tail_lines=1)) != []


def test_jobs_of_airflow_ml_are_found_by_their_label(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs
) -> None:
    request = asked(tmp_path, store, 1, seconds=20)
    handle = backend.submit(request)
    found = {one.names[0]: notes for one, notes in backend.found("default")}
    assert found[handle.names[0]]["airflow-ml/key"] == request.key
    backend.cancel(handle)
    until(backend, handle, lambda status: status.phase == LOST)
    assert handle.names[0] not in {one.names[0] for one, _ in backend.found("default")}


def test_a_server_whose_certificate_is_not_trusted_is_away_and_the_words_say_so(
    tmp_path: Path, store: FolderStore, cluster: KubernetesDouble
) -> None:
    from kubernetes import client

    settings = client.Configuration(host=cluster.url)  # nobody has said which authority signs it
    stranger = KubernetesJobs(KubernetesApi(client.ApiClient(settings), deadline_seconds=0.0))
    with pytest.raises(BackendUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.submit(asked(tmp_path, store, 1))


def test_what_is_ended_since_enough_have_succeeded_is_no_failure(
    tmp_path: Path, store: FolderStore, backend: KubernetesJobs
) -> None:
    jobs = calls(tmp_path, store, [{"number": 1}, {"number": 2, "seconds": 60}])
    share = kubernetes_profile(kubernetes={"success_fraction": 0.5})
    handle = backend.submit(request_of(store, jobs, share, key=f"job-{next(_numbers)}"))
    status = ended(backend, handle)
    assert (status.phase, status.succeeded, status.failed, status.failures) == (SUCCEEDED, 1, 0, ())
