"""The trigger of `GpuPodOperator`: Airflow's own, that deletes no pod of a task which is still deferred.

Airflow calls ``on_kill`` wrongly when a triggerer that was frozen wakes up, and its pod trigger believes it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger

from airflow_ml.triggers.task_state import task_state


class GpuPodTrigger(KubernetesPodTrigger):  # type: ignore[misc]  # untyped
    """Watch a pod.

    Args:
        kwargs: Those of KubernetesPodTrigger.
    """

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and what it is made again from."""
        return "airflow_ml.triggers.gpu_pod.GpuPodTrigger", super().serialize()[1]

    async def on_kill(self) -> None:
        """Delete the pod, unless its task waits for it still, or nobody can say whether it does."""
        try:
            state = await asyncio.to_thread(task_state, self.task_instance)
        except Exception as error:  # the API server is away: a pod that is left is found again, one that is gone is not
            self.log.warning("The task's state cannot be read, so its pod is kept: %s", error)
            return
        if state == "deferred":
            self.log.info("The task is deferred: its pod is kept")
            return
        await super().on_kill()
