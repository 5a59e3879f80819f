"""The kinds that the double knows, and where each is in the API's paths."""

from __future__ import annotations

import functools
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

#: An API object as JSON. Stored ones are never changed in place: a change makes a new dictionary of what changed.
Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    api_version: str
    plural: str
    kind: str
    namespaced: bool = True


_KNOWN = (
    Kind("v1", "pods", "Pod"),
    Kind("v1", "events", "Event"),
    Kind("v1", "configmaps", "ConfigMap"),
    Kind("v1", "secrets", "Secret"),
    Kind("v1", "services", "Service"),
    Kind("v1", "serviceaccounts", "ServiceAccount"),
    Kind("v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    Kind("v1", "resourcequotas", "ResourceQuota"),
    Kind("v1", "limitranges", "LimitRange"),
    Kind("v1", "namespaces", "Namespace", namespaced=False),
    Kind("v1", "nodes", "Node", namespaced=False),
    Kind("batch/v1", "jobs", "Job"),
    Kind("apps/v1", "deployments", "Deployment"),
    Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    Kind("node.k8s.io/v1", "runtimeclasses", "RuntimeClass", namespaced=False),
    Kind("scheduling.k8s.io/v1", "priorityclasses", "PriorityClass", namespaced=False),
    Kind("kueue.x-k8s.io/v1beta2", "localqueues", "LocalQueue"),
    Kind("kueue.x-k8s.io/v1beta2", "clusterqueues", "ClusterQueue", namespaced=False),
    Kind("kueue.x-k8s.io/v1beta2", "workloads", "Workload"),
)
KINDS = {(kind.api_version, kind.plural): kind for kind in _KNOWN}
PODS, JOBS, EVENTS = KINDS["v1", "pods"], KINDS["batch/v1", "jobs"], KINDS["v1", "events"]
NODES, NAMESPACES, QUOTAS = KINDS["v1", "nodes"], KINDS["v1", "namespaces"], KINDS["v1", "resourcequotas"]
LOCAL_QUEUES = KINDS["kueue.x-k8s.io/v1beta2", "localqueues"]
CLUSTER_QUEUES = KINDS["kueue.x-k8s.io/v1beta2", "clusterqueues"]
WORKLOADS = KINDS["kueue.x-k8s.io/v1beta2", "workloads"]
SECRETS, CONFIG_MAPS = KINDS["v1", "secrets"], KINDS["v1", "configmaps"]


def kind_of(api_version: str, name: str) -> Kind | None:
    """Return the kind with this ``kind`` in an object."""
    return next((kind for kind in _KNOWN if kind.api_version == api_version and kind.kind == name), None)


class ApiError(Exception):
    """An answer of the API that is no success."""

    def __init__(self, code: int, reason: str, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.retry_after_seconds = retry_after_seconds

    def body(self) -> Object:
        """Return the Status object."""
        details = {} if self.retry_after_seconds is None else {"retryAfterSeconds": int(self.retry_after_seconds)}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": details,
            "code": self.code,
        }


def now_text() -> str:
    """Return the time as objects carry it."""
    return _time_text(int(time.time()))


@functools.lru_cache(maxsize=2)
def _time_text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def key_of(item: Object) -> tuple[str, str]:
    """Return namespace (empty where there is none) and name."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
