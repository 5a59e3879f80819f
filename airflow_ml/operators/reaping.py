"""Ends remote jobs that have lost their owner."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.record import JSON
from airflow_ml.errors import AirflowMLError
from airflow_ml.hooks.compute import compute_profiles
from airflow_ml.hooks.job_backend import job_backend, remote_jobs
from airflow_ml.operators.base import MLOperator
from airflow_ml.operators.function import with_arguments_of
from airflow_ml.triggers.task_state import ENDED_BY_USER, task_state

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.job import JobHandle

_LOG = logging.getLogger(__name__)


class ReapJobsOperator(MLOperator):
    """End the jobs of all compute profiles that have lost their owner: the task ended, its run or DAG is gone, a newer
    attempt leads, or nothing has checked the job for six hours.

    The trigger of a deferred task ends its job when the user ends the task; this operator covers the times when no
    triggerer was there to do it. Run it every ten minutes, as ``dags_examples/reap.py`` does. A job without an attempt
    in the store belongs to another deployment and is left alone.

    The output is a list with one object ``{job, dag, run, task, reason, ended}`` for each such job.

    Retry, clear, kill, timeout: the next run continues.

    Args:
        only_report: Report what would be ended, without ending it. Default False.
    """

    ui_color = "#fee2e2"
    argument_rules = {
        "only_report": rules.flag(),
    }

    def __init__(self, *, only_report: bool = False, task_id: str = "reap_jobs", **kwargs: Any) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.only_report = only_report
        self.check_arguments()

    def run(self, context: Context) -> JSON:
        """Look at each place where profiles run jobs."""
        from airflow_ml.runtime.job_reap import orphans, running_jobs

        remote = remote_jobs()
        running = running_jobs(compute_profiles().values(), job_backend, log=self.log.warning)
        reported: list[JSON] = []
        for orphan in orphans(remote, running, now=datetime.now(UTC), ended=_final_state):
            name = ", ".join(orphan.handle.names)
            ended = not self.only_report and self._end(orphan.handle)
            self.log.warning("%s: %s%s", name, orphan.reason, "; ended" if ended else "")
            owner = {part: orphan.owner.get(part, "") for part in ("dag", "run", "task")}
            reported.append({"job": name, **owner, "reason": orphan.reason, "ended": ended})
        self.log.info("%d jobs had lost their owner", len(reported))
        return reported

    def _end(self, handle: JobHandle) -> bool:
        try:
            job_backend(handle).cancel(handle)
        except AirflowMLError as error:
            self.log.warning("%s could not be ended: %s", ", ".join(handle.names), error)
            return False
        return True


@with_arguments_of(ReapJobsOperator)
def reap_jobs(**kwargs: Any) -> Any:
    """Build a `ReapJobsOperator` from the same arguments and return its output."""
    return ReapJobsOperator(**kwargs).output


def _final_state(owner: Mapping[str, str]) -> str:
    """Return the state of a job's task where that is final; nothing where it is not, or cannot be asked."""
    from types import SimpleNamespace

    if not {"dag", "run", "task"} <= set(owner):
        return ""
    index = owner.get("map_index", "")
    instance = SimpleNamespace(
        dag_id=owner["dag"],
        run_id=owner["run"],
        task_id=owner["task"],
        map_index=int(index) if index.lstrip("-").isdigit() else None,
    )
    try:
        state = task_state(instance)
    except Exception as error:  # Airflow's API is away: a job that may be waited for is left alone
        _LOG.warning("The state of task %s of %s is not known: %s", owner["task"], owner["run"], error)
        return ""
    return state if state in ENDED_BY_USER else ""
