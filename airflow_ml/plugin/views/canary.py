"""A canary, live: what serves, how sure it is, who did what, and what this user may do."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.guardrail_look import GuardrailLook
from airflow_ml.core.rollout_look import APPROVE, HOLD, PROMOTE, RESUME, STOP, Act, ArmLook, Look
from airflow_ml.core.rollout_plan import NON_INFERIORITY, RolloutPlan
from airflow_ml.core.rollout_state import PARKED, RolloutState
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.records import moment
from airflow_ml.plugin.views.rollouts import owner_dag, owner_of, version_of
from airflow_ml.plugin.views.shelf import Shelf

_LOOKS = 500
_LOG = 200
_WAITING = "hold"


def canary_view(
    shelf: Shelf,
    model: str,
    epoch: int | None,
    *,
    may_read: Callable[[str], bool],
    may_edit: Callable[[str], bool],
) -> dict[str, Any]:
    """Return one rollout of a model, the newest by default.

    Raises:
        NotHere: there is none, or its DAG may not be read.
    """
    book = shelf.rollouts.book(shelf.store, shelf.namespace, model)
    visible = [number for number, (_, state) in sorted(book.states.items()) if _visible(state, may_read)]
    chosen = epoch if epoch is not None else (visible[-1] if visible else None)
    if chosen is None or chosen not in visible:
        raise NotHere(f"{model} has no such rollout")
    sequence, state = book.states[chosen]
    looks = shelf.rollouts.looks(shelf.store, book, chosen)
    now = shelf.now()
    newest = chosen == max(book.states)
    actions = allowed_actions(state, now) if newest and may_edit(owner_dag(state)) else []
    return {
        "model": state.model,
        "namespace": state.namespace,
        "epoch": state.epoch,
        "sequence": sequence,
        "epochs": visible[::-1],
        "brief": rollout_brief(state, now),
        "pending": state.pending or "",
        "promote_arm": state.promote_arm,
        "cause": state.cause,
        "challengers": [
            {
                "arm": arm,
                "version": version_of(variant),
                "stopped": state.stopped.get(arm, ""),
                "chosen": arm == state.chosen,
            }
            for arm, variant in state.challengers.items()
        ],
        "owner": owner_of(state),
        "router": state.router_name,
        "confirmed": state.confirmed,
        "now_at": format_time(now),
        "lease_expires_at": moment(state.lease_expires_at),
        "watermark_at": moment(state.watermark_at),
        "trouble_since_at": moment(state.trouble_since_at),
        "plan": _plan(state.plan),
        "looks": [_look(look) for look in _thinned(looks)],
        "looks_total": state.looks,
        "log": _log(state, looks),
        "actions": [action_row(act) for act in reversed(state.acts)],
        "allowed": actions,
        "picture": False,
    }


def rollout_brief(state: RolloutState, now: datetime) -> dict[str, Any]:
    """Return a rollout in a few words, for lists."""
    return {
        "epoch": state.epoch,
        "state": state.state,
        "live": state.live,
        "champion": version_of(state.champion),
        "challenger": versions_of(state),
        "kind": state.kind,
        "weight_percent": state.weight_percent,
        "reason": state.held or state.reason,
        "steps": _steps(state.plan),
        "step": state.step,
        "looks": state.looks,
        "started_at": format_time(state.started_at),
        "lease_expires_at": moment(state.lease_expires_at),
        "lost": state.live and state.expired(now),
        "held": bool(state.held),
    }


def versions_of(state: RolloutState) -> str:
    """Return the challenger's version; of several the chosen one, before that all of them."""
    if state.chosen:
        return version_of(state.candidate)
    return ", ".join(version_of(variant) for variant in state.challengers.values())


def _steps(plan: RolloutPlan) -> list[dict[str, Any]]:
    return [
        {"weight_percent": step.weight_percent, "data_days": step.data_days, "kind": step.kind} for step in plan.steps
    ]


def allowed_actions(state: RolloutState, now: datetime) -> list[str]:
    """Return what a person may do with a rollout as it is."""
    if state.state == PARKED:
        return [APPROVE, STOP]
    if not state.live or state.pending:
        return []
    if state.expired(now):
        return [STOP]  # nobody leads it: only its end can be asked for
    promote = [PROMOTE] if state.plan.promotes and not state.promote_arm else []
    return [RESUME if state.held else HOLD, *promote, STOP]


def action_row(act: Act) -> dict[str, Any]:
    """Return what a person did."""
    return {"action": act.kind, "by": act.who, "reason": act.why, "at": format_time(act.at)}


def _visible(state: RolloutState, may_read: Callable[[str], bool]) -> bool:
    try:
        return may_read(owner_dag(state))
    except NotHere:
        return False


