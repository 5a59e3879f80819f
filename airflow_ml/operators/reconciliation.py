"""Stage 7, canary: ending the rollouts that nobody leads any more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_ml.core.record import JSON
from airflow_ml.errors import RouterFailed
from airflow_ml.hooks.rollout import rollout_driver
from airflow_ml.hooks.rollout_signals import tell_metrics
from airflow_ml.operators.base import MLOperator
from airflow_ml.runtime.rollout_reconcile import FAILED, UNREACHABLE, live_rollouts, reconcile_all

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.rollout_state import RolloutState
    from airflow_ml.runtime.rollout import RolloutDriver


class ReconcileRolloutsOperator(MLOperator):
    """Roll back every rollout of the namespace whose lease has expired; set right a router that was left split.

    A trigger that is lost, a deleted DAG, a killed Airflow leave a rollout without an owner. The router serves the
    champion by itself after 300 s; this operator does it sooner and in the record as well. Run it every minute, as
    ``dags_examples/reconcile.py`` does. A rollout whose owner still looks is left alone. Each rollout is ended at the
    gateway that its record names.

    The output is a list with one object ``{model, namespace, epoch, action, reason}`` for each rollout that needed
    something, so it is empty as a rule. Actions: ``ended``; ``reasserted`` (an ended rollout's router was set again);
    ``unreachable`` (an ended rollout's router gave no answer: a warning, since a split ends by itself).

    Retry, clear: what is done is found done. Kill, timeout: the next run goes on; two at once do no harm, since every
    change is written by compare-and-swap and fenced by epoch.

    Args:
        router_conn_id: Airflow connection of the gateway, for records that name none (templated).

    Raises:
        RouterFailed: a lost rollout could not be ended. All others were looked at before; the next run tries again.
    """

    template_fields: Sequence[str] = ("router_conn_id",)
    ui_color = "#fee2e2"

    def __init__(
        self, *, router_conn_id: str = "gateway_default", task_id: str = "reconcile_rollouts", **kwargs: Any
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.router_conn_id = router_conn_id

    def run(self, context: Context) -> JSON:
        """Go through all models."""
        for state in live_rollouts(self.store(), self.namespace):
            tell_metrics(state, looked=False)  # before the round: a lease below 0 is an alert of its own
        seen, found = reconcile_all(self.store(), self.namespace, self._driver_of, now=datetime.now(UTC))
        for one in found:
            tell = self.log.warning if one.action in (FAILED, UNREACHABLE) else self.log.info
            tell("%s, rollout %d, %s: %s", one.model, one.epoch, one.action, one.reason)
        self.log.info("%d models looked at, %d needed something", seen, len(found))
        failed = [f"{one.model}: {one.reason}" for one in found if one.action == FAILED]
        if failed:
            raise RouterFailed(
                f"{len(failed)} of {seen} rollouts could not be ended",
                "; ".join(failed),
                "The next run tries again; a split ends by itself 300 s after its last look.",
            )
        return [one.to_dict() for one in found]

    def _driver_of(self, state: RolloutState) -> RolloutDriver:
        conn_id = state.router_name or self.router_conn_id
        return rollout_driver(state.model, router_conn_id=conn_id, mlflow_conn_id=None)


def reconcile_rollouts(**kwargs: Any) -> Any:
    """Build a `ReconcileRolloutsOperator` and return its output, a list of what was done; arguments as there."""
    return ReconcileRolloutsOperator(**kwargs).output
