"""One call the whole way, on the double of a cluster: what it finds there, and why it did not come back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.kubernetes import KubernetesJobs
from airflow_ml.adapters.kubernetes_api import KubernetesApi
from airflow_ml.core.compute import ComputeProfile, profile_from_dict
from airflow_ml.core.finding import MISSING, OK, Finding
from airflow_ml.runtime.host_facts import host_facts
from airflow_ml.runtime.probe import probe
from airflow_ml.testing.kubernetes import KubernetesDouble, Node, kubernetes_double


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubernetesDouble]:
    gpu = Node(name="gpu", capacity={"nvidia.com/gpu": 1})
    with kubernetes_double(nodes=[Node(), gpu], schema_version="1.34") as started:
        yield started


def profile(**table: Any) -> ComputeProfile:
    own = {"image_by_tag": True, **table.pop("kubernetes", {})}
    small = {"cpus": 0.1, "memory_gib": 0.25, "ephemeral_gib": 0.1, "retries": 0, "python": sys.executable}
    return profile_from_dict("k8s", {"kind": "kubernetes", "image": "here:1", **small, **table, "kubernetes": own})


def found(cluster: KubernetesDouble, folder: Path, asked: ComputeProfile, seconds: float = 60.0) -> list[Finding]:
    said: list[str] = []
    backend = KubernetesJobs(KubernetesApi(cluster.client()))
    store = FolderStore(folder / "store")
    findings = list(
        probe(asked, store=store, backend=backend, timeout_seconds=seconds, log=said.append, poll_seconds=0.2)
    )
    assert said
    assert not [job for job in cluster.jobs() if not job["metadata"].get("deletionTimestamp")]
    return findings


def test_a_call_comes_back(cluster: KubernetesDouble, tmp_path: Path) -> None:
    (only,) = found(cluster, tmp_path, profile())
    assert only.state == OK, only
    assert only.seen.startswith(f"Python {sys.version.split()[0]} on ")


def test_no_device_is_seen_there(cluster: KubernetesDouble, tmp_path: Path) -> None:
    there, gpus = found(cluster, tmp_path, profile(gpus=1))
    assert there.state == OK
    assert (gpus.check, gpus.state) == ("GPUs there", MISSING)


def test_a_call_that_cannot_begin(cluster: KubernetesDouble, tmp_path: Path) -> None:
    (only,) = found(cluster, tmp_path, profile(python="no-such-python"))
    assert only.state == MISSING
    assert "start_error" in only.seen


def test_a_call_that_no_node_takes(cluster: KubernetesDouble, tmp_path: Path) -> None:
    (only,) = found(cluster, tmp_path, profile(gpus=8), seconds=1.0)
    assert only.state == MISSING
    assert only.seen.startswith("waiting for 1 seconds: ")
    assert "Insufficient nvidia.com/gpu" in only.seen


def test_the_cluster_refuses(cluster: KubernetesDouble, tmp_path: Path) -> None:
    cluster.access.deny("create", "jobs")
    backend = KubernetesJobs(KubernetesApi(cluster.client()))
    store = FolderStore(tmp_path / "store")
    (only,) = probe(profile(), store=store, backend=backend, timeout_seconds=1.0, log=print)
    cluster.access.allow_all()
    assert only.state == MISSING
    assert "forbidden" in only.seen


def test_what_is_told_of_this_place() -> None:
    told = host_facts()
    assert told["python"] == sys.version.split()[0]
    assert isinstance(told["packages"], int)
    assert told["packages"] > 10
