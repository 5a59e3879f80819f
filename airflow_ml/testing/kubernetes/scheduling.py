"""The scheduler: nodes with labels, taints and capacity; pods that fit none wait and say why."""

from __future__ import annotations

import asyncio
import json
import platform
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_ml.testing.kubernetes.objects import ADDED, DELETED, Change, Objects, changed
from airflow_ml.testing.kubernetes.quantities import amount, requests_of
from airflow_ml.testing.kubernetes.resources import NODES, PODS, Object, key_of, now_text
from airflow_ml.testing.kubernetes.selectors import matches_expressions

Key = tuple[str, str]
#: A node of this machine: what runs at once is bounded by ``pods``, as a kubelet bounds it.
_ROOM = {"cpu": "1000", "memory": "4Ti", "ephemeral-storage": "10Ti", "pods": "110"}
_INFO = {
    "bootID": "double",
    "containerRuntimeVersion": "processes://1",
    "kernelVersion": platform.release(),
    "kubeProxyVersion": "",
    "kubeletVersion": "v1.34.0-double",
    "machineID": "double",
    "operatingSystem": "linux",
    "osImage": "this machine",
    "systemUUID": "double",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the double. All nodes are this machine; only the scheduler tells them apart."""

    name: str = "node-1"
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Besides, or instead of, 1,000 CPUs, 4 TiB of memory and 110 pods: ``{"nvidia.com/gpu": 2}``.
    capacity: Mapping[str, str | int] = field(default_factory=dict)
    #: ``{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}``
    taints: tuple[Mapping[str, str], ...] = ()

    def to_object(self) -> Object:
        """Return the Node object."""
        capacity = {**_ROOM, **{name: str(value) for name, value in self.capacity.items()}}
        labels = {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": _architecture(),
        }
        return {
            "metadata": {"name": self.name, "labels": {**labels, **self.labels}},
            "spec": {"taints": [dict(taint) for taint in self.taints]},
            "status": {
                "capacity": capacity,
                "allocatable": capacity,
                "conditions": [_ready("True", "KubeletReady")],
                "nodeInfo": {**_INFO, "architecture": _architecture()},
            },
        }


class Scheduler:
    """Binds pods to nodes in the order in which they came, and calls ``bound`` for each.

    Pods that ask alike wait together: where the first of them does not fit, no other of them is tried.
    """

    def __init__(self, objects: Objects, bound: Callable[[Object], None]) -> None:
        self._objects = objects
        self._bound = bound
        self._waiting: dict[str, deque[Key]] = {}
        self._used: dict[str, Counter[str]] = {}
        self._holding: dict[Key, tuple[str, str, dict[str, float]]] = {}  # uid, node, requests
        self._planned = False
        objects.collection(PODS).listeners.append(self._pod_changed)
        objects.collection(NODES).listeners.append(lambda change: self._plan())

    def free(self, resource: str) -> float:
        """Return what of a resource no pod holds, over all nodes."""
        return sum(
            amount(node["status"]["allocatable"].get(resource, 0)) - self._used.get(name, Counter())[resource]
            for node in self._objects.items(NODES)
            for name in [node["metadata"]["name"]]
        )

    def _pod_changed(self, change: Change) -> None:
        pod = change.entry.item
        if change.type == ADDED and not pod["spec"].get("nodeName"):
            self._waiting.setdefault(_signature(pod["spec"]), deque()).append(key_of(pod))
            self._plan()
        elif change.type == DELETED or pod["status"].get("phase") in ("Succeeded", "Failed"):
            held = self._holding.get(key_of(pod))
            if held is not None and held[0] == pod["metadata"]["uid"]:
                del self._holding[key_of(pod)]
                self._used[held[1]].subtract(held[2])
                self._plan()

    def _plan(self) -> None:
        if not self._planned:
            self._planned = True
            asyncio.get_running_loop().call_soon(self._schedule)

    def _schedule(self) -> None:
        self._planned = False
        nodes = [(node, self._used.setdefault(node["metadata"]["name"], Counter())) for node in self._all_nodes()]
        for signature, queue in list(self._waiting.items()):
            while queue:
                pod = self._objects.find(PODS, *queue[0])
                if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
                    queue.popleft()
                    continue
                asked = {**requests_of(pod["spec"]), "pods": 1.0}
                refusals = [(node, refusal(pod["spec"], asked, node, used)) for node, used in nodes]
                fitting = next((node for node, why in refusals if not why), None)
                if fitting is None:
                    self._explain(queue, _message([why for _, why in refusals]))
                    break
                queue.popleft()
                self._bind(pod, fitting["metadata"]["name"], asked)
            if not queue:
                del self._waiting[signature]

    def _all_nodes(self) -> list[Object]:
        return list(self._objects.items(NODES))

    def _bind(self, pod: Object, node: str, asked: dict[str, float]) -> None:
        self._used[node].update(asked)
        self._holding[key_of(pod)] = (pod["metadata"]["uid"], node, asked)
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": now_text()}
        bound = {**changed(pod, conditions=[scheduled]), "spec": {**pod["spec"], "nodeName": node}}
        bound = self._objects.put(PODS, bound)
        namespace, name = key_of(pod)
        text = f"Successfully assigned {namespace}/{name} to {node}"
        self._objects.add_event(pod, "Scheduled", text, source="default-scheduler")
        self._bound(bound)

    def _explain(self, queue: deque[Key], message: str) -> None:
        for key in reversed(queue):
            pod = self._objects.find(PODS, *key)
            if pod is None:
                continue
            if any(one.get("message") == message for one in pod["status"].get("conditions", [])):
                break  # those before it heard it too
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
                "lastTransitionTime": now_text(),
            }
            self._objects.put(PODS, changed(pod, conditions=[condition]))
            self._objects.add_event(pod, "FailedScheduling", message, warning=True, source="default-scheduler")


def refusal(spec: Object, asked: Mapping[str, float], node: Object, used: Mapping[str, float]) -> list[str]:
    """Return why a pod does not fit a node, in the scheduler's words; empty where it fits."""
    if node["spec"].get("unschedulable"):
        return ["node(s) were unschedulable"]
    tolerations = spec.get("tolerations") or []
    for taint in node["spec"].get("taints") or []:
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(one, taint) for one in tolerations):
            value = taint.get("value", "")
            return [f"node(s) had untolerated taint {{{taint['key']}: {value}}}"]
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(name) != value for name, value in (spec.get("nodeSelector") or {}).items()):
        return ["node(s) didn't match Pod's node affinity/selector"]
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or []
    if terms and not any(matches_expressions(labels, term.get("matchExpressions") or []) for term in terms):
        return ["node(s) didn't match Pod's node affinity/selector"]
    room = node["status"]["allocatable"]
    lacking = [name for name, value in asked.items() if value > amount(room.get(name, 0)) - used.get(name, 0) + 1e-9]
    return ["Too many pods" if name == "pods" else f"Insufficient {name}" for name in lacking]


