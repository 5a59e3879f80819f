"""Stage 7, canary: every change that the record of a rollout may make.

The functions here are the only changes there are:

    created ──> running ──> promoted | rolled_back | inconclusive | conflict | concluded
       │          └─> parked ──> running (approved) | rolled_back | inconclusive
       └───────────────────────────> rolled_back | inconclusive | conflict
    installed                        (no champion before: no comparison)

A parked rollout waits for a human at weight 0 without a lease. What a human changes is core/rollout_human.py.

An end is two entries: first the intent (``pending``), then, when the router was read back, the end itself. Whoever
finds an intent finishes it. The router is fenced by epoch: a rollout lives with epoch ``e`` and closes the router with
``e + 1``, so that no late write of a living rollout can come after its end; the next rollout begins with ``e + 2``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from airflow_ml.core.assessment import NOTHING_YET, Tally
from airflow_ml.core.canary import PROMOTED
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.record import JSON
from airflow_ml.core.rollout_look import Act, ArmLook, Look
from airflow_ml.core.rollout_plan import SAME, SPLIT, RolloutPlan
from airflow_ml.core.rollout_state import CREATED, RESTS, RUNNING, SERVING_ENDS, RolloutState
from airflow_ml.errors import FencedOut, RolloutBusy

#: Acts of humans that a record keeps; the history of records has them all.
_ACTS_KEPT = 20


def created(
    previous: RolloutState | None,
    *,
    plan: RolloutPlan,
    model: str,
    namespace: str,
    champion: Mapping[str, JSON] | None,
    challenger: Mapping[str, JSON],
    owner: str,
    now: datetime,
    lease_seconds: float,
    router_epoch: int = 0,
    router_name: str = "",
    others: Sequence[Mapping[str, JSON]] = (),
) -> RolloutState:
    """Return the first record of a rollout, at weight 0.

    Args:
        previous: The model's rollout before, if there was one.
        router_epoch: The epoch that the router itself holds, which may be ahead of a lost or foreign history.
        router_name: The name by which the router is found again.
        others: Challengers beyond the first.

    Raises:
        ValueError: the plan is made for another number of challengers.
        RolloutBusy: the one before has not ended.
    """
    if previous is not None and previous.live:
        raise busy(previous)
    if len(others) + 1 != plan.challengers:
        raise ValueError(f"The plan is for {plan.challengers} challengers, not {len(others) + 1}")
    epoch = max(previous.router_epoch if previous else 0, router_epoch) + 1
    return RolloutState(
        model=model,
        namespace=namespace,
        epoch=epoch,
        router_epoch=epoch,
        claim=1,
        state=CREATED,
        pending=None,
        cause="",
        reason="Created at weight 0",
        plan=plan,
        step=-1,
        weight_percent=0.0,
        confirmed=False,
        champion=champion,
        challenger=challenger,
        others=tuple(others),
        owner=owner,
        router_name=router_name,
        lease_expires_at=now + timedelta(seconds=lease_seconds),
        started_at=now,
    )


def adopted(state: RolloutState, *, owner: str, now: datetime, lease_seconds: float) -> RolloutState:
    """Return the record after another attempt of its owner took over: same step, same evidence.

    Raises:
        RolloutBusy: it belongs to somebody else.
        FencedOut: it ended, is ending, or its lease ran out.
    """
    if state.owner != owner:
        raise busy(state)
    if not state.live or state.pending or state.expired(now):
        raise FencedOut("The rollout can no longer be taken over", state.state, "Start a new one.")
    return replace(state, claim=state.claim + 1, lease_expires_at=now + timedelta(seconds=lease_seconds))


def looked(
    state: RolloutState,
    look: Look,
    *,
    next_step: bool,
    now: datetime,
    lease_seconds: float,
    trouble: bool = False,
    pause: bool = False,
    tally: Tally | None = None,
    stopped: Mapping[str, str] | None = None,
    chosen: str = "",
) -> RolloutState:
    """Return the record after a look that did not end the rollout: lease renewed, perhaps one step further.

    Args:
        pause: Hold it at this step until a human says more, for the look's reason.
        tally: How the looks came out up to this one.
        stopped: Challengers that answer nothing from now on, and why.
        chosen: The challenger that alone goes on.

    Raises:
        FencedOut: it ended, is ending, or its lease ran out meanwhile.
    """
    check_may_act(state, now)
    watermark = look.watermark_at if look.watermark_at is not None else state.watermark_at
    moved = watermark is not None and watermark != state.watermark_at
    renewed = replace(
        state,
        lease_expires_at=now + timedelta(seconds=lease_seconds),
        looks=look.number,
        last_look=look,
        reason=look.reason,
        watermark_at=watermark,
        progress_at=now if moved or state.progress_at is None else state.progress_at,
        trouble_since_at=(state.trouble_since_at or now) if trouble else None,
        held=state.held or (look.reason if pause else ""),
        tally=tally or state.tally,
        stopped={**state.stopped, **(stopped or {})},
        chosen=state.chosen or chosen,
        confirmed=state.confirmed and not stopped,
        seen_arms=_seen(state, look),
    )
    if state.step >= 0:
        renewed = replace(
            renewed,
            started_watermark_at=state.started_watermark_at or watermark,
            step_watermark_at=state.step_watermark_at or watermark,
        )
    if not next_step:
        return renewed
    step = state.step + 1
    weight, kind = state.plan.steps[step].weight_percent, state.plan.steps[step].kind
    if state.kind == SAME:
        # Under an epoch of its own nothing of it is ever taken for a comparison with the challenger.
        renewed = replace(
            renewed,
            same_epoch=state.router_epoch,
            router_epoch=state.router_epoch + 1,
            reentry_epochs=(*state.reentry_epochs, state.router_epoch + 1),
            tally=NOTHING_YET,
        )
    return replace(
        renewed,
        state=RUNNING,
        step=step,
        weight_percent=weight,
        confirmed=False,
        weights=(*state.weights, weight) if kind == SPLIT else state.weights,
        started_watermark_at=state.started_watermark_at or watermark,
        step_watermark_at=watermark,
    )


def confirmed(state: RolloutState) -> RolloutState:
    """Return the record after the router was read back with its weight."""
    return replace(state, confirmed=True, trouble_since_at=None)


def ending(
    state: RolloutState,
    outcome: str,
    *,
    reason: str,
    cause: str,
    look: Look | None = None,
    act: Act | None = None,
    chosen: str = "",
) -> RolloutState:
    """Return the record with the intent to end; the weight is that of the end already.

    An intent to stop replaces one to serve (it failed, or its owner was lost before it was done), never the other way
    round.

    Raises:
        FencedOut: it has ended, or an intent to stop is there already.
    """
    if not state.live or state.pending not in (None, *SERVING_ENDS) or (state.pending and outcome in SERVING_ENDS):
        raise FencedOut("The rollout is ending already", state.pending or state.state, "Read its newest record.")
    if outcome not in RESTS or (
        outcome == PROMOTED and state.step != len(state.plan.steps) - 1 and not state.promote_arm
    ):
        raise ValueError(f"A rollout at step {state.step} cannot end as {outcome!r}")
    return replace(
        state,
        pending=outcome,
        reason=reason,
        cause=cause,
        confirmed=False,
        weight_percent=100.0 if outcome in SERVING_ENDS else 0.0,
        # An intent that is overruled may have closed the router already: its fence must be passed.
        router_epoch=state.router_epoch + 1,
        looks=look.number if look else state.looks,
        last_look=look or state.last_look,
        watermark_at=(look.watermark_at if look else None) or state.watermark_at,
        acts=with_act(state, act),
        chosen=state.chosen or chosen,
        seen_arms=_seen(state, look),
    )


def ended(state: RolloutState) -> RolloutState:
    """Return the record of the end, after the router was read back.

    Raises:
        FencedOut: no end is under way.
    """
    if not state.live or state.pending is None:
        raise FencedOut("No end of the rollout is under way", state.state, "Read its newest record.")
    return replace(state, state=state.pending, pending=None, confirmed=True, lease_expires_at=None)


def _seen(state: RolloutState, look: Look | None) -> tuple[ArmLook, ...]:
    """Return the last look at each challenger."""
    return tuple({one.arm: one for one in (*state.seen_arms, *(look.arms if look else ()))}.values())


def with_act(state: RolloutState, act: Act | None) -> tuple[Act, ...]:
    """Return the acts that the next record keeps."""
    return (*state.acts, act)[-_ACTS_KEPT:] if act is not None else state.acts


def busy(state: RolloutState) -> RolloutBusy:
    """Return the error for a model whose rollout belongs to somebody else."""
    until = format_time(state.lease_expires_at) if state.lease_expires_at else "its end"
    return RolloutBusy(
        f"Another rollout of {state.model!r} is under way",
        f"epoch {state.epoch} of {state.owner}, state {state.state}, leased until {until}",
        "Wait for its end, or stop it with rollback().",
    )


def check_may_act(state: RolloutState, now: datetime) -> None:
    """Refuse a change of a rollout that nobody leads any more.

    Raises:
        FencedOut: it ended, is ending, or its lease ran out.
    """
    if not state.live or state.pending or state.expired(now):
        raise FencedOut("The rollout may no longer act", state.pending or state.state, "Read its newest record.")
