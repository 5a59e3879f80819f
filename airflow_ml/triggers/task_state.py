"""The state of a trigger's own task: Airflow calls ``on_kill`` also for reasons that do not end the task."""

from __future__ import annotations

from typing import Any

#: States of a task that its user has ended for good. A cleared task is in none of them: its next attempt takes over.
ENDED_BY_USER = frozenset({"failed", "success", "skipped", "removed", "upstream_failed"})


def task_state(instance: Any) -> str:
    """Return the state of a trigger's task: ``removed`` where its run or DAG is gone, ``unknown`` without a task."""
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    if instance is None:
        return "unknown"
    mapped = instance.map_index is not None and instance.map_index >= 0
    answer = RuntimeTaskInstance.get_task_states(
        dag_id=instance.dag_id,
        task_ids=[instance.task_id],
        run_ids=[instance.run_id],
        map_index=instance.map_index if mapped else None,
    )
    states = answer.get(instance.run_id, {})
    key = f"{instance.task_id}_{instance.map_index}" if mapped else instance.task_id
    # A task that is gone with its run or DAG is in no state at all.
    return str(states.get(key) or "pending") if states else "removed"
