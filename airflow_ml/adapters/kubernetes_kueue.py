"""Asking Kueue where a suspended job stands: its Workload, and the pending ones of its queue."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_ml.adapters.kept_answers import KeptAnswers
from airflow_ml.adapters.kubernetes_api import KubernetesApi
from airflow_ml.core.kueue import JOB_UID_LABEL, never_admitted, queue_of, queue_words
from airflow_ml.core.pod_failure import Waiting
from airflow_ml.errors import BackendUnavailable

#: So long at most the same answer is given: a queue is asked once for all jobs that wait in it.
_KEPT_SECONDS = 60.0
#: Versions of Kueue's API, the newest first; releases serve one or two of them.
VERSIONS = ("v1beta2", "v1beta1")
_GROUP = "kueue.x-k8s.io"


class KueueQueues:
    """Says where jobs stand; less where this account may not ask, or Kueue does not answer. It never fails.

    Args:
        api: The connection.
        clock: Seconds; replaced in tests.
    """

    def __init__(self, api: KubernetesApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._kept: KeptAnswers[Sequence[Mapping[str, Any]]] = KeptAnswers()
        #: By API group, the version that has answered.
        self._version: dict[str, str] = {}

    def waiting(self, job: Mapping[str, Any]) -> Waiting | None:
        """Return what Kueue says of a suspended Job, with a reason where waiting does not help; None: in no queue.

        Args:
            job: As the API server returns it.
        """
        queue = queue_of(job)
        if not queue:
            return None
        namespace, uid = job["metadata"]["namespace"], str(job["metadata"]["uid"])
        workloads = self._items(_GROUP, f"namespaces/{namespace}/workloads", labelSelector=f"{JOB_UID_LABEL}={uid}")
        pending = self._items(f"visibility.{_GROUP}", f"namespaces/{namespace}/localqueues/{queue}/pendingworkloads")
        workload = workloads[0] if workloads else None
        words = queue_words(queue, uid, workload, pending)
        if workload is None and self._absent():
            return Waiting(reason="refused", message=f"{words}; Kueue is not installed: there is no API {_GROUP}")
        return Waiting(reason=never_admitted(workload), message=words)

    def _absent(self) -> bool:
        """Whether the server knows nothing of Kueue's API, in whatever version."""
        if _GROUP in self._version:
            return False
        minute = int(self._clock() // _KEPT_SECONDS)
        return bool(self._kept.get("absent", minute, self._ask_group))

    def _ask_group(self) -> Sequence[Mapping[str, Any]]:
        try:
            answer = self._api.call("GET", f"/apis/{_GROUP}", deadline_seconds=0.0)
        except BackendUnavailable:
            return ()
        return [{}] if answer.status == 404 else ()

    def _items(self, group: str, path: str, **query: str) -> Sequence[Mapping[str, Any]]:
        minute = int(self._clock() // _KEPT_SECONDS)
        return self._kept.get(f"{group}/{path}?{query}", minute, lambda: self._ask(group, path, query))

    def _ask(self, group: str, path: str, query: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        known = self._version.get(group)
        for version in (known,) if known else VERSIONS:
            try:  # once: an API that is served by another server may be away for long, and only explains
                answer = self._api.call("GET", f"/apis/{group}/{version}/{path}", query=query, deadline_seconds=0.0)
            except BackendUnavailable:
                return ()
            if answer.status == 200:
                self._version[group] = version
                return list(answer.body.get("items") or ())
            if answer.status != 404:  # most often 403
                return ()
        self._version.pop(group, None)  # a newer release may have another
        return ()
