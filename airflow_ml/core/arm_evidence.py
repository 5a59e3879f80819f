"""Stage 7, canary: what the readings say of each challenger, by the plan's design. Pure.

Each challenger has its own tests against the champion, valid at every look. Of several, the two-sided tests of the
metric are corrected by Holm, whatever their dependence (they share the champion's data); one-sided tests and guardrails
share their alpha evenly.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_ml.core.aliases import CHALLENGER, CHAMPION
from airflow_ml.core.arms import PAIRED_METRIC, paired_name
from airflow_ml.core.direction import MINIMIZE
from airflow_ml.core.guardrail import Guardrail
from airflow_ml.core.guardrail_look import GuardrailLook, judge, unseen
from airflow_ml.core.mixture import confidence_sequence, log_e_one_sided, log_e_two_sided
from airflow_ml.core.multiplicity import always_valid_p, holm
from airflow_ml.core.paired import PairedEffect, log_e_paired, paired_effect, paired_interval
from airflow_ml.core.ports import Reading
from airflow_ml.core.rollout_look import ArmLook
from airflow_ml.core.rollout_plan import BY_REQUEST, PAIRED_SHADOW, SAME, SHADOW, SPLIT, SUPERIORITY, RolloutPlan
from airflow_ml.core.statistics import Effect, as_requests, effect_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One comparison of one arm: the estimate, its always-valid interval, and the evidence both ways."""

    effect: float | None = None
    variance: float | None = None
    interval: tuple[float, ...] = ()
    #: Always-valid p-values: against "not better" (than the margin) and against "not worse".
    p_better: float = 1.0
    p_worse: float = 1.0
    units: Mapping[str, int] | None = None
    requests: Mapping[str, int] | None = None
    days: int = 0
    strata: int = 0


def judge_arms(
    plan: RolloutPlan,
    readings: Mapping[str, Reading],
    *,
    arms: Sequence[str],
    kind: str,
    chosen: str = "",
    data_days: float = math.inf,
) -> tuple[ArmLook, ...]:
    """Return what is shown of each arm that is still compared.

    Args:
        plan: The rollout's plan.
        readings: By the names of ``plan.reads``.
        arms: Challengers that are not stopped.
        kind: Of the step under way.
        chosen: The one challenger that goes on after the comparison; its split, if any, has the first arm's name.
        data_days: Since the challenger's first traffic, for guardrails that decide only later.

    Raises:
        ValueError, OverflowError: for sums that no data can have.
    """
    split = {arm: _split(plan, readings, _name_in_split(plan, arm, chosen)) for arm in arms}
    paired = {arm: _paired(plan, readings, arm) for arm in arms}
    found = []
    # A stopped challenger stays in the family, so that the others' correction does not change.
    for_split, for_pairs = _calls(plan, split), _calls(plan, paired)
    for arm in arms:
        by_pairs = kind == SHADOW or (kind == SPLIT and plan.design == PAIRED_SHADOW)
        way = paired[arm] if by_pairs else split[arm]
        deciding = for_pairs[arm] if plan.design == PAIRED_SHADOW else for_split[arm]
        guardrails = _guardrails(plan, readings, arm, _name_in_split(plan, arm, chosen), data_days)
        shown = deciding[0] and kind != SAME
        worse = split[arm] if for_split[arm][1] else paired[arm] if for_pairs[arm][1] else None
        harm = _unlike(plan, way) if kind == SAME else _harm(plan, worse, guardrails)
        found.append(
            ArmLook(
                arm=arm,
                effect=way.effect,
                variance=way.variance,
                interval=way.interval,
                units=way.units,
                requests=way.requests,
                days=way.days,
                strata=way.strata,
                shown=shown,
                ready=shown and all(one.held for one in guardrails if one.decides),
                worse=worse is not None and kind != SAME,
                harm=harm,
                guardrails=guardrails,
            )
        )
    return tuple(found)


