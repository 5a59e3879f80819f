"""What of a cluster is free, in words: for a pod that no node takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from airflow_ml.adapters.kubernetes_api import KubernetesApi
from airflow_ml.core.node_fit import capacity_words, requests_of
from airflow_ml.errors import BackendUnavailable

#: So long the same answer is given: all waiting jobs of a cluster share it, and a large cluster has many pods to list.
_KEPT_SECONDS = 300.0
#: In a cluster with more running pods than this nothing is said of what is free.
_MOST_PODS = 10_000


class FreeCapacity:
    """Answers by the cluster's nodes and pods; says nothing where this account may not list them.

    Args:
        api: The connection.
        clock: Seconds; replaced in tests.
    """

    def __init__(self, api: KubernetesApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._seen: tuple[float, list[Mapping[str, Any]], list[Mapping[str, Any]]] | None = None

    def words(self, pod: Mapping[str, Any], said: str) -> str:
        """Return what is free of the resources that a pod lacks; empty where nobody can tell.

        Args:
            pod: As the API server returns it.
            said: The scheduler's words: what it calls insufficient is looked for, and devices always.
        """
        wanted = [name for name in requests_of(pod.get("spec") or {}) if "/" in name or f"Insufficient {name}" in said]
        if not wanted:
            return ""
        nodes, pods = self._look()
        return ", ".join(capacity_words(nodes, pods, name) for name in wanted) if nodes else ""

    def _look(self) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
        if self._seen is None or self._clock() - self._seen[0] >= _KEPT_SECONDS:
            try:
                nodes = [_node(one) for one in self._api.pages("/api/v1/nodes")]
                running = self._api.pages(
                    "/api/v1/pods", fieldSelector="status.phase!=Succeeded,status.phase!=Failed,spec.nodeName!="
                )
                pods = [_pod(one) for one in islice(running, _MOST_PODS + 1)]
            except BackendUnavailable:  # most often: may not
                nodes, pods = [], []
            self._seen = (self._clock(), nodes if len(pods) <= _MOST_PODS else [], pods)
        return self._seen[1:]


def _node(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what counts of a node: all that is known of ten thousand pods is too much for a triggerer."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return {"metadata": {"name": node["metadata"]["name"]}, "status": {"allocatable": allocatable}}


def _pod(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what counts of a running pod."""
    containers = [{"resources": one.get("resources") or {}} for one in pod["spec"].get("containers") or ()]
    return {"spec": {"nodeName": pod["spec"].get("nodeName"), "containers": containers}}
