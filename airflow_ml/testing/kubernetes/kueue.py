"""Kueue: a Workload for each Job of a queue, admitted in turn as the quota allows, and the list of those that wait.

One flavor of each resource, both queueing strategies, no cohorts, no preemption, no admission checks.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_ml.testing.kubernetes.objects import ADDED, DELETED, Change, Objects, changed
from airflow_ml.testing.kubernetes.pod_status import condition
from airflow_ml.testing.kubernetes.quantities import amount, requests_of
from airflow_ml.testing.kubernetes.resources import (
    CLUSTER_QUEUES,
    JOBS,
    LOCAL_QUEUES,
    WORKLOADS,
    ApiError,
    Object,
)

QUEUE, JOB_UID = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/job-uid"
_MOST_TOLD = 1000


class Kueue:
    """The controller and its visibility API; used from the double's event loop.

    Args:
        objects: The store.
        version: Of the API that it serves.
    """

    def __init__(self, objects: Objects, version: str) -> None:
        self._objects = objects
        self._version = version
        self._awake = False
        objects.collection(JOBS).listeners.append(self._job_changed)
        for kind in (LOCAL_QUEUES, CLUSTER_QUEUES):
            objects.collection(kind).listeners.append(lambda change: self._wake())

    def version_of(self, group: str) -> str:
        """Return the API version that is served of a group."""
        return f"{group}/{self._version}"

    def pending(self, namespace: str, queue: str, query: Mapping[str, str]) -> Object:
        """Return the ``PendingWorkloadsSummary`` of a local queue.

        Raises:
            ApiError: 404.
        """
        found = self._objects.find(LOCAL_QUEUES, namespace, queue)
        if found is None:
            raise ApiError(404, "NotFound", f'localqueue.visibility.kueue.x-k8s.io "{queue}" not found')
        first, limit = int(query.get("offset") or 0), int(query.get("limit") or _MOST_TOLD)
        mine = [
            (place, one)
            for place, one in enumerate(self._waiting(found["spec"]["clusterQueue"]))
            if (one["metadata"]["namespace"], one["spec"]["queueName"]) == (namespace, queue)
        ]
        items = [
            {
                "metadata": {
                    name: one["metadata"][name]
                    for name in ("name", "namespace", "creationTimestamp", "ownerReferences")
                },
                "priority": one["spec"]["priority"],
                "localQueueName": queue,
                "positionInClusterQueue": overall,
                "positionInLocalQueue": place,
            }
            for place, (overall, one) in enumerate(mine)
        ][first : first + limit]
        version = self.version_of("visibility.kueue.x-k8s.io")
        return {
            "kind": "PendingWorkloadsSummary",
            "apiVersion": version,
            "metadata": {"creationTimestamp": None},
            "items": items,
        }

    # ---- what happens

    def _job_changed(self, change: Change) -> None:
        job = change.entry.item
        queue = (job["metadata"].get("labels") or {}).get(QUEUE)
        if not queue:
            return
        if change.type == ADDED:
            self._objects.create(WORKLOADS, _workload(job, queue))
        else:
            workload = self._objects.find(WORKLOADS, job["metadata"]["namespace"], _name(job))
            if workload is None:
                return
            if change.type == DELETED:
                self._objects.remove(WORKLOADS, workload)
            elif _over(job) and not _is(workload, "Finished"):
                end = condition("Finished", True, "Succeeded", "Job finished successfully")
                self._objects.put(WORKLOADS, _told(workload, end))
        self._wake()

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        self._awake = False
        for workload in list(self._objects.items(WORKLOADS)):
            if not _is(workload, "Admitted") and not _is(workload, "Finished"):
                problem = self._problem(workload)
                if problem:
                    told = _told(workload, condition("QuotaReserved", False, "Inadmissible", problem))
                    self._objects.put(WORKLOADS, told)
        for queue in list(self._objects.items(CLUSTER_QUEUES)):
            used = self._used(queue["metadata"]["name"])
            for workload in self._waiting(queue["metadata"]["name"]):
                asked = _asked(workload)
                lacking = _lacking(queue, asked, used)
                if lacking:
                    words = f"couldn't assign flavors to pod set main: {lacking}"
                    told = _told(workload, condition("QuotaReserved", False, "Pending", words))
                    self._objects.put(WORKLOADS, told)
                    if queue["spec"].get("queueingStrategy") == "StrictFIFO":
                        break  # nobody behind it is even looked at
                    continue
                for name, value in asked.items():
                    used[name] = used.get(name, 0.0) + value
                self._start(workload, queue["metadata"]["name"])

    def _start(self, workload: Object, queue: str) -> None:
        reserved = condition("QuotaReserved", True, "QuotaReserved", f"Quota reserved in ClusterQueue {queue}")
        admitted = condition("Admitted", True, "Admitted", "The workload is admitted")
        told = changed(_told(_told(workload, reserved), admitted), admission={"clusterQueue": queue})
        self._objects.put(WORKLOADS, told)
        owner = workload["metadata"]["ownerReferences"][0]["name"]
        job = self._objects.find(JOBS, workload["metadata"]["namespace"], owner)
        if job is not None:
            self._objects.put(JOBS, {**job, "spec": {**job["spec"], "suspend": False}})

    # ---- what is there

    def _problem(self, workload: Object) -> str:
        name = workload["spec"]["queueName"]
        queue = self._objects.find(LOCAL_QUEUES, workload["metadata"]["namespace"], name)
        if queue is None:
            return f"LocalQueue {name} doesn't exist"
        cluster_queue = queue["spec"]["clusterQueue"]
        if self._objects.find(CLUSTER_QUEUES, "", cluster_queue) is None:
            return f"ClusterQueue {cluster_queue} doesn't exist"
        return ""

    def _of(self, cluster_queue: str) -> Iterator[Object]:
        for workload in self._objects.items(WORKLOADS):
            place, name = workload["metadata"]["namespace"], workload["spec"]["queueName"]
            queue = self._objects.find(LOCAL_QUEUES, place, name)
            if queue is not None and queue["spec"]["clusterQueue"] == cluster_queue and not _is(workload, "Finished"):
                yield workload

    def _waiting(self, cluster_queue: str) -> list[Object]:
        """Return what waits, in its order; what is stored first is first of the same second."""
        waiting = [one for one in self._of(cluster_queue) if not _is(one, "QuotaReserved")]
        return sorted(waiting, key=lambda one: (-one["spec"]["priority"], one["metadata"]["creationTimestamp"]))

    def _used(self, cluster_queue: str) -> dict[str, float]:
        used: dict[str, float] = {}
        for workload in self._of(cluster_queue):
            if _is(workload, "QuotaReserved"):
                for name, value in _asked(workload).items():
                    used[name] = used.get(name, 0.0) + value
        return used


def _workload(job: Object, queue: str) -> Object:
    metadata, spec = job["metadata"], job["spec"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    count = min(spec.get("parallelism") or 1, spec.get("completions") or 1)
    return {
        "metadata": {
            "name": _name(job),
            "namespace": metadata["namespace"],
            "labels": {JOB_UID: metadata["uid"]},
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {
            "active": True,
            "priority": 0,
            "queueName": queue,
            "podSets": [{"name": "main", "count": count, "template": spec["template"]}],
        },
        "status": {},
    }


def _name(job: Object) -> str:
    mark = hashlib.sha256(job["metadata"]["uid"].encode()).hexdigest()[:5]
    return f"job-{job['metadata']['name']}"[:57] + f"-{mark}"


def _asked(workload: Object) -> dict[str, float]:
    [pods] = workload["spec"]["podSets"]
    asked = requests_of(pods["template"]["spec"])
    return {name: value * pods["count"] for name, value in asked.items()}


def _lacking(queue: Object, asked: Mapping[str, float], used: Mapping[str, float]) -> str:
    """Return why a queue's quota has no room, in Kueue's words; empty where it has."""
    quota: dict[str, tuple[str, float]] = {}
    for group in queue["spec"].get("resourceGroups") or []:
        flavor: dict[str, Any] = group["flavors"][0]
        for one in flavor["resources"]:
            quota[one["name"]] = (flavor["name"], amount(one["nominalQuota"]))
    for name in sorted(asked):
        if name not in quota:
            return f"resource {name} unavailable in ClusterQueue"
        flavor_name, most = quota[name]
        if asked[name] > most:
            return (
                f"insufficient quota for {name} in flavor {flavor_name}, "
                f"request > maximum capacity ({asked[name]:g} > {most:g})"
            )
        more = used.get(name, 0.0) + asked[name] - most
        if more > 1e-9:
            return f"insufficient unused quota for {name} in flavor {flavor_name}, {more:g} more needed"
    return ""


def _told(workload: Object, new: Object) -> Object:
    known = workload["status"].get("conditions") or []
    before = next((one for one in known if one["type"] == new["type"]), None)
    if before is not None and before["status"] == new["status"]:
        new = {**new, "lastTransitionTime": before["lastTransitionTime"]}
    return changed(workload, conditions=[*(one for one in known if one is not before), new])


def _is(workload: Object, kind: str) -> bool:
    conditions = workload["status"].get("conditions") or []
    return any(one["type"] == kind and one["status"] == "True" for one in conditions)


def _over(job: Object) -> bool:
    conditions = job["status"].get("conditions") or []
    return any(one["type"] in ("Complete", "Failed") and one["status"] == "True" for one in conditions)
