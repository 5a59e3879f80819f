"""How many tasks of one DAG run can run at the same time, as far as a task can know."""

from __future__ import annotations

from typing import Any

from airflow.sdk.configuration import conf

#: The executor whose tasks all share the CPUs of one machine.
_ONE_MACHINE = "LocalExecutor"


def free_slots(dag: Any, *, executor: str | None, max_active_tis_per_dagrun: int | None) -> int:
    """Return the number, at least 1.

    A task cannot ask how large a pool is or what runs in it: give such a pool's size by ``max_active_tis_per_dagrun``.

    Args:
        dag: The DAG, whose ``max_active_tasks`` counts; None outside of one.
        executor: The executor that the task asks for; None for the deployment's first one. With ``LocalExecutor`` no
            more tasks can make progress at once than the machine has CPUs.
        max_active_tis_per_dagrun: The task's own limit.
    """
    from airflow_ml.runtime.cpus import available_cpus

    limits = [conf.getint("core", "parallelism", fallback=32), getattr(dag, "max_active_tasks", None)]
    limits.append(max_active_tis_per_dagrun)
    name = executor or str(conf.get("core", "executor", fallback=_ONE_MACHINE)).partition(",")[0]
    if _ONE_MACHINE in name:
        limits.append(available_cpus())
    return max(1, min(int(limit) for limit in limits if limit))  # a parallelism of 0 is not a limit
