"""From the end of a rollout to what others see of it: the alias, the asset event, notifications, the task's record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_ml.errors import AliasConflict
from airflow_ml.hooks.rollout_signals import notify, tell_metrics
from airflow_ml.operators.promotion import move_champion, promotion_tags, tell_moved
from airflow_ml.operators.rollout_telling import draw
from airflow_ml.runtime.rollout_evidence import closing_record

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.canary import Rollout
    from airflow_ml.core.ports import ModelRegistry
    from airflow_ml.core.rollout_state import RolloutState
    from airflow_ml.operators.canary import CanaryOperator


def project(operator: CanaryOperator, context: Context, registry: ModelRegistry, state: RolloutState) -> Rollout:
    """Do what an end asks for, idempotently, and return the closing record. Decides nothing.

    Raises:
        AliasConflict: the rollout ended in one, or somebody moved the alias since.
    """
    from airflow_ml.core.canary import CONCLUDED
    from airflow_ml.core.rollout_state import CONFLICT, SERVING_ENDS

    record = closing_record(state)
    tell_metrics(state, looked=False)
    if state.state not in (*SERVING_ENDS, CONCLUDED):
        notify(operator.notifiers, context, record, operator.log)
    operator.log.info("%s: %s. %s", operator.model, record.outcome, record.reason)
    if state.state == CONFLICT:
        raise AliasConflict(
            f"The rollout of {operator.model!r} met somebody else's change",
            state.reason,
            "Nothing was overwritten; begin again from what serves now.",
        )
    if state.state in SERVING_ENDS:
        move_champion(registry, record, keep_previous=True)
        registry.set_tags(record.model, record.challenger, promotion_tags(state))
        tell_moved(context, operator.moved, record)
    return replace(record, picture=draw(operator.store(), state, operator.log))
