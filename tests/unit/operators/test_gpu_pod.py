"""A pod of any image, as a compute profile describes it; and its price is paid by whoever uses it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.core.pod_security import violations
from airflow_ml.errors import ConfigurationError


@pytest.fixture
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profiles.toml"
    digest = "sha256:" + "a" * 64
    file.write_text(
        f"""
[gpu]
kind = "kubernetes"
image = "registry.example.com/train@{digest}"
memory_gib = 8
gpus = 2
[gpu.kubernetes]
namespace = "training"
conn_id = "cluster"
"""
    )
    monkeypatch.setenv("AIRFLOW__ML__COMPUTE_PROFILES", str(file))
    cluster = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
    }
    connection = {"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(cluster)}}
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps(connection))


def test_only_the_use_of_the_name_loads_kubernetes() -> None:
    program = (
        "import sys, airflow_ml, airflow_ml.operators.call_job, airflow_ml.decorators.ml;"
        "assert 'kubernetes' not in sys.modules; print(airflow_ml.GpuPodOperator.__name__)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == "GpuPodOperator"


def test_the_pod_is_as_the_profile_says(profiles: None) -> None:
    from airflow_ml import GpuPodOperator

    operator: Any = GpuPodOperator(task_id="t", compute="gpu", cmds=["python"], arguments=["-c", "pass"])
    operator._take(operator._profile())
    pod = operator.build_pod_request_obj()
    from kubernetes.client import ApiClient

    wire = ApiClient().sanitize_for_serialization(pod)
    container = wire["spec"]["containers"][0]
    assert (wire["metadata"]["namespace"], operator.kubernetes_conn_id) == ("training", "cluster")
    assert (container["command"], container["args"]) == (["python"], ["-c", "pass"])
    assert container["image"].startswith("registry.example.com/train@sha256:")
    assert container["resources"]["limits"]["nvidia.com/gpu"] in (2, "2")
    assert len(wire["spec"]["containers"]) == 1  # no sidecar
    assert list(violations(wire["spec"], "restricted")) == []


def test_a_profile_of_another_kind_is_refused(profiles: None) -> None:
    from airflow_ml import GpuPodOperator

    operator: Any = GpuPodOperator(task_id="t", compute="local", cmds=["python"])
    with pytest.raises(ConfigurationError, match="kind kubernetes"):
        operator._profile()
