"""Stage 7, canary: the changes that a human makes to a rollout. Each names who and why, and is written like any other.

``hold`` keeps a rollout at its step: it is still looked at, and harm still ends it. ``resume`` lets it go on. A parked
rollout has traffic again after ``reentered``, or ends by ``closed``. Stopping a live one is `ending` with the act.
``to_promote`` asks for a promotion without more evidence, and ``promoted_by_hand`` carries it out at the next look.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from airflow_ml.core.canary import INCONCLUSIVE, ROLLED_BACK
from airflow_ml.core.rollout_change import check_may_act, with_act
from airflow_ml.core.rollout_decision import PROMOTE, Decision
from airflow_ml.core.rollout_look import PROMOTE as PROMOTE_ACT
from airflow_ml.core.rollout_look import Act
from airflow_ml.core.rollout_plan import SPLIT
from airflow_ml.core.rollout_state import PARKED, RUNNING, RolloutState
from airflow_ml.errors import ConfigurationError, FencedOut


def held(state: RolloutState, act: Act) -> RolloutState:
    """Return the record of a rollout that takes no further step until it is resumed.

    Raises:
        FencedOut: it ended, is ending, or its lease ran out.
    """
    check_may_act(state, act.at)
    return replace(state, held=f"by {act.who}: {act.why}", acts=with_act(state, act))


def resumed(state: RolloutState, act: Act) -> RolloutState:
    """Return the record of a rollout that may go on, with ``max_data_days`` from here.

    More time costs no error probability: the test is valid at any number of looks.

    Raises:
        FencedOut: it is not held, ended, is ending, or its lease ran out.
    """
    check_may_act(state, act.at)
    if not state.held:
        raise FencedOut(f"The rollout of {state.model!r} is not held", state.state, "There is nothing to resume.")
    return replace(
        state,
        held="",
        acts=with_act(state, act),
        resumed_watermark_at=state.watermark_at,
        progress_at=act.at,
    )


def to_promote(state: RolloutState, act: Act, *, arm: str = "") -> RolloutState:
    """Return the record of a rollout whose challenger is to be promoted without more evidence.

    Who leads it does so at the next look: first the router, read back, then the alias, as after any promotion.

    Args:
        state: A live rollout, at any step, held or not.
        act: Who wants it, and why.
        arm: Which of several challengers that are still compared; needed only then.

    Raises:
        FencedOut: it ended, is ending, waits for an approval, or its lease ran out; or its plan promotes nothing.
        ConfigurationError: no such challenger, or it is not said which.
    """
    if state.state == PARKED:
        raise FencedOut(
            f"The rollout of {state.model!r} has no traffic and nobody leads it", state.state, "Approve it first."
        )
    check_may_act(state, act.at)
    if not state.plan.promotes:
        raise FencedOut(
            f"The rollout of {state.model!r} is a comparison", "its plan promotes nothing", "Start a canary."
        )
    open_arms = [state.chosen] if state.chosen else [one for one in state.challengers if one not in state.stopped]
    if (arm or len(open_arms) > 1) and arm not in open_arms:
        raise ConfigurationError(
            f"Not a challenger of {state.model!r} that can be promoted",
            repr(arm),
            f"Name one of {', '.join(open_arms)}.",
        )
    return replace(state, promote_arm=arm or open_arms[0], acts=with_act(state, act))


def promoted_by_hand(state: RolloutState, decision: Decision) -> Decision:
    """Return what follows from a look where a human wants a promotion: that, unless the look shows harm.

    The reason also says what the evidence would have done, for whoever asks later.
    """
    arm = state.promote_arm
    if not arm or arm in state.stopped or arm in decision.harm:
        return decision
    act = next(one for one in reversed(state.acts) if one.kind == PROMOTE_ACT)
    reason = f"Promoted by {act.who}: {act.why}. The evidence said: {decision.action}, {decision.reason}"
    return replace(
        decision,
        action=PROMOTE,
        reason=reason,
        statistics=replace(decision.statistics, action=PROMOTE, reason=reason),
        trouble=False,
        chosen=arm if state.plan.challengers > 1 else "",
        stopped={},
    )


def reentered(state: RolloutState, act: Act, *, now: datetime, lease_seconds: float) -> RolloutState:
    """Return the record of a parked rollout that goes on at its step with its evidence.

    Raises:
        FencedOut: it is not parked.
    """
    _check_parked(state)
    epoch = state.router_epoch + 1
    step = state.plan.steps[state.step]
    return replace(
        state,
        state=RUNNING,
        claim=state.claim + 1,
        router_epoch=epoch,
        reentry_epochs=(*state.reentry_epochs, epoch),
        weight_percent=step.weight_percent,
        weights=(*state.weights, step.weight_percent) if step.kind == SPLIT else state.weights,
        confirmed=False,
        cause="",
        reason=f"Approved by {act.who}: {act.why}",
        acts=with_act(state, act),
        lease_expires_at=now + timedelta(seconds=lease_seconds),
        resumed_watermark_at=state.watermark_at,
        progress_at=now,
        trouble_since_at=None,
        promote_arm="",
    )


def closed(state: RolloutState, outcome: str, *, reason: str, cause: str, act: Act | None = None) -> RolloutState:
    """Return the end of a parked rollout; its router is at weight 0 already.

    Args:
        outcome: ``rolled_back`` or ``inconclusive``.

    Raises:
        FencedOut: it is not parked.
    """
    _check_parked(state)
    if outcome not in (ROLLED_BACK, INCONCLUSIVE):
        raise ValueError(f"A parked rollout cannot end as {outcome!r}")
    return replace(state, state=outcome, reason=reason, cause=cause, acts=with_act(state, act))


def _check_parked(state: RolloutState) -> None:
    if state.state != PARKED:
        raise FencedOut(
            f"The rollout of {state.model!r} does not wait for an approval", state.state, "Read its newest record."
        )
