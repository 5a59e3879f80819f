"""From a rollout's record to the router: written, fenced by epoch, read back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from airflow_ml.core.arms import challengers_of
from airflow_ml.core.ports import Router, Traffic
from airflow_ml.core.rollout_plan import SAME, SHADOW
from airflow_ml.core.rollout_state import SERVING_ENDS, RolloutState
from airflow_ml.core.served_name import served_name
from airflow_ml.errors import FencedOut, RouterFailed


def traffic_of(state: RolloutState, *, expires_at: datetime) -> Traffic | None:
    """Return what the router has to do by a record; None where nothing is to be served at all.

    Args:
        state: A record, live or not. One with an end under way counts as ended.
        expires_at: Until when a living split holds without another write.
    """
    closing = state.pending is not None or not state.live
    promoted = closing and (state.pending or state.state) in SERVING_ENDS
    champion = state.candidate if promoted else state.champion
    if champion is None:
        return None  # an installation that is taken back
    alone = Traffic(
        model=served_name(state.model, state.namespace),
        epoch=state.router_epoch,
        champion=champion,
        challenger=None,
        weight_percent=0.0,
        expires_at=None,
        salt=state.salt,
    )
    if closing:
        return alone
    divided = replace(alone, challenger=state.candidate, weight_percent=state.weight_percent, expires_at=expires_at)
    if state.kind == SAME:
        return replace(divided, challenger=champion)
    if state.chosen:
        return divided
    return replace(divided, others=state.others, stopped=tuple(sorted(state.stopped)), shadow=state.kind == SHADOW)


def apply(router: Router, state: RolloutState, *, expires_at: datetime) -> None:
    """Set the router to a record and read it back.

    Raises:
        RouterFailed: it did not take it.
        FencedOut: it holds a higher epoch.
    """
    traffic = traffic_of(state, expires_at=expires_at)
    if traffic is None:
        return
    router.write(traffic)
    seen = router.read(traffic.model)
    if seen is not None and seen.epoch > traffic.epoch:
        raise FencedOut(
            f"The router of {traffic.model!r} holds a higher epoch", f"{seen.epoch} > {traffic.epoch}", "Stop."
        )
    if seen is None or not same_division(seen, traffic):
        raise RouterFailed(
            f"The router of {traffic.model!r} was read back differently",
            f"{_essence(seen) if seen else None} instead of {_essence(traffic)}",
            "Look at the router's log; the next look sets it again.",
        )


def same_division(seen: Traffic, wanted: Traffic) -> bool:
    """Whether two divisions have the same epoch, versions and weight; when they expire does not matter."""
    return _essence(seen) == _essence(wanted)


def _essence(traffic: Traffic) -> tuple[object, ...]:
    """Return what must be equal when a router is read back."""
    versions = {arm: variant.get("version") for arm, variant in challengers_of(traffic).items()}
    return (
        traffic.epoch,
        traffic.champion.get("version"),
        tuple(versions.items()),
        float(traffic.weight_percent),
        traffic.shadow,
        tuple(sorted(traffic.stopped)),
    )
