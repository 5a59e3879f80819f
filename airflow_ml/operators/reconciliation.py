"""Stage 7, canary: ends rollouts that have lost their owner."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.record import JSON
from airflow_ml.errors import RouterFailed
from airflow_ml.hooks.rollout import rollout_driver
from airflow_ml.operators.base import MLOperator
from airflow_ml.operators.function import with_arguments_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.rollout_state import RolloutState
    from airflow_ml.runtime.rollout import RolloutDriver
    from airflow_ml.runtime.rollout_reconcile import Reconciled


class ReconcileRolloutsOperator(MLOperator):
    """Roll back every rollout of the namespace whose lease has expired, and correct a router that was left split.

    A lost trigger, a deleted DAG or a killed Airflow leaves a rollout without an owner. The router returns to the
    champion by itself after 300 s; this operator does it sooner, and in the record as well. Run it every minute, as
    ``dags_examples/reconcile.py`` does. If a lease runs out before the next run, it waits for that moment, so that a
    lost rollout ends within seconds of its lease. A rollout whose owner still looks is left alone. Each rollout is
    ended at the gateway that its record names.

    The output is a list with one object ``{model, namespace, epoch, action, reason}`` for each rollout that needed
    action; it is normally empty. Actions: ``ended``; ``reasserted`` (the router of an ended rollout was set again);
    ``unreachable`` (the router of an ended rollout did not answer: a warning, since a split ends by itself).

    Retry, clear: finds what is done. Kill, timeout: the next run continues. Two at once do no harm, since every change
    is written by compare-and-swap and fenced by epoch.

    Args:
        router_conn_id: Airflow connection of the gateway, for records that name none (templated).
        round_seconds: Time until the next run of its DAG. 0: look once.
        notifiers: Airflow's notifiers, called for each rollout that was ended, with its record as ``rollout`` in their
            context: a task that was lost calls none of its own.

    Raises:
        RouterFailed: a lost rollout could not be ended. All others were checked first; the next run tries again.
    """

    template_fields: Sequence[str] = ("router_conn_id",)
    ui_color = "#fee2e2"
    argument_rules = {
        "router_conn_id": rules.text(),
        "round_seconds": rules.number(least=0),
    }

    def __init__(
        self,
        *,
        router_conn_id: str = "gateway_default",
        round_seconds: float = 60.0,
        notifiers: Sequence[Any] = (),
        task_id: str = "reconcile_rollouts",
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.router_conn_id = router_conn_id
        self.round_seconds = round_seconds
        self.notifiers = list(notifiers)
        self.check_arguments()

    def run(self, context: Context) -> JSON:
        """Go through all models, and once more when a lease has run out meanwhile."""
        from airflow_ml.runtime.rollout_reconcile import FAILED

        until = datetime.now(UTC) + timedelta(seconds=self.round_seconds)
        at = datetime.now(UTC)
        seen, found = self._round(context, at)
        while (lease := self._next_expiry(at, until)) is not None:
            wait_seconds = max(0.0, (lease - datetime.now(UTC)).total_seconds()) + 1.0
            self.log.info("A lease runs out at %s: waiting %.0f s to see whether it is renewed", lease, wait_seconds)
            time.sleep(wait_seconds)
            done = {(one.model, one.action) for one in found}
            at = datetime.now(UTC)
            seen, more = self._round(context, at)
            found += [one for one in more if (one.model, one.action) not in done]
        failed = [f"{one.model}: {one.reason}" for one in found if one.action == FAILED]
        if failed:
            raise RouterFailed(
                f"{len(failed)} of {seen} rollouts could not be ended",
                "; ".join(failed),
                "The next run tries again; a split ends by itself 300 s after its last look.",
            )
        return [one.to_dict() for one in found]

    def _round(self, context: Context, at: datetime) -> tuple[int, list[Reconciled]]:
        from airflow_ml.hooks.rollout_signals import emit_metrics, notify
        from airflow_ml.runtime.rollout_evidence import closing_record, find_end
        from airflow_ml.runtime.rollout_reconcile import ENDED, FAILED, UNREACHABLE, live_rollouts, reconcile_all

        for state in live_rollouts(self.store(), self.namespace):
            emit_metrics(state, looked=False)  # before the round: a lease below 0 is an alert of its own
        seen, found = reconcile_all(self.store(), self.namespace, self._driver_of, now=at)
        for one in found:
            log = self.log.warning if one.action in (FAILED, UNREACHABLE) else self.log.info
            log("%s, rollout %d, %s: %s", one.model, one.epoch, one.action, one.reason)
            if one.action == ENDED and self.notifiers:
                end = find_end(self.store(), one.model, one.namespace, one.epoch)
                notify(self.notifiers, context, closing_record(end), self.log)
        self.log.info("%d models checked, %d needed action", seen, len(found))
        return seen, found

    def _next_expiry(self, after: datetime, until: datetime) -> datetime | None:
        """Return when the next lease runs out, or ran out since a round began; None where none does up to a time.

        A round may take long, where a router does not answer: what runs out meanwhile is for one more of this run. What
        had run out before it and could not be ended is for the next run.
        """
        from airflow_ml.runtime.rollout_reconcile import live_rollouts

        leases = [state.lease_expires_at for state in live_rollouts(self.store(), self.namespace)]
        return min((lease for lease in leases if lease is not None and after < lease <= until), default=None)

    def _driver_of(self, state: RolloutState) -> RolloutDriver:
        conn_id = state.router_name or self.router_conn_id
        return rollout_driver(state.model, router_conn_id=conn_id, mlflow_conn_id=None)


@with_arguments_of(ReconcileRolloutsOperator)
def reconcile_rollouts(**kwargs: Any) -> Any:
    """Build a `ReconcileRolloutsOperator` from the same arguments and return its output, a list of what was done."""
    return ReconcileRolloutsOperator(**kwargs).output