def not_ready(node: Object) -> Object:
    """Return a node that the control plane no longer hears of."""
    taint = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}
    spec = {**node["spec"], "taints": [*(node["spec"].get("taints") or []), taint]}
    return {**changed(node, conditions=[_ready("Unknown", "NodeStatusUnknown")]), "spec": spec}


def ready_again(node: Object) -> Object:
    """Return the node as it was before ``not_ready``."""
    taints = [one for one in node["spec"].get("taints") or [] if one["key"] != "node.kubernetes.io/unreachable"]
    return {**changed(node, conditions=[_ready("True", "KubeletReady")]), "spec": {**node["spec"], "taints": taints}}


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, str]) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("key") not in (None, "", taint["key"]):
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


def _message(refusals: list[list[str]]) -> str:
    counts = Counter(reason for reasons in refusals for reason in reasons)
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    nodes = len(refusals)
    victims = f"preemption: 0/{nodes} nodes are available: {nodes} No preemption victims found for incoming pod."
    return f"0/{nodes} nodes are available: {why or 'no nodes'}. {victims}"


def _signature(spec: Object) -> str:
    affinity, tolerations = spec.get("affinity"), spec.get("tolerations")
    return json.dumps([requests_of(spec), spec.get("nodeSelector"), affinity, tolerations], sort_keys=True)


def _ready(status: str, reason: str) -> Object:
    return {"type": "Ready", "status": status, "reason": reason, "lastTransitionTime": now_text()}


def _architecture() -> str:
    """Return this machine's architecture by the name that images have."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
