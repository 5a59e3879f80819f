"""What follows from a rollout's end: the alias, the promotion's record in the registry, the asset event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_ml.assets import create_asset
from airflow_ml.core.aliases import CHAMPION, PREVIOUS, alias_in
from airflow_ml.core.failpoint import fp
from airflow_ml.errors import AliasConflict
from airflow_ml.operators.base import task_names

if TYPE_CHECKING:
    from airflow.sdk import AssetAlias, Context

    from airflow_ml.core.canary import Rollout
    from airflow_ml.core.ports import ModelRegistry
    from airflow_ml.core.rollout_state import RolloutState


#: The tag of a version that names the rollout by which it came to serve, from the moment its alias has moved.
ROLLOUT_TAG = "airflow_ml.rollout"


def owner_of(context: Context) -> str:
    """Return who leads a rollout: dag, run, task and map index, the same for every attempt."""
    return "/".join(task_names(context).values())


def move_champion(registry: ModelRegistry, record: Rollout, *, keep_previous: bool) -> None:
    """Let the alias follow the traffic; what is done already is done.

    Raises:
        AliasConflict: somebody else moved it in the meantime.
    """
    current = registry.by_alias(record.model, CHAMPION)
    held = current.version if current else ""
    if held == record.challenger:
        return
    if held != record.champion:
        raise AliasConflict(
            f"The alias {CHAMPION} of {record.model!r} was moved by somebody else",
            f"it points to version {held or 'nothing'}, expected {record.champion or 'nothing'}",
            f"The router serves version {record.challenger}: point the alias there, or use rollback().",
        )
    if keep_previous and record.champion:
        previous = registry.by_alias(record.model, PREVIOUS)
        registry.set_alias(record.model, PREVIOUS, record.champion, expected=previous.version if previous else None)
    fp("promotion.before_alias")
    registry.set_alias(record.model, CHAMPION, record.challenger, expected=record.champion or None)
    fp("promotion.after_alias")


def promotion_tags(state: RolloutState) -> dict[str, str]:
    """Return the tags of a version that say by which rollout and evidence, or by whom, it came to serve."""
    from airflow_ml.core.rollout_look import PROMOTE

    by_hand = [f"{act.who}: {act.why}" for act in state.acts if act.kind == PROMOTE and state.promote_arm]
    return {
        ROLLOUT_TAG: f"{state.namespace}/{state.model}/{state.epoch}",
        "airflow_ml.rollout_outcome": state.state,
        "airflow_ml.rollout_owner": state.owner,
        "airflow_ml.rollout_evidence": state.evidence.digest if state.evidence else "none",
        "airflow_ml.rollout_promoted_by": by_hand[-1] if by_hand else "evidence",
    }


def emit_champion_event(context: Context, moved: AssetAlias, record: Rollout) -> None:
    """Emit the asset event of the alias ``champion``, which has moved."""
    context["outlet_events"][moved].add(
        create_asset(model=record.model, alias=alias_in(record.namespace, CHAMPION)),
        extra={"version": record.challenger, "previous": record.champion, "outcome": record.outcome},
    )
