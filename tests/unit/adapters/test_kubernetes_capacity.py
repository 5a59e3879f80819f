"""What is free of a large cluster, without keeping all that is known of its pods."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any, cast

from airflow_ml.adapters.kubernetes_api import KubernetesApi
from airflow_ml.adapters.kubernetes_capacity import FreeCapacity

PODS = 5_000


class Cluster:
    """Lists two nodes with four GPUs each, and many pods, of which three have one."""

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        if path.endswith("/nodes"):
            return ({"metadata": {"name": f"n{number}"}, "status": _status()} for number in range(2))
        return (self._pod(number) for number in range(PODS))

    def _pod(self, number: int) -> dict[str, Any]:
        gpus = {"nvidia.com/gpu": "1"} if number < 3 else {}
        container = {"resources": {"limits": {"cpu": "100m", **gpus}}, "env": [f"{number} {at}" for at in range(100)]}
        spec = {"nodeName": "n0", "containers": [container]}
        return {"metadata": {"name": f"p{number}"}, "spec": spec, "status": {"phase": "Running"}}


def _status() -> dict[str, Any]:
    return {"allocatable": {"nvidia.com/gpu": "4"}, "images": [f"image {at}" for at in range(100)]}


def test_what_is_free_of_many_pods() -> None:
    wanted = {"spec": {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "8"}}}]}}
    tracemalloc.start()
    capacity = FreeCapacity(cast(KubernetesApi, Cluster()))  # it keeps what it has seen
    said = capacity.words(wanted, "0/2 nodes are available")
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert said == "5 of 8 nvidia.com/gpu free on 2 nodes"
    assert kept < 8e6  # all that is listed would take 35 MB
