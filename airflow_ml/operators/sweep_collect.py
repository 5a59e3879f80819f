"""Stage 4, sweep: the task that builds the leaderboard from the shards' results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk import TriggerRule

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.errors import CallFailed, CallTimedOut, MissingDependency, NotARecord
from airflow_ml.links import SweepPageLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, failing_at_once, task_names

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.artifact import Artifact
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.core.sweep import Leaderboard, SweepPlan

#: Fewer successes say nothing of their parameters.
PICTURED_TRIALS = 20
#: Time for importance and pictures.
PICTURES_SECONDS = 300.0


class CollectSweepOperator(MLOperator):
    """Build the leaderboard from what the shards stored, and alone decide whether the sweep succeeded.

    Runs even if shards failed. Retry, clear: reads the store again.

    Args:
        plan: The `SweepPlan` (templated).
        pictures: Also compute which parameters mattered, as numbers and pictures (`Leaderboard.report`); needs Optuna
            and matplotlib, and some seconds in a clean interpreter. Default True, from 20 successful trials on; without
            the libraries the log says so.

    Raises:
        SweepFailed: fewer successful trials than ``min_success_fraction``, or none at all.
    """

    template_fields: Sequence[str] = ("plan",)
    operator_extra_links = (TaskPageLink(), SweepPageLink())
    ui_color = "#ede9fe"
    argument_rules = {
        "pictures": rules.flag(),
    }

    def __init__(self, *, plan: Any, pictures: bool = True, task_id: str = "collect", **kwargs: Any) -> None:
        super().__init__(task_id=task_id, trigger_rule=TriggerRule.ALL_DONE, **kwargs)
        self.plan = plain(plan)
        self.pictures = pictures
        self.check_arguments()

    def execute(self, context: Context) -> Any:
        """Say plainly where there is no plan: ``all_done`` runs this task after a plan that failed or never ran."""
        with failing_at_once():
            if self.plan is None:
                raise NotARecord(
                    "There is no plan to collect",
                    "the plan's task, or one before it, did not succeed",
                    "Fix the task that failed first, then clear it and all after it.",
                )
        return super().execute(context)

    def run(self, context: Context) -> Leaderboard:
        """Collect, judge, and remember the leaderboard for warm starts."""
        from airflow_ml.core.sweep import SweepPlan
        from airflow_ml.runtime.leaderboard import collect
        from airflow_ml.runtime.ref_append import append_last

        store = self.store()
        plan = parse_as(SweepPlan, self.plan)
        leaderboard = collect(plan, store)
        if self.pictures and leaderboard.succeeded >= PICTURED_TRIALS:
            leaderboard = replace(leaderboard, report=self._report(plan, leaderboard, store))
        ref = leaderboard_ref(self.namespace, context, self.task_id)
        append_last(store, ref, leaderboard.to_dict(), unless_newest=True)
        self.log.info(
            "%d of %d trials succeeded; best %s %.5g in group %s with %s", leaderboard.succeeded, leaderboard.trials,
            leaderboard.metric, leaderboard.best.value, leaderboard.best.group, dict(leaderboard.best.params),
        )  # fmt: skip
        if leaderboard.groups_without_success:
            self.log.warning("No trial succeeded in %s", ", ".join(leaderboard.groups_without_success))
        return leaderboard

    def _report(self, plan: SweepPlan, board: Leaderboard, store: ArtifactStore) -> Artifact | None:
        """Return importance and pictures; without them the sweep is as good as with them."""
        from airflow_ml.core.artifact import Artifact
        from airflow_ml.operators.runner_call import run_in_runner
        from airflow_ml.runtime.sweep_pictures import draw_sweep, read_report, require_pictures

        try:
            require_pictures()
            arguments: dict[str, JSON] = {"plan": plan.to_dict(), "board": board.to_dict()}
            report = Artifact.from_dict(
                run_in_runner(
                    draw_sweep, arguments, store=store, namespace=self.namespace, log=self.log.info,
                    timeout_seconds=PICTURES_SECONDS,
                )
            )  # fmt: skip
        except (MissingDependency, CallFailed, CallTimedOut) as error:
            self.log.warning("No pictures of the sweep: %s", error)
            return None
        found = read_report(report, store)["importance"]
        self.log.info("Importance: %s", ", ".join(f"{name} {share:.0%}" for name, share in found.items()) or "none")
        return replace(report, uri="")


def leaderboard_ref(namespace: str, context: Context, task_id: str) -> str:
    """Return the ref of a sweep's leaderboards: one for each sweep of a DAG, over all its runs."""
    group = task_id.rpartition(".")[0] or "sweep"
    return f"leaderboards/{namespace}/{task_names(context)['dag']}/{group}"