def best_of(arms: Sequence[ArmLook], *, direction: str) -> ArmLook | None:
    """Return the arm with the best estimate; None without any estimate.

    That an arm is better than the champion is proven; that it is the best of the better ones is the likeliest choice.
    """
    sign = 1.0 if direction == MINIMIZE else -1.0
    known = [arm for arm in arms if arm.effect is not None]
    return min(known, key=lambda arm: (sign * (arm.effect or 0.0), arms.index(arm)), default=None)


def in_words(plan: RolloutPlan, found: Way | ArmLook) -> str:
    """Return an effect and its interval."""
    if found.effect is None or len(found.interval) != 2:
        return "no effect could be estimated"
    return f"{plan.metric} {found.effect:+.5g} [{found.interval[0]:+.5g}, {found.interval[1]:+.5g}]"


def _name_in_split(plan: RolloutPlan, arm: str, chosen: str) -> str:
    return CHALLENGER if chosen and plan.design == PAIRED_SHADOW else arm


def _unlike(plan: RolloutPlan, way: Way) -> str:
    """Say that the champion differs from itself; empty where it does not."""
    if len(way.interval) != 2 or min((way.units or {}).values(), default=0) < plan.min_units:
        return ""
    if way.interval[0] <= 0 <= way.interval[1]:
        return ""
    return f"invalid: the champion differs from itself, the way of measuring is at fault: {in_words(plan, way)}"


def _harm(plan: RolloutPlan, worse: Way | None, guardrails: Sequence[GuardrailLook]) -> str:
    if worse is not None:
        return f"The challenger is worse: {in_words(plan, worse)}"
    for one in guardrails:
        if one.broken and one.decides:
            where = f" where it is {one.slice_name}" if one.slice_name else ""
            seen = f"{one.effect:+.5g}" if one.level is None else f"is {one.level:.5g}"
            return f"The challenger breaks a guardrail: {one.metric}{where} {seen}"
    return ""


def _calls(plan: RolloutPlan, ways: Mapping[str, Way]) -> dict[str, tuple[bool, bool]]:
    """Return of each arm whether it is shown better, and shown worse."""
    stopped = {f"stopped {number}": 1.0 for number in range(plan.challengers - len(ways))}
    if plan.hypothesis == SUPERIORITY:
        corrected = holm({**{arm: min(way.p_better, way.p_worse) for arm, way in ways.items()}, **stopped})
        return {
            arm: (
                corrected[arm] <= plan.test_alpha and way.p_better < way.p_worse,
                corrected[arm] <= plan.test_alpha and way.p_worse < way.p_better,
            )
            for arm, way in ways.items()
        }
    level = plan.test_alpha / plan.challengers
    return {arm: (way.p_better <= level, way.p_worse <= level) for arm, way in ways.items()}


def _split(plan: RolloutPlan, readings: Mapping[str, Reading], arm: str) -> Way:
    reading = readings.get(plan.metric)
    if reading is None or not plan.divides:
        return Way()
    effect = _effect(plan, reading, arm)
    if effect is None:
        return Way()
    known = Way(
        effect=effect.difference,
        variance=effect.variance,
        units={CHAMPION: effect.champion_units, CHALLENGER: effect.challenger_units},
        requests={CHAMPION: effect.champion_requests, CHALLENGER: effect.challenger_requests},
        strata=effect.strata,
    )
    level = plan.test_alpha / plan.challengers
    interval = confidence_sequence(effect, alpha=level, tau_requests=plan.tau_requests)
    if effect.variance <= 0 or not all(map(math.isfinite, interval)):
        return known
    known = replace(known, interval=interval)
    if min(effect.champion_units, effect.challenger_units) < plan.min_units:
        return known
    gain = -effect.difference if plan.direction == MINIMIZE else effect.difference
    r = effect.weight / plan.tau_requests
    excess = (gain + plan.margin) / math.sqrt(effect.variance)
    found = (
        _two_sided(known, log_e_two_sided(effect.z, r), gain)
        if plan.hypothesis == SUPERIORITY
        else replace(
            known,
            p_better=always_valid_p(log_e_one_sided(excess, r)),
            p_worse=always_valid_p(log_e_one_sided(-excess, r)),
        )
    )
    return replace(found, p_better=1.0) if effect.constant else found


