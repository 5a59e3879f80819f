"""Stage 7, canary, when a rollout has ended: move the alias, emit the asset event, notify, return the task's record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_ml.core.aliases import CHAMPION
from airflow_ml.errors import AirflowMLError, AliasConflict
from airflow_ml.hooks.rollout_signals import emit_metrics, notify
from airflow_ml.operators.promotion import ROLLOUT_TAG, emit_champion_event, move_champion, promotion_tags
from airflow_ml.runtime.rollout_evidence import closing_record, draw_evidence

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk._shared.logging.types import Logger

    from airflow_ml.core.artifact import Artifact
    from airflow_ml.core.canary import Rollout
    from airflow_ml.core.ports import ArtifactStore, ModelRegistry
    from airflow_ml.core.rollout_state import RolloutState
    from airflow_ml.operators.canary import CanaryOperator


def apply_outcome(operator: CanaryOperator, context: Context, registry: ModelRegistry, state: RolloutState) -> Rollout:
    """Do what the outcome requires, idempotently, and return the closing record. Decides nothing.

    Raises:
        AliasConflict: the rollout ended in one, or somebody moved the alias since.
    """
    from airflow_ml.core.canary import CONCLUDED
    from airflow_ml.core.rollout_state import CONFLICT, SERVING_ENDS

    record = closing_record(state)
    emit_metrics(state, looked=False)
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
        _check_not_moved_back(registry, record, state)
        move_champion(registry, record, keep_previous=True)
        registry.set_tags(record.model, record.challenger, promotion_tags(state))
        emit_champion_event(context, operator.moved, record)
    return replace(record, picture=_draw(operator.store(), state, operator.log))


def _check_not_moved_back(registry: ModelRegistry, record: Rollout, state: RolloutState) -> None:
    """Refuse to move the alias a second time: who moved it back since meant it.

    Raises:
        AliasConflict: the promotion was applied before, and the alias does not show it any more.
    """
    known = registry.get(record.model, record.challenger).tags
    applied = promotion_tags(state)
    current = registry.by_alias(record.model, CHAMPION)
    if known.get(ROLLOUT_TAG) == applied[ROLLOUT_TAG] and (current is None or current.version != record.challenger):
        raise AliasConflict(
            f"The alias {CHAMPION} of {record.model!r} was moved back since this promotion",
            f"it points to version {current.version if current else 'nothing'}, not {record.challenger}",
            "Nothing was overwritten. The router still serves what was promoted: use rollback(), or move the alias.",
        )


def _draw(store: ArtifactStore, state: RolloutState, log: Logger) -> Artifact | None:
    """Draw the evidence. It comes last, and failing at it is only a warning: the outcome has been applied by now."""
    try:
        picture = draw_evidence(store, state)
    except (AirflowMLError, OSError) as error:
        log.warning("The evidence could not be drawn: %s", error)
        return None
    if picture is not None:
        log.info("The evidence as a picture: %s", picture.uri)
    return picture
