"""Stage 4, sweep: its shards, the tasks that run trials."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.compute_choice import LOCAL
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.core.shards import ALL_SHARDS
from airflow_ml.hooks import store as store_hook
from airflow_ml.hooks.compute import compute_profile
from airflow_ml.links import SweepPageLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, failing_at_once

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.operators.remote import Collected


class RunShardOperator(MLOperator):
    """Run one shard's trials in a clean interpreter; each finished trial is durable and never runs again.

    If nearly all of the first 20 trials, taken from as many groups as there are, fail with the same error, the others
    are not started.

    Retry, clear: run only the trials that are not finished. Kill, timeout, a worker's restart: the runner and all its
    children are ended; finished trials stay. If the sweep's profile is a cluster or queue, this is one task for all
    shards, deferred while they run: a retry continues with the job of the previous try, a clear ends it and starts
    another, marking the task failed or successful ends it, and a restart of Airflow's processes does not affect it.

    Args:
        plan: The `SweepPlan` (templated).
        shard: Number of the shard (templated, mapped over); -1 for all of them, as one remote job.
        compute: The compute profile, as in the plan's task.
    """

    template_fields: Sequence[str] = ("plan", "shard")
    operator_extra_links = (TaskPageLink(), SweepPageLink())
    ui_color = "#ede9fe"
    argument_rules = {
        "shard": rules.number(least=ALL_SHARDS, whole=True),
    }

    def __init__(
        self,
        *,
        plan: Any,
        shard: Any,
        compute: str | Mapping[str, JSON] = LOCAL,
        task_id: str = "shards",
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.plan = plain(plan)
        self.shard = shard
        self.compute = compute
        self._stop = threading.Event()
        self.check_arguments()

    def run(self, context: Context) -> dict[str, Any]:
        """Run what is missing of the shard."""
        from airflow_ml.core.sweep import SweepPlan
        from airflow_ml.operators.remote import run_remotely
        from airflow_ml.operators.sweep_progress import ProgressReporter
        from airflow_ml.runtime.runner import run_shard
        from airflow_ml.runtime.sweep_plan import shard_job

        plan = parse_as(SweepPlan, self.plan)
        if int(self.shard) == ALL_SHARDS:
            jobs = [shard_job(plan, shard) for shard in range(plan.shards)]
            profile = compute_profile(self.compute, log=self.log.info)
            return self._summary(run_remotely(self, context, jobs, profile, namespace=self.namespace))
        outcome = run_shard(
            shard_job(plan, int(self.shard)),
            store_uri=self.store().uri,
            environment=store_hook.runner_environment(),
            log=self.log.info,
            on_progress=ProgressReporter(self.log.info, context.get("task_state_store")),
            stop=self._stop,
        )
        if outcome.stopped:
            self.log.warning("Stopped early: %s. Clear this task to run the other trials.", outcome.stopped)
        return {"shard": int(self.shard), "trials": outcome.trials, "failed": outcome.failed, "ran": outcome.ran}

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Count what the shards left in the store; ``collect`` judges the sweep."""
        from airflow_ml.operators.remote import collect

        with failing_at_once():
            return self._summary(collect(self, event))

    def _summary(self, found: Collected) -> dict[str, Any]:
        from airflow_ml.operators.remote import refuse_failures

        outcomes = [outcome for outcome in found.results if outcome is not None]
        for reason in dict.fromkeys(outcome["stopped"] for outcome in outcomes if outcome["stopped"]):
            self.log.warning("Stopped early: %s. Clear this task to run the other trials.", reason)
        refuse_failures(found)
        sums = {name: sum(int(outcome[name]) for outcome in outcomes) for name in ("trials", "failed", "ran")}
        return {"shard": ALL_SHARDS, **sums}

    def on_kill(self) -> None:
        """End the runner and its children; a remote job is its trigger's."""
        self._stop.set()