def _effect(plan: RolloutPlan, reading: Reading, arm: str) -> Effect | None:
    if plan.cluster == BY_REQUEST:
        return effect_of(as_requests(reading.samples), champion=CHAMPION, challenger=arm)
    return effect_of(reading.samples, champion=CHAMPION, challenger=arm, unit_squares=reading.unit_squares)


def _paired(plan: RolloutPlan, readings: Mapping[str, Reading], arm: str) -> Way:
    reading = readings.get(f"{plan.metric}{PAIRED_METRIC}")
    effect = paired_effect(reading.samples, variant=paired_name(arm)) if reading is not None else None
    if effect is None:
        return Way()
    interval = paired_interval(effect, alpha=plan.test_alpha / plan.challengers)
    known = Way(
        effect=effect.difference,
        variance=effect.variance,
        interval=interval if all(map(math.isfinite, interval)) else (),
        units={CHAMPION: effect.units, CHALLENGER: effect.units},
        requests={CHAMPION: effect.requests, CHALLENGER: effect.requests},
        days=effect.days,
        strata=effect.days,
    )
    if effect.units < plan.min_units:
        return known
    gain = -effect.difference if plan.direction == MINIMIZE else effect.difference
    shift = plan.margin if plan.hypothesis != SUPERIORITY else 0.0
    shifted = replace(effect, difference=gain + shift)
    return _two_sided(known, log_e_paired(shifted), gain + shift)


def _two_sided(way: Way, log_e: float, gain: float) -> Way:
    p = always_valid_p(log_e)
    return replace(way, p_better=p if gain > 0 else 1.0, p_worse=p if gain < 0 else 1.0)


def _guardrails(
    plan: RolloutPlan, readings: Mapping[str, Reading], arm: str, in_split: str, data_days: float
) -> tuple[GuardrailLook, ...]:
    found = []
    for guardrail in plan.guardrails:
        try:
            look = _guarded(plan, guardrail, readings, arm, in_split)
        except (ValueError, OverflowError):
            if guardrail.decides:
                raise
            look = unseen(guardrail)
        early = data_days < guardrail.after_data_days
        found.append(replace(look, held=False, broken=False) if early else look)
    return tuple(found)


def _guarded(
    plan: RolloutPlan, guardrail: Guardrail, readings: Mapping[str, Reading], arm: str, in_split: str
) -> GuardrailLook:
    limits: dict[str, Any] = {"alpha": plan.test_alpha / plan.challengers, "min_units": plan.min_units}
    looks = []
    if plan.divides and guardrail.reads in readings:
        reading = readings[guardrail.reads]
        if plan.cluster == BY_REQUEST:
            reading = replace(reading, samples=as_requests(reading.samples), unit_squares={})
        looks.append(judge(guardrail, reading, challenger=in_split, tau_requests=plan.tau_requests, **limits))
    of_pairs = readings.get(f"{guardrail.reads}{PAIRED_METRIC}")
    if plan.shadows and of_pairs is not None and guardrail.limit is None:
        looks.append(_judge_pairs(guardrail, paired_effect(of_pairs.samples, variant=paired_name(arm)), **limits))
    if plan.design == PAIRED_SHADOW and not guardrail.by:
        looks.reverse()  # what is shown by pairs counts; a split only looks for harm
    return _joined(looks) if looks else unseen(guardrail)


def _joined(looks: Sequence[GuardrailLook]) -> GuardrailLook:
    """Return the first look, or a later one that shows the guardrail broken."""
    return next((one for one in looks if one.broken), looks[0])


def _judge_pairs(guardrail: Guardrail, effect: PairedEffect | None, *, alpha: float, min_units: int) -> GuardrailLook:
    held = broken = False
    if effect is not None and effect.units >= min_units:
        low, high = paired_interval(effect, alpha=alpha)
        low, high = (low, high) if guardrail.direction == MINIMIZE else (-high, -low)
        held, broken = high <= guardrail.margin, low >= guardrail.margin
    return GuardrailLook(
        metric=guardrail.name,
        effect=effect.difference if effect else None,
        variance=effect.variance if effect else None,
        held=held,
        broken=broken,
        decides=guardrail.decides,
    )
