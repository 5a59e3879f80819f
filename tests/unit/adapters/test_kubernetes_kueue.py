"""Jobs in a queue of Kueue, against the double's: where they stand, that they begin in turn, what may not be asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from job_parts import calls, ended, kubernetes_profile, request_of, until

from airflow_ml.adapters import kubernetes_kueue
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.kubernetes import KubernetesJobs
from airflow_ml.adapters.kubernetes_api import KubernetesApi
from airflow_ml.core.job import FAILED, SUCCEEDED, WAITING, JobHandle
from airflow_ml.testing.kubernetes import KubernetesDouble, kubernetes_double

GROUP = {"coveredResources": ["cpu", "memory", "ephemeral-storage"]}
KUEUE = "kueue.x-k8s.io/v1beta2"


@pytest.fixture(params=["v1beta1", "v1beta2"])
def cluster(request: pytest.FixtureRequest) -> Iterator[KubernetesDouble]:
    quota = {"cpu": "1", "memory": "8Gi", "ephemeral-storage": "8Gi"}
    flavor = {
        "name": "default-flavor",
        "resources": [{"name": name, "nominalQuota": most} for name, most in quota.items()],
    }
    with kubernetes_double(kueue=request.param) as cluster:
        spec: dict[str, Any] = {"resourceGroups": [{**GROUP, "flavors": [flavor]}]}
        cluster.create({"apiVersion": KUEUE, "kind": "ClusterQueue", "metadata": {"name": "gpus"}, "spec": spec})
        local = {"apiVersion": KUEUE, "kind": "LocalQueue", "spec": {"clusterQueue": "gpus"}}
        for name in ("team", "others"):
            cluster.create({**local, "metadata": {"name": name, "namespace": "default"}})
        yield cluster


def backend_of(cluster: KubernetesDouble) -> KubernetesJobs:
    return KubernetesJobs(KubernetesApi(cluster.client(), deadline_seconds=20.0))


def submit(cluster: KubernetesDouble, folder: Path, name: str, *, cpus: float = 0.6, **call: Any) -> JobHandle:
    store = FolderStore(folder / "store")
    options = {"kueue_queue": call.pop("queue", "team"), **call.pop("options", {})}
    jobs = calls(folder, store, [{"number": 1, **call}])
    return backend_of(cluster).submit(
        request_of(store, jobs, kubernetes_profile(cpus=cpus, kubernetes=options), key=f"queued-{name}")
    )


@pytest.mark.fault("K6")
@pytest.mark.parametrize("cluster", ["v1beta2"], indirect=True)
def test_a_job_says_where_it_stands_and_begins_in_its_turn(
    cluster: KubernetesDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubernetes_kueue, "_KEPT_SECONDS", 1e9)  # else the minute may end in between
    backend = backend_of(cluster)
    first = submit(cluster, tmp_path, "first", seconds=2)
    other = submit(cluster, tmp_path, "other", queue="others", seconds=30)
    last = submit(cluster, tmp_path, "last", seconds=30)
    until(backend, first, lambda status: status.phase != WAITING)
    before = cluster.requests.count()
    status = backend.observe(last)
    assert status.phase == WAITING
    assert status.waiting_for == (
        "suspended until the queue team lets it go; number 1 of 1 in it, number 2 for its quota; Pending: couldn't "
        "assign flavors to pod set main: insufficient unused quota for cpu in flavor default-flavor, 0.2 more needed"
    )
    asked = cluster.requests.count() - before
    before = cluster.requests.count()
    assert backend.observe(last) == status
    assert (cluster.requests.count() - before, asked) == (1, 3)
    assert ended(backend, first).phase == SUCCEEDED
    until(backend, other, lambda status: status.phase != WAITING)
    assert backend.observe(last).phase == WAITING
    backend.cancel(other)
    until(backend, last, lambda status: status.phase != WAITING)
    backend.cancel(last)


@pytest.mark.fault("K6")
def test_what_never_fits_and_a_queue_that_is_not_there_are_told(cluster: KubernetesDouble, tmp_path: Path) -> None:
    backend = backend_of(cluster)
    status = backend.observe(submit(cluster, tmp_path, "large", cpus=40))
    assert "request > maximum capacity (40 > 1)" in status.waiting_for
    status = backend.observe(submit(cluster, tmp_path, "nowhere", queue="nowhere"))
    assert status.waiting_for == (
        "suspended until the queue nowhere lets it go; Inadmissible: LocalQueue nowhere doesn't exist"
    )


@pytest.mark.parametrize("cluster", ["v1beta2"], indirect=True)
@pytest.mark.parametrize(("what", "status"), [("workloads", 0), ("localqueues/pendingworkloads", 503), ("*", 403)])
def test_where_nothing_may_be_asked_the_queue_is_told(
    cluster: KubernetesDouble, tmp_path: Path, what: str, status: int
) -> None:
    handle = submit(cluster, tmp_path, "silent", cpus=40)
    backend = backend_of(cluster)
    for resource in ("workloads", "localqueues/pendingworkloads"):
        if what in ("*", resource):
            if status == 403:
                cluster.access.deny("*", resource)
            else:
                cluster.faults.fail_requests(status, resource=resource, times=-1, retry_after_seconds=60)
    found = backend.observe(handle)
    assert found.phase == WAITING
    assert found.waiting_for.startswith("suspended until the queue team lets it go")
    assert "not installed" not in found.waiting_for
    assert ("number 1 of 1" in found.waiting_for) is (what == "workloads")
    assert ("maximum capacity" in found.waiting_for) is (what == "localqueues/pendingworkloads")


@pytest.mark.fault("K6")
@pytest.mark.parametrize("cluster", ["v1beta2"], indirect=True)
def test_what_no_waiting_helps_ends_when_it_has_lasted(cluster: KubernetesDouble, tmp_path: Path) -> None:
    backend, soon = backend_of(cluster), {"start_timeout_seconds": 0.1, "schedule_timeout_seconds": 0.1}
    nowhere = submit(cluster, tmp_path, "nowhere", queue="nowhere", options={"start_timeout_seconds": 0.1})
    large = submit(cluster, tmp_path, "large", cpus=40, options=soon)
    later = submit(cluster, tmp_path, "later", queue="nowhere")  # has five minutes
    full = submit(cluster, tmp_path, "full", cpus=0.9, seconds=30)
    behind = submit(cluster, tmp_path, "behind", cpus=0.9, options=soon)  # for this there will be room
    for handle, reason, words in (
        (nowhere, "refused", "LocalQueue nowhere doesn't exist"),
        (large, "quota", "request > maximum capacity (40 > 1)"),
    ):
        assert backend.observe(handle).phase == WAITING  # whatever the cluster's own times say
        status = until(backend, handle, lambda status: status.phase == FAILED)
        [failure] = status.failures
        assert (failure.reason, words in failure.message) == (reason, True)
    for handle in (later, behind):
        assert (backend.observe(handle).phase, backend.observe(handle).failures) == (WAITING, ())
        backend.cancel(handle)
    backend.cancel(full)


def test_a_cluster_without_kueue_says_so_and_ends_the_job(tmp_path: Path) -> None:
    with kubernetes_double() as cluster:
        backend = backend_of(cluster)
        handle = submit(cluster, tmp_path, "no-kueue", options={"start_timeout_seconds": 0.1})
        found = backend.observe(handle)
        assert (found.phase, found.waiting_for) == (
            WAITING,
            "suspended until the queue team lets it go; Kueue is not installed: there is no API kueue.x-k8s.io",
        )
        assert until(backend, handle, lambda status: status.phase == FAILED).failures[0].reason == "refused"