def _plan(plan: RolloutPlan) -> dict[str, Any]:
    # The same bound both ways: shown on its good side promotes, shown on its bad side goes back.
    bound = 0.0
    if plan.hypothesis == NON_INFERIORITY:
        bound = plan.margin if plan.direction == "minimize" else -plan.margin
    return {
        "metric": plan.metric,
        "direction": plan.direction,
        "hypothesis": plan.hypothesis,
        "margin": plan.margin,
        "alpha": plan.alpha,
        "min_units": plan.min_units,
        "max_data_days": plan.max_data_days,
        "expected_effect": plan.expected_effect,
        "steps": _steps(plan),
        "guardrails": [
            {
                "metric": _named(one.name, one.decides),
                "margin": one.margin if one.limit is None else one.limit,
                "direction": one.direction,
            }
            for one in plan.guardrails
        ],
        "challengers": plan.challengers,
        "design": plan.design,
        "promotes": plan.promotes,
        "promote_bound": bound,
        "roll_back_bound": bound,
    }


def _thinned(looks: Sequence[Look]) -> list[Look]:
    """Return at most 500 looks: every one that decided something, the last, and an even share of the others."""
    if len(looks) <= _LOOKS:
        return list(looks)
    kept = {index for index, look in enumerate(looks) if look.action != _WAITING or index == len(looks) - 1}
    kept = set(sorted(kept)[-_LOOKS // 2 :])
    stride = math.ceil(len(looks) / (_LOOKS - len(kept)))
    return [look for index, look in enumerate(looks) if index in kept or index % stride == 0]


def _look(look: Look) -> dict[str, Any]:
    low, high = _ends(look.interval)
    return {
        "number": look.number,
        "at": format_time(look.at),
        "watermark_at": moment(look.watermark_at),
        "data_days": look.data_days,
        "step": look.step,
        "weight_percent": look.weight_percent,
        "action": look.action,
        "reason": look.reason,
        "effect": look.effect,
        "low": low,
        "high": high,
        **{name: _counts(getattr(look, name)) for name in ("units", "requests", "waiting")},
        "sample_ratio_excess": look.sample_ratio_excess,
        "guardrails": _guardrails(look.guardrails),
        "kind": look.kind,
        "arms": [_arm(one) for one in look.arms],
    }


def _arm(arm: ArmLook) -> dict[str, Any]:
    low, high = _ends(arm.interval)
    return {
        "arm": arm.arm,
        "effect": arm.effect,
        "low": low,
        "high": high,
        "units": _counts(arm.units),
        "requests": _counts(arm.requests),
        "ready": arm.ready,
        "shown": arm.shown,
        "worse": arm.worse,
        "harm": arm.harm,
        "guardrails": _guardrails(arm.guardrails),
    }


def _ends(interval: tuple[float, ...]) -> tuple[float | None, float | None]:
    return (interval[0], interval[1]) if len(interval) == 2 else (None, None)


def _guardrails(looks: Sequence[GuardrailLook]) -> list[dict[str, Any]]:
    return [
        {
            "metric": _named(one.metric, one.decides),
            "slice": one.slice_name,
            "effect": one.effect if one.level is None else one.level,
            "held": one.held,
            "broken": one.broken,
        }
        for one in looks
    ]


def _named(name: str, decides: bool) -> str:
    return name if decides else f"{name} (dry run)"


def _counts(counts: Mapping[str, int] | None) -> dict[str, int] | None:
    """Return a count for each arm; the first two are always there."""
    return None if not counts else {"champion": 0, "challenger": 0, **{name: int(one) for name, one in counts.items()}}


def _log(state: RolloutState, looks: Sequence[Look]) -> list[dict[str, Any]]:
    """Return what was decided and done, newest first: the start, each decision, each act of a person, the end."""
    owner = owner_of(state)
    leader = f"{owner['dag_id']}.{owner['task_id']}" if owner is not None else state.owner
    rows = [(state.started_at, "created", 0.0, "Created at weight 0", leader)]
    previous = ""
    for look in looks:
        # A reason that stays the same while nothing is decided is one line, not one for each minute.
        told = look.reason if look.action != _WAITING else _kind(look.reason)
        if look.action != _WAITING or told != previous:
            rows.append((look.at, look.action, look.weight_percent, look.reason, leader))
        previous = told
    rows += [(act.at, act.kind, state.weight_percent, act.why, act.who) for act in state.acts]
    ordered = sorted(rows, key=lambda row: row[0])
    if not state.live:
        # The record has no time of its own for its end; it follows what was written last.
        ordered.append((ordered[-1][0], state.state, state.weight_percent, state.reason, leader))
    found = [
        {"sequence": number, "at": format_time(at), "state": what, "weight_percent": weight, "what": text, "by": by}
        for number, (at, what, weight, text, by) in enumerate(ordered, 1)
    ]
    return found[::-1][:_LOG]


def _kind(reason: str) -> str:
    """Return a reason without its numbers: "Step 1 has had 0.3 of 2 data days" is the same as with 0.4."""
    return "".join(character for character in reason if not character.isdigit())
