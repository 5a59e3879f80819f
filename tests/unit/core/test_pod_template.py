"""Pod templates: what each option becomes, and that nothing loosens a pod but the flag that says so."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.pod_security import violations
from airflow_ml.core.pod_template import pod_template
from airflow_ml.errors import ConfigurationError
from airflow_ml.testing.kubernetes.pod_security import violations as found_by_the_double

from .compute_cases import array, cluster, cluster_profiles


def spec_of(profile: ComputeProfile) -> dict[str, Any]:
    return pod_template(profile)["spec"]  # type: ignore[return-value]


def expressions(spec: dict[str, Any]) -> list[dict[str, Any]]:
    node = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (term,) = node["nodeSelectorTerms"]
    return term["matchExpressions"]  # type: ignore[no-any-return]


def test_what_is_requested_is_the_limit_and_dev_shm_counts_as_memory() -> None:
    (container,) = spec_of(cluster(cpus=1.5, memory_gib=8, shm_gib=2, ephemeral_gib=10, gpus=2))["containers"]
    assert container["resources"]["limits"] == {
        "cpu": "1500m",
        "memory": "10240Mi",
        "ephemeral-storage": "10240Mi",
        "nvidia.com/gpu": "2",
    }
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    shm = {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2048Mi"}}
    assert shm in spec_of(cluster(shm_gib=2))["volumes"]


def test_gpus_by_slice_memory_and_product() -> None:
    spec = spec_of(cluster(gpus={"mig": "1g.10gb", "memory_gib": 80, "product": "NVIDIA-H100-80GB-HBM3"}))
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == "1"
    # An H100 of "80 GB" reports 81,559 MiB, an A100 of "40 GB" 40,960.
    memory, product = expressions(spec)
    assert memory == {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["73727"]}
    assert product == {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-H100-80GB-HBM3"]}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]


def test_gpus_by_the_labels_that_an_autoscaler_knows() -> None:
    labels = {"gpu_memory_label": "karpenter.k8s.aws/instance-gpu-memory", "gpu_product_label": "example.com/product"}
    spec = spec_of(cluster(gpus={"memory_gib": 80, "product": "h100"}, kubernetes=labels))
    assert [one["key"] for one in expressions(spec)] == list(labels.values())


def test_another_vendors_device() -> None:
    spec = spec_of(cluster(gpus={"resource": "amd.com/gpu"}))
    assert spec["containers"][0]["resources"]["limits"]["amd.com/gpu"] == "1"
    assert spec["tolerations"] == [{"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]


def test_spot_nodes() -> None:
    label = "cloud.google.com/gke-spot=true"
    prefer = spec_of(cluster({"spot": "prefer", "spot_label": label}))
    (preferred,) = prefer["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    spot = {"key": "cloud.google.com/gke-spot", "operator": "In", "values": ["true"]}
    assert preferred["preference"]["matchExpressions"] == [spot]
    assert "requiredDuringSchedulingIgnoredDuringExecution" not in prefer["affinity"]["nodeAffinity"]
    only = spec_of(cluster({"spot": "only", "spot_label": label}))
    assert expressions(only) == [spot]
    for one in (prefer, only):
        assert one["tolerations"][0]["value"] == "true"
    never = spec_of(cluster({"spot": "never", "spot_label": label}))
    assert expressions(never) == [{**spot, "operator": "NotIn"}]
    assert never["tolerations"] == []
    assert "affinity" not in spec_of(cluster())


def test_secrets_are_references_and_plain_values_are_what_the_file_says() -> None:
    profile = cluster({"secrets": {"HF_TOKEN": "hub/token"}, "env": {"MODE": "fast"}})
    env = pod_template(profile, env={"AIRFLOW_ML_STORE": "s3://b"})["spec"]["containers"][0]["env"]  # type: ignore[index, call-overload]
    assert {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}} in env
    assert {"name": "MODE", "value": "fast"} in env
    assert {"name": "AIRFLOW_ML_STORE", "value": "s3://b"} in env


def test_the_rest_of_the_options() -> None:
    options = {
        "service_account": "trainer",
        "runtime_class": "nvidia",
        "priority_class": "batch-low",
        "image_pull_secrets": ["pull"],
        "node_selector": {"pool": "gpu"},
        "claims": {"/mnt/store": "ml-store"},
        "labels": {"azure.workload.identity/use": "true"},
        "grace_seconds": 120,
    }
    template = pod_template(cluster(options, timeout_seconds=59.5), labels={"a/b": "c"})
    spec: Any = template["spec"]
    assert spec["serviceAccountName"] == "trainer"
    assert spec["automountServiceAccountToken"] is False
    assert spec["runtimeClassName"] == "nvidia"
    assert spec["priorityClassName"] == "batch-low"
    assert spec["imagePullSecrets"] == [{"name": "pull"}]
    assert spec["nodeSelector"] == {"pool": "gpu"}
    assert spec["terminationGracePeriodSeconds"] == 120
    assert spec["activeDeadlineSeconds"] == 60
    assert {"name": "claim-0", "persistentVolumeClaim": {"claimName": "ml-store"}} in spec["volumes"]
    assert {"name": "claim-0", "mountPath": "/mnt/store"} in spec["containers"][0]["volumeMounts"]
    assert template["metadata"] == {"labels": {"azure.workload.identity/use": "true", "a/b": "c"}, "annotations": {}}


def test_a_profile_of_another_kind_has_no_pods() -> None:
    with pytest.raises(ConfigurationError, match="Profile 'array' runs no pods: batch"):
        pod_template(array())


def test_a_profile_that_was_never_read_from_a_file_is_checked_all_the_same() -> None:
    with pytest.raises(ConfigurationError, match="not named by its digest"):
        pod_template(ComputeProfile(name="p", kind="kubernetes", image="train:latest"))


@given(cluster_profiles())
def test_no_profile_makes_a_pod_less_than_restricted_without_the_flag(profile: ComputeProfile) -> None:
    spec = spec_of(profile)
    assert violations(spec, "restricted") == []
    (container,) = spec["containers"]
    read_only = not profile.options.get("writable_root_filesystem", False)
    assert container["securityContext"]["readOnlyRootFilesystem"] is read_only
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"]["limits"])
    assert spec["automountServiceAccountToken"] is False
    for secret in ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN"):
        assert all("value" not in one for one in container["env"] if one["name"] == secret)


@given(st.sampled_from(["baseline", "privileged"]), st.integers(0, 2000))
def test_the_flag_loosens_as_far_as_it_says(level: str, user: int) -> None:
    spec = spec_of(cluster({"pod_security": level, "run_as_user": user}))
    assert violations(spec, level) == []
    assert violations(spec, "restricted") != []
    assert bool(spec["containers"][0]["securityContext"].get("privileged")) is (level == "privileged")


LOOSE: list[tuple[dict[str, Any], str]] = [
    ({"hostNetwork": True}, "hostNetwork is true"),
    ({"hostPID": True}, "hostPID is true"),
    ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "volume v is a folder of the node"),
    ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile is Unconfined"),
    ({"containers": [{"name": "c", "securityContext": {"privileged": True}}]}, "container c is privileged"),
    ({"initContainers": [{"name": "i", "securityContext": {"privileged": True}}]}, "container i is privileged"),
    (
        {"containers": [{"name": "c", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]},
        "container c adds SYS_ADMIN",
    ),
    ({"containers": [{"name": "c", "ports": [{"hostPort": 80}]}]}, "takes a port of the node"),
]


@pytest.mark.parametrize(("change", "message"), LOOSE, ids=[message for _, message in LOOSE])
def test_what_the_baseline_standard_forbids_is_found(change: dict[str, Any], message: str) -> None:
    assert any(message in found for found in violations(change, "baseline"))
    assert violations(change, "privileged") == []


def test_what_the_restricted_standard_adds_is_found() -> None:
    spec = {"securityContext": {"runAsUser": 0}, "containers": [{"name": "c"}], "volumes": [{"name": "n", "nfs": {}}]}
    found = violations(spec, "restricted")
    assert len(found) == 6
    assert violations(spec, "baseline") == []


CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "privileged": st.booleans(),
        "allowPrivilegeEscalation": st.booleans(),
        "runAsNonRoot": st.booleans(),
        "runAsUser": st.sampled_from([0, 1000]),
        "capabilities": st.fixed_dictionaries(
            {}, optional={"drop": st.just(["ALL"]), "add": st.sampled_from([["CHOWN"], ["SYS_ADMIN"], []])}
        ),
        "seccompProfile": st.fixed_dictionaries({"type": st.sampled_from(["RuntimeDefault", "Localhost"])}),
    },
)
VOLUMES = st.sampled_from(
    [{"name": "v", "emptyDir": {}}, {"name": "v", "hostPath": {"path": "/"}}, {"name": "v", "nfs": {}}]
)


@given(
    st.sampled_from(["restricted", "baseline", "privileged"]),
    CONTEXTS,
    st.lists(CONTEXTS, min_size=1, max_size=2),
    st.lists(VOLUMES, max_size=1),
    st.sampled_from(["hostNetwork", "hostPID", "enableServiceLinks"]),
)
def test_two_readings_of_the_standards_agree(
    level: str, pod: dict[str, Any], contexts: list[dict[str, Any]], volumes: list[dict[str, Any]], flag: str
) -> None:
    containers = [{"name": f"c{at}", "securityContext": context} for at, context in enumerate(contexts)]
    spec = {"securityContext": pod, "containers": containers, "volumes": volumes, flag: True}
    assert bool(violations(spec, level)) == bool(found_by_the_double(spec, level))
