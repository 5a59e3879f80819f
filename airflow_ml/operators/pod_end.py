"""A pod's end as Airflow's pod operator meets it: waits that end with the pod, and a reason out of the failure table.

Airflow waits for containers. A pod that is evicted, or whose node is lost, may never tell of a container again: the
wait for one's end lasts for ever, and the one for the XCom sidecar 15 minutes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

from airflow.providers.cncf.kubernetes.utils.container import container_is_completed
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager, PodPhase
from airflow.providers.cncf.kubernetes.utils.xcom_sidecar import PodDefaults
from airflow.providers.common.compat.sdk import AirflowException

from airflow_ml.core.failure import Failure
from airflow_ml.core.pod_failure import gone_failure, pod_failure, pod_waiting

#: Not allowed, no such namespace, or not valid.
_REFUSED = frozenset((400, 403, 404, 422))


class PodEndManager(PodManager):  # type: ignore[misc]  # untyped
    """Airflow's manager of a pod, whose waits for a container end with the pod."""

    def await_container_completion(self, pod: Any, container_name: str, polling_time: float = 1) -> None:
        """Return when the container has ended, or its pod."""
        while True:
            seen = self.read_pod(pod)
            if container_is_completed(seen, container_name) or seen.status.phase in PodPhase.terminal_states:
                return
            time.sleep(polling_time)

    def container_is_running(self, pod: Any, container_name: str) -> bool:
        """Tell whether a container runs.

        Raises:
            AirflowException: it is the XCom sidecar, and will never run: its pod has ended.
        """
        running = bool(super().container_is_running(pod, container_name))
        if not running and container_name == PodDefaults.SIDECAR_CONTAINER_NAME:
            phase = self.read_pod(pod).status.phase
            if phase in PodPhase.terminal_states:
                raise AirflowException(f"Pod {pod.metadata.name} is {phase}, and its XCom can be read no more")
        return running


def failure_of(manager: PodManager, pod: Any) -> Failure | None:
    """Return why a pod ended, or does not begin; None where nothing says that it failed.

    Args:
        manager: Of the pod's cluster.
        pod: As it was seen last; it is read again.
    """
    from kubernetes.client.exceptions import ApiException

    try:
        wire: dict[str, Any] = _wire(manager.read_pod(pod))
    except ApiException as error:
        if error.status != 404:
            return None
        return gone_failure(pod.metadata.name, _events(manager, pod))
    failed = pod_failure(wire)
    if failed is not None:
        return failed
    waiting = pod_waiting(wire, _events(manager, pod))
    return Failure(reason=waiting.reason, message=waiting.message) if waiting is not None and waiting.reason else None


def refusal_of(error: Any) -> Failure | None:
    """Return why the cluster does not make a pod, in its own words; None where the error says something else.

    Args:
        error: An ``ApiException``.
    """
    if error.status not in _REFUSED:
        return None
    try:
        words = str(json.loads(error.body)["message"])
    except (KeyError, TypeError, ValueError):
        words = f"HTTP {error.status}: {error.reason}"
    return Failure(reason="quota" if "exceeded quota" in words else "refused", message=words)


def _events(manager: PodManager, pod: Any) -> Sequence[dict[str, Any]]:
    from kubernetes.client.exceptions import ApiException

    try:
        return [_wire(one) for one in manager.read_pod_events(pod).items]
    except ApiException:  # they only explain
        return ()


def _wire(item: Any) -> Any:
    from kubernetes.client import ApiClient

    return ApiClient().sanitize_for_serialization(item)
