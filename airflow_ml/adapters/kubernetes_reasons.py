"""Why indexes of a Job failed for good, and why none of its pods runs: asked only where that is the case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from airflow_ml.adapters.kept_answers import KeptAnswers
from airflow_ml.adapters.kubernetes_api import KubernetesApi, refused
from airflow_ml.adapters.kubernetes_capacity import FreeCapacity
from airflow_ml.adapters.kubernetes_kueue import KueueQueues
from airflow_ml.adapters.kubernetes_pods import JOB_NAME, created, failure_of, index_of, pods_path
from airflow_ml.core.failure import index_failure
from airflow_ml.core.job import MAX_FAILURES, IndexFailure, JobHandle
from airflow_ml.core.kubernetes_options import KubernetesOptions
from airflow_ml.core.pod_failure import Waiting, job_waiting, pod_waiting, start_trouble, waited_too_long
from airflow_ml.errors import BackendUnavailable

#: Pods that are looked at to say why nothing runs: they are all alike.
LOOKED_AT = 20


class JobReasons:
    """Explains jobs of one cluster.

    Args:
        api: The connection.
    """

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api
        self._free = FreeCapacity(api)
        self._queues = KueueQueues(api)
        self._explained: KeptAnswers[tuple[IndexFailure, ...]] = KeptAnswers()
        #: Since when a job is seen to be held up for the same reason.
        self._held: KeptAnswers[datetime] = KeptAnswers()

    def failed(self, handle: JobHandle, lost: Sequence[int], reason: str) -> tuple[IndexFailure, ...]:
        """Return why indexes failed for good, by their newest pods, the newest failures last.

        Asked again where there are more of them; where there are very many, only when they have become twice as many,
        and at the end: each time all failed pods are listed.

        Args:
            handle: The job.
            lost: The indexes.
            reason: Why the Job itself has ended; empty while it goes on.

        Raises:
            BackendUnavailable: the cluster cannot be reached, or refuses.
        """
        state = (len(lost) if len(lost) <= MAX_FAILURES else -len(lost).bit_length(), reason)
        return self._explained.get(handle.place["uid"], state, lambda: self._explain(handle, lost, reason))

    def _explain(self, handle: JobHandle, lost: Sequence[int], reason: str) -> tuple[IndexFailure, ...]:
        newest: dict[int, tuple[str, IndexFailure]] = {}
        wanted = frozenset(lost)
        selector = f"{JOB_NAME}={handle.names[0]}"
        for pod in self._api.pages(pods_path(handle), labelSelector=selector, fieldSelector="status.phase=Failed"):
            index, made = index_of(pod), created(pod)
            if (not lost or index in wanted) and (index not in newest or made >= newest[index][0]):
                newest[index] = (made, failure_of(pod, index))  # a pod itself is large
            if len(newest) > 2 * MAX_FAILURES:
                newest = dict(sorted(newest.items(), key=_made)[-MAX_FAILURES:])
        told = [failure for _, (_, failure) in sorted(newest.items(), key=_made)[-MAX_FAILURES:]]
        if len(told) < MAX_FAILURES:
            gone = [index for index in lost if index not in newest][len(told) - MAX_FAILURES :]
            told = [IndexFailure(index=index, reason="no_result", message="Its pod is gone") for index in gone] + told
        if not told and reason:
            told = [IndexFailure(index=0, reason=_of_job(reason), message=reason)]
        return tuple(told)

    def waiting(self, handle: JobHandle, job: Mapping[str, Any], now: datetime) -> tuple[tuple[IndexFailure, ...], str]:
        """Return what keeps all pods from running: as failures where it has lasted too long, and in words.

        Args:
            handle: The job.
            job: As the API server returns it.
            now: By the clock of the API server.

        Raises:
            BackendUnavailable: the cluster cannot be reached, or refuses.
        """
        held = job_waiting(job)
        if held is not None:
            return self._held_up(handle, self._queues.waiting(job) or held, now)
        selector = f"{JOB_NAME}={handle.names[0]}"
        pods = self._list(pods_path(handle), labelSelector=selector, fieldSelector="status.phase=Pending")
        if not pods:
            held = job_waiting(job, self._events(handle, handle.names[0]))
            if held is not None:
                return self._held_up(handle, held, now)
            self.begun(handle, now)
            return (), ""
        self.begun(handle, now)
        options = _time_limits(handle)
        waits: list[Waiting] = []
        failures: list[IndexFailure] = []
        for pod in pods:
            waiting = pod_waiting(pod)
            if waiting is None:
                continue
            if waiting.reason == "unschedulable" and (free := self._free.words(pod, waiting.message)):
                waiting = replace(waiting, message=f"{waiting.message} ({free})")
            late = waited_too_long(waiting, options, now)
            if late is not None and waiting.reason == "image_pull":  # only the events have the registry's words
                waiting = pod_waiting(pod, self._events(handle, pod["metadata"]["name"])) or waiting
                late = waited_too_long(waiting, options, now)
            if late is not None:
                failures.append(index_failure(late, index_of(pod), pod["metadata"]["name"]))
            waits.append(waiting)
        told = [waiting.message for waiting in waits if waiting.message]
        if not told:
            trouble = start_trouble(pods[0], self._events(handle, pods[0]["metadata"]["name"]))
            told = [": ".join(filter(None, ("its pods are being started", trouble)))]
        return tuple(failures), told[0]

    def begun(self, handle: JobHandle, now: datetime) -> None:
        """Note that a job has pods: what held it up is over."""
        self._held.get(handle.place["uid"], "", lambda: now)

    def _held_up(self, handle: JobHandle, held: Waiting, now: datetime) -> tuple[tuple[IndexFailure, ...], str]:
        """Return what keeps a whole job from having pods: as a failure where each look since long ago has found it.

        The cluster's own times do not do: an event of an hour ago, or a queue that is replaced, would end it at once.
        """
        since = self._held.get(handle.place["uid"], held.reason, lambda: now)
        if held.told_at is not None and held.told_at < since:  # said before we looked first; it may be over
            return (), held.message
        late = waited_too_long(replace(held, since=since), _time_limits(handle), now)
        return (index_failure(late, 0),) if late is not None else (), held.message

    def _list(self, path: str, **query: str) -> list[Mapping[str, Any]]:
        answer = self._api.get(path, limit=LOOKED_AT, **query)
        if answer.status != 200:
            raise refused(f"list {path}", answer)
        return list(answer.body.get("items") or ())

    def _events(self, handle: JobHandle, name: str) -> list[Mapping[str, Any]]:
        """Return the events of one object; nothing where they may not be read: they only explain."""
        try:
            return self._list(
                f"/api/v1/namespaces/{handle.place['namespace']}/events", fieldSelector=f"involvedObject.name={name}"
            )
        except BackendUnavailable:
            return []


def _time_limits(handle: JobHandle) -> KubernetesOptions:
    """Return the options of which only how long a pod may wait is right."""
    place, default = handle.place, KubernetesOptions()
    return KubernetesOptions(
        schedule_timeout_seconds=float(place.get("schedule_timeout_seconds", default.schedule_timeout_seconds)),
        start_timeout_seconds=float(place.get("start_timeout_seconds", default.start_timeout_seconds)),
    )


def _made(item: tuple[int, tuple[str, IndexFailure]]) -> tuple[str, int]:
    """Return when the pod of an index was made, and the index, to sort by."""
    return item[1][0], item[0]


def _of_job(reason: str) -> str:
    return "timeout" if reason.startswith("DeadlineExceeded") else "no_result"
