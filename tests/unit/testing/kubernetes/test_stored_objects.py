"""What the double stores is what Kubernetes' own schemas describe."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
from kubernetes import client

from airflow_ml.testing.kubernetes import KubernetesDouble

from .conftest import ended_job, ended_pod, job, pod

pytestmark = pytest.mark.integration


def test_objects_and_their_status_fulfil_the_schemas_of_three_minors(
    cluster: KubernetesDouble, core: client.CoreV1Api, batch: client.BatchV1Api, name: str
) -> None:
    core.create_namespaced_pod("default", pod(name, "sh", "-c", "exit 3"))
    ended_pod(core, name)
    body = job(name, "test $JOB_COMPLETION_INDEX = 0", completions=2, backoffLimitPerIndex=0)
    batch.create_namespaced_job("default", body)
    ended_job(batch, name)
    api: Any = core.api_client
    events = api.sanitize_for_serialization(core.list_namespaced_event("default").items)
    nodes = api.sanitize_for_serialization(core.list_node().items)
    for item in events + nodes:
        item.update({"apiVersion": "v1", "kind": "Event" if "involvedObject" in item else "Node"})
    found = [*cluster.pods(), *cluster.jobs(), *events, *nodes]
    assert {one["kind"] for one in found} == {"Pod", "Job", "Event", "Node"}
    for version in ("1.35", "1.36", "1.37"):
        for item in found:
            kubernetes_validate.validate(item, version, strict=True)
