from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client

from airflow_ml.testing.kubernetes import KubernetesDouble, Node, kubernetes_double

_names = itertools.count()
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[KubernetesDouble]:
    gpu = Node(
        name="gpu-1",
        labels={"nvidia.com/gpu.product": "A100", "nvidia.com/gpu.memory": "81920"},
        capacity={"nvidia.com/gpu": 1},
        taints=(GPU_TAINT,),
    )
    with kubernetes_double(nodes=[Node(), gpu], schema_version="1.34") as cluster:
        yield cluster


@pytest.fixture
def healthy(cluster: KubernetesDouble) -> Iterator[KubernetesDouble]:
    """The module's cluster, which gets well after the test."""
    yield cluster
    cluster.faults.clear()
    cluster.access.allow_all()


@pytest.fixture
def core(cluster: KubernetesDouble) -> client.CoreV1Api:
    return client.CoreV1Api(cluster.client())


@pytest.fixture
def batch(cluster: KubernetesDouble) -> client.BatchV1Api:
    return client.BatchV1Api(cluster.client())


@pytest.fixture
def name() -> str:
    return f"one-{next(_names)}"


def pod(name: str, *command: str, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "python:3.11", "command": list(command), **spec.pop("container", {})}
    body = {"restartPolicy": "Never", "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body}


def job(name: str, script: str, *, pod: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "python:3.11", "command": ["sh", "-c", script]}
    template = {"spec": {"restartPolicy": "Never", "containers": [container], **(pod or {})}}
    body = {"completionMode": "Indexed", "completions": 1, "parallelism": 4, **spec, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": body}


def until(look: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """Return the first true answer."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"nothing after {seconds} s"
        time.sleep(0.05)


def ended_pod(core: client.CoreV1Api, name: str) -> Any:
    def look() -> Any:
        found = core.read_namespaced_pod(name, "default")
        return found if found.status.phase in ("Succeeded", "Failed") else None

    return until(look)


def ended_job(batch: client.BatchV1Api, name: str) -> tuple[str, str, Any]:
    """Return the type and reason of the condition that ends the Job, and its status."""

    def look() -> Any:
        status = batch.read_namespaced_job_status(name, "default").status
        ends = [one for one in status.conditions or [] if one.type in ("Complete", "Failed")]
        return (ends[0].type, ends[0].reason, status) if ends else None

    found: tuple[str, str, Any] = until(look)
    return found
