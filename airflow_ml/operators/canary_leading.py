"""Stage 7, canary: who leads a rollout that has been created: a trigger, this worker, or for now another rollout."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

from airflow.sdk.exceptions import AirflowSkipException

from airflow_ml.errors import AirflowMLError, FencedOut
from airflow_ml.hooks.rollout_signals import emit_metrics

if TYPE_CHECKING:
    from airflow_ml.core.rollout_state import RolloutState
    from airflow_ml.errors import RolloutBusy
    from airflow_ml.operators.canary import CanaryOperator
    from airflow_ml.runtime.rollout import RolloutDriver

#: A function as metric source is looked at this often at most: it runs code of the user's in a worker's slot.
_LEAST_PAUSE_SECONDS = 60.0


def defer_to_trigger(operator: CanaryOperator, state: RolloutState) -> NoReturn:
    """Defer the task; from now on its trigger alone leads the rollout."""
    from airflow_ml.triggers.canary import CanaryTrigger

    operator.defer(
        trigger=CanaryTrigger(
            model=operator.model,
            namespace=operator.namespace,
            epoch=state.epoch,
            claim=state.claim,
            router_conn_id=operator.router_conn_id,
            mlflow_conn_id=operator.mlflow_conn_id,
            poll_interval_seconds=operator.poll_interval_seconds,
            lease_seconds=operator.lease_seconds,
            router_seconds=operator.router_seconds,
            give_up_seconds=give_up_seconds(operator),
            source=operator.wire_source(),
        ),
        method_name="execute_complete",
    )


def lead_in_worker(operator: CanaryOperator, driver: RolloutDriver, state: RolloutState) -> RolloutState:
    """Lead the rollout in this worker until it ends; if the worker is killed, the lease ends the rollout.

    A look that fails, because the store is away, is tried again as the trigger does; the lease bounds how long.

    Raises:
        FencedOut: another attempt leads.
        AirflowMLError: no good look for ``give_up_seconds`` of the trigger; traffic is back at the champion by then.
    """
    pause = max(_LEAST_PAUSE_SECONDS, operator.poll_interval_seconds)
    last_good = time.monotonic()
    while state.live:
        try:
            state = driver.look(state)
        except FencedOut:
            raise
        except AirflowMLError as error:
            if time.monotonic() - last_good >= give_up_seconds(operator):
                raise
            operator.log.warning("A look at rollout %s of %s failed: %s", state.epoch, state.model, error)
        else:
            last_good = time.monotonic()
            emit_metrics(state)
            operator.log.info("%s at %g %%, look %s: %s", state.state, state.weight_percent, state.looks, state.reason)
        if state.live:
            time.sleep(pause)
    return state


def give_up_seconds(operator: CanaryOperator) -> float:
    """Return the time without a good look after which a task fails: the router has its champion back before."""
    return max(600.0, 3 * operator.lease_seconds)


def handle_busy(operator: CanaryOperator, error: RolloutBusy) -> NoReturn:
    """Do what ``busy`` says while another rollout of the model is under way.

    Raises:
        AirflowSkipException: ``skip``.
        RolloutBusy: ``fail``.
    """
    if operator.busy == "skip":
        raise AirflowSkipException(str(error)) from error
    if operator.busy == "fail":
        raise error
    from airflow_ml.triggers.rollout_turn import RolloutTurnTrigger

    operator.log.info("%s", error)
    operator.defer(
        trigger=RolloutTurnTrigger(
            model=operator.model,
            namespace=operator.namespace,
            poll_interval_seconds=operator.poll_interval_seconds,
        ),
        method_name="execute_turn",
    )
