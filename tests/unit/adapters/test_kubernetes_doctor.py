"""The doctor against the double of a cluster: what is there is found, and each thing that is missing is named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from airflow_ml.adapters.kubernetes_api import Answer, KubernetesApi
from airflow_ml.adapters.kubernetes_connection import open_cluster
from airflow_ml.adapters.kubernetes_doctor import examine_cluster
from airflow_ml.cli import main
from airflow_ml.core.compute import ComputeProfile, profile_from_dict
from airflow_ml.core.finding import MISSING, OK, UNKNOWN, Finding
from airflow_ml.errors import BackendUnavailable
from airflow_ml.testing.kubernetes.double import KubernetesDouble
from airflow_ml.testing.kubernetes.scheduling import Node

IMAGE = "registry.example.com/train@sha256:" + "0" * 64
GPU = Node(
    name="gpu-1",
    labels={"nvidia.com/gpu.memory": "81559"},
    capacity={"nvidia.com/gpu": 4, "cpu": "16"},
    taints=({"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"},),
)


@pytest.fixture(scope="module")
def double() -> Iterator[KubernetesDouble]:
    with KubernetesDouble(
        nodes=(Node(), GPU), namespaces=["training", "tight"], schema_version="1.34", kueue="v1beta1"
    ) as s:
        yield s


@pytest.fixture
def api(double: KubernetesDouble, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    monkeypatch.setenv("KUBECONFIG", str(double.kubeconfig))
    double.access.allow_all()
    yield open_cluster()
    double.access.allow_all()


def profile(kubernetes: dict[str, Any] | None = None, **table: Any) -> ComputeProfile:
    own = {"namespace": "training", **(kubernetes or {})}
    return profile_from_dict("gpu", {"kind": "kubernetes", "image": IMAGE, "kubernetes": own, **table})


def found(api: KubernetesApi, asked: ComputeProfile) -> dict[str, Finding]:
    return {one.check: one for one in examine_cluster(api, asked, store_uri="s3://bucket/ml")}


def test_all_is_well(api: KubernetesApi) -> None:
    findings = found(api, profile(gpus={"count": 2, "memory_gib": 80}))
    assert {one.state for one in findings.values()} == {OK}, findings
    assert findings["rights: jobs"].seen == "create, get, list, delete"
    assert findings["nodes"].seen == "1 of 2 can take a pod of this profile, 1 have room for one now"
    assert findings["GPUs"].seen == "4 of 4 nvidia.com/gpu free on 1 node"
    assert findings["admission"].seen == "a job of this profile is accepted (dry run)"


def test_rights_that_are_missing(api: KubernetesApi, double: KubernetesDouble) -> None:
    double.access.deny("delete", "jobs", namespace="training")
    double.access.deny("get", "pods/log")
    double.access.deny("create", "pods")
    double.access.deny("list", "nodes")
    double.access.deny("get", "namespaces")
    findings = found(api, profile())
    assert findings["rights: jobs"].state == MISSING
    assert findings["rights: jobs"].seen == "may not delete in training"
    assert findings["rights: pods/log"].state == MISSING
    assert findings["rights: pods"].state == OK
    assert findings["rights: pods, for GpuPodOperator"].state == UNKNOWN
    assert findings["nodes"].state == UNKNOWN
    assert findings["namespace training"].state == UNKNOWN


def test_objects_that_are_missing(api: KubernetesApi) -> None:
    options = {
        "service_account": "trainer",
        "priority_class": "low",
        "runtime_class": "nvidia",
        "kueue_queue": "gpu",
        "image_pull_secrets": ["pull"],
        "secrets": {"HF_TOKEN": "hub/token"},
        "claims": {"/mnt/store": "store"},
    }
    findings = found(api, profile(options))
    for check in (
        "service account trainer", "priority class low", "runtime class nvidia", "Kueue queue gpu", "pull secret pull",
        "secret hub", "claim store",
    ):  # fmt: skip
        assert (findings[check].state, findings[check].seen) == (MISSING, "does not exist"), check
    assert found(api, profile({"namespace": "nowhere"}))["namespace nowhere"].state == MISSING


def test_a_queue_that_lets_nothing_go(api: KubernetesApi, double: KubernetesDouble) -> None:
    idle = {"conditions": [{"type": "Active", "status": "False", "message": "Can't submit new workloads"}]}
    queue = {"apiVersion": "kueue.x-k8s.io/v1beta2", "kind": "LocalQueue", "spec": {"clusterQueue": "none"}}
    double.create({**queue, "metadata": {"name": "idle", "namespace": "training"}, "status": idle})
    double.create({**queue, "metadata": {"name": "team", "namespace": "training"}})
    double.access.deny("get", "localqueues/pendingworkloads")
    findings = found(api, profile({"kueue_queue": "idle"}))
    assert findings["Kueue queue idle"].state == MISSING
    assert findings["Kueue queue idle"].seen == "is not active: Can't submit new workloads"
    assert findings["rights: workloads, for telling what a queue waits for"].state == OK
    assert findings["rights: localqueues/pendingworkloads, for telling what a queue waits for"].state == UNKNOWN
    assert found(api, profile({"kueue_queue": "team"}))["Kueue queue team"].state == OK


def test_nodes_that_cannot_take_it(api: KubernetesApi) -> None:
    findings = found(api, profile(gpus=8))
    assert findings["nodes"].state == MISSING
    assert "1 node: has 4 nvidia.com/gpu, 8 is needed" in findings["nodes"].seen
    assert "1 node: has 0 nvidia.com/gpu, 8 is needed" in findings["nodes"].seen
    assert found(api, profile(gpus={"mig": "1g.10gb"}))["GPUs"].state == MISSING


def test_a_quota_without_room(api: KubernetesApi, double: KubernetesDouble) -> None:
    hard = {"requests.nvidia.com/gpu": "1", "pods": "50"}
    metadata = {"name": "gpus", "namespace": "tight"}  # of its own: the other tests' namespace stays without a quota
    double.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": hard}})
    roomy = found(api, profile({"namespace": "tight"}))["quota gpus"]
    assert (roomy.state, roomy.seen) == (OK, "room for 50 of 100 pods side by side: pods 0 of 50 used")
    tight = found(api, profile({"namespace": "tight"}, gpus=2))["quota gpus"]
    assert (tight.state, tight.seen) == (MISSING, "no room for one pod: requests.nvidia.com/gpu 0 of 1 used")


def test_nobody_answers(double: KubernetesDouble, api: KubernetesApi) -> None:
    class Silent:
        def call(self, *_: Any, **__: Any) -> Any:
            raise BackendUnavailable("The Kubernetes API cannot be reached", "no route")

    silent: Any = Silent()
    (only,) = examine_cluster(silent, profile(), store_uri="s3://bucket/ml")
    assert (only.check, only.state) == ("connection", MISSING)


def test_the_verb(
    api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "compute.toml").write_text(
        f'[gpu]\nkind = "kubernetes"\nimage = "{IMAGE}"\nkubernetes = {{ namespace = "training" }}\n'
    )
    monkeypatch.setenv("AIRFLOW_ML_COMPUTE_PROFILES", str(tmp_path / "compute.toml"))
    store = f"file://{tmp_path}/store"
    assert main(["doctor", "--compute", "gpu", "--store", store, "--output", "json"]) == 4
    findings = {one["check"]: one for one in json.loads(capsys.readouterr().out)}
    assert findings["store from here"]["state"] == OK
    assert findings["store from the pods"]["state"] == MISSING
    assert findings["admission"]["state"] == OK
    assert main(["doctor", "--compute", "gpu", "--store", store]) == 4
    text = capsys.readouterr().out
    assert "store from the pods: " in text
    assert 'Mount it by claims = { "/folder" = "claim" }, or use S3.' in text


def test_no_cluster_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(BackendUnavailable, match="No cluster is configured here"):
        open_cluster()


@pytest.mark.parametrize(
    ("minor", "options", "state"),
    [("28", {}, MISSING), ("30+", {}, OK), ("30", {"success_fraction": 0.9}, MISSING),
     ("31", {"success_fraction": 0.9}, OK)],
)  # fmt: skip
def test_the_version_that_a_profile_needs(minor: str, options: dict[str, Any], state: str) -> None:
    class Old:
        def call(self, method: str, path: str) -> Answer:
            return Answer(200, {"major": "1", "minor": minor, "gitVersion": f"v1.{minor}.1"}, {})

    found = examine_cluster(cast(KubernetesApi, Old()), profile(options), store_uri="s3://bucket/ml")
    assert next(found).state == state
