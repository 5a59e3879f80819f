"""Stage 7, canary: from a plan, a record and a reading to one of seven actions. Pure, so that every case can be tested.

No data is never success, and what is not a number never passes. Harm ends a rollout at any look; superiority promotes
only when every step had its data days and the last weight is reached.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from airflow_ml.core import rollout_plan
from airflow_ml.core.assessment import ERROR, FAIL, NEITHER, NOTHING_YET, PASS, Tally, assess, counted
from airflow_ml.core.guardrail import MINIMIZE, GuardrailLook, judge_all
from airflow_ml.core.ports import Reading
from airflow_ml.core.registration import CHALLENGER, CHAMPION
from airflow_ml.core.rollout_look import Look
from airflow_ml.core.rollout_plan import SUPERIORITY, RolloutPlan
from airflow_ml.core.rollout_readings import day_of, weight_of
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.core.sample_ratio import SampleRatio, sample_ratio
from airflow_ml.core.statistics import Effect, confidence_sequence, effect_of, log_e_one_sided

ADVANCE, HOLD, PROMOTE, ROLL_BACK, INCONCLUSIVE = "advance", "hold", "promote", "roll_back", "inconclusive"
#: What an undecided rollout does by its plan instead of ending: pause at its weight, or at weight 0.
PAUSE, ASK = "pause", "ask"
#: What a comparison without a promotion does instead of one.
CONCLUDE = "conclude"
_UNDECIDED = {rollout_plan.ROLL_BACK: INCONCLUSIVE, rollout_plan.HOLD: PAUSE, rollout_plan.ASK: ASK}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now, why, and the statistics it rests on."""

    action: str
    reason: str
    statistics: Look
    #: The metric could not be read, or what was read cannot be true.
    trouble: bool = False
    #: How the looks came out, this one included.
    tally: Tally = NOTHING_YET


@dataclass(frozen=True, slots=True)
class _Verdict:
    shown: bool
    harmful: bool
    interval: tuple[float, ...]


def decide(
    plan: RolloutPlan,
    state: RolloutState,
    reading: Reading | None,
    now: datetime,
    *,
    guardrails: Mapping[str, Reading] | None = None,
    unreadable: str = "",
) -> Decision:
    """Decide one look.

    Args:
        plan: The rollout's plan.
        state: Its newest record, live and with a confirmed weight.
        reading: Everything measured so far; None where the metric could not be read.
        now: Wall clock, for silence and trouble only; all durations of the plan go by ``reading.watermark_at``.
        guardrails: What was measured of each of the plan's guardrails, by metric.
        unreadable: Why the reading is None.
    """
    readings = guardrails or {}
    problem = unreadable or "The metric could not be read" if reading is None else _impossible(state, reading)
    problem = problem or _unguarded(plan, state, readings)
    if reading is None or problem:
        return _in_trouble(plan, state, now, problem)
    limits = {"alpha": plan.test_alpha, "tau_requests": plan.tau_requests}
    guarded = judge_all(plan.guardrails, readings, min_units=plan.min_units, **limits)
    effect = effect_of(reading.samples, champion=CHAMPION, challenger=CHALLENGER, unit_squares=reading.unit_squares)
    ratio = _sample_ratio(plan, reading)
    verdict = _verdict(plan, effect)
    harm = _harm(plan, effect, verdict, guarded)
    phase = FAIL if harm else PASS if verdict.shown and all(one.held for one in guarded) else NEITHER
    tally = counted(state.tally, phase, new=_moved(state, reading))
    action, reason = _action(plan, state, reading, now, effect, ratio, verdict, guarded, harm, tally)
    look = _look(state, reading, now, action, reason, effect, ratio, verdict)
    return Decision(action=action, reason=reason, statistics=replace(look, guardrails=guarded), tally=tally)


def _action(
    plan: RolloutPlan,
    state: RolloutState,
    reading: Reading,
    now: datetime,
    effect: Effect | None,
    ratio: SampleRatio,
    verdict: _Verdict,
    guarded: Sequence[GuardrailLook],
    harm: str,
    tally: Tally,
) -> tuple[str, str]:
    if ratio.mismatch:
        return ROLL_BACK, (
            f"invalid: the split of units in stratum {ratio.stratum} is not the one that was set, so the arms "
            "cannot be compared"
        )
    outcome = assess(tally, plan.limits)
    if harm and outcome == FAIL:
        return ROLL_BACK, harm
    if state.held:
        return HOLD, f"Held {state.held}"
    if harm:
        return HOLD, f"{harm}; this is look {tally.failures} of the {plan.failure_limit} that are borne"
    if state.step < 0:
        return ADVANCE, f"First step: {plan.steps[0].weight_percent:g} % of units"
    missing = _missing(plan, state, reading, verdict, guarded, tally)
    if not missing:
        return _onward(plan, state, effect, verdict)
    undecided = _UNDECIDED[plan.inconclusive]
    if _days_since(state.resumed_watermark_at or state.started_watermark_at, reading) >= plan.max_data_days:
        return undecided, f"No decision within {plan.max_data_days:g} data days: {missing}"
    if outcome == NEITHER:
        return undecided, f"No decision in {tally.inconclusive} looks: {missing}"
    silent = now - (state.progress_at or state.started_at)
    if not _moved(state, reading) and silent >= timedelta(seconds=plan.max_silence_seconds):
        return undecided, f"No new outcomes for {silent.total_seconds():.0f} s: {missing}"
    return HOLD, missing


def _harm(plan: RolloutPlan, effect: Effect | None, verdict: _Verdict, guarded: Sequence[GuardrailLook]) -> str:
    """Say what harm is shown; empty if none is."""
    if verdict.harmful:
        return f"The challenger is worse: {_in_words(plan, effect, verdict)}"
    for guardrail in guarded:
        if guardrail.broken:
            where = f" where it is {guardrail.slice_name}" if guardrail.slice_name else ""
            return f"The challenger breaks a guardrail: {guardrail.metric}{where} {guardrail.effect:+.5g}"
    return ""


def _onward(plan: RolloutPlan, state: RolloutState, effect: Effect | None, verdict: _Verdict) -> tuple[str, str]:
    if state.step == len(plan.steps) - 1:
        action = PROMOTE if plan.promotes else CONCLUDE
        return action, f"The challenger is shown {_claim(plan)}: {_in_words(plan, effect, verdict)}"
    following = plan.steps[state.step + 1].weight_percent
    why = f"shown {_claim(plan)}" if verdict.shown else "no harm shown"
    return ADVANCE, f"Step {state.step + 1} of {len(plan.steps)} is done, {why}: {following:g} % of units"


def _missing(
    plan: RolloutPlan,
    state: RolloutState,
    reading: Reading,
    verdict: _Verdict,
    guarded: Sequence[GuardrailLook],
    tally: Tally,
) -> str:
    """Say what keeps the rollout from its next step or its promotion; empty if nothing does."""
    step = plan.steps[state.step]
    if reading.watermark_at is None:
        return "No outcome has been read yet"
    days = _days_since(state.step_watermark_at, reading, weight=step.weight_percent)
    if days < step.data_days:
        return f"Step {state.step + 1} has had {max(days, 0.0):.1f} of {step.data_days:g} data days"
    if step.weight_percent < 100:
        if not _measured(reading, step.weight_percent):
            return f"No outcome of the challenger at {step.weight_percent:g} % yet"
        last_split = state.step == len(plan.steps) - 1 or plan.steps[state.step + 1].weight_percent >= 100
        if last_split and not verdict.shown:
            return f"The challenger is not shown {_claim(plan)} yet"
        unproven = [guardrail.metric for guardrail in guarded if not guardrail.held]
        if last_split and unproven:
            return f"Not shown to hold the guardrail yet: {', '.join(unproven)}"
        if last_split and tally.successes_in_a_row < plan.consecutive_successes:
            return f"Shown at {tally.successes_in_a_row} of {plan.consecutive_successes} looks in a row"
    # At 100 % there is no champion to compare with: superiority was shown at the look that sent the traffic there.
    return ""


def _verdict(plan: RolloutPlan, effect: Effect | None) -> _Verdict:
    if effect is None or effect.variance <= 0:
        return _Verdict(False, False, ())
    interval = confidence_sequence(effect, alpha=plan.test_alpha, tau_requests=plan.tau_requests)
    if not all(math.isfinite(bound) for bound in interval):
        return _Verdict(False, False, ())
    if min(effect.champion_units, effect.challenger_units) < plan.min_units:
        return _Verdict(False, False, interval)
    sign = 1.0 if plan.direction == MINIMIZE else -1.0
    if plan.hypothesis == SUPERIORITY:
        low, high = sorted((sign * interval[0], sign * interval[1]))
        return _Verdict(high < 0, low > 0, interval)
    r, bar = effect.weight / plan.tau_requests, -math.log(plan.test_alpha)
    excess = (sign * effect.difference - plan.margin) / math.sqrt(effect.variance)
    return _Verdict(log_e_one_sided(-excess, r) >= bar, log_e_one_sided(excess, r) >= bar, interval)


def _unguarded(plan: RolloutPlan, state: RolloutState, readings: Mapping[str, Reading]) -> str:
    """Say which guardrail cannot be tested, and why; empty if all can."""
    for guardrail in plan.guardrails:
        reading = readings.get(guardrail.reads)
        problem = "it was not read" if reading is None else _impossible(state, reading)
        if problem:
            return f"Guardrail {guardrail.reads}: {problem}"
    return ""


def _sample_ratio(plan: RolloutPlan, reading: Reading) -> SampleRatio:
    shares: dict[str, float] = {}
    strata = {stratum for by_stratum in reading.assigned.values() for stratum in by_stratum}
    for stratum in sorted(strata, key=lambda name: name.partition("/")[::-1]):
        weight = weight_of(stratum)
        if weight is not None and 0 < weight < 100:
            shares[stratum] = weight / 100
    return sample_ratio(
        reading.assigned, shares, champion=CHAMPION, challenger=CHALLENGER, alpha=plan.sample_ratio_alpha
    )


def _impossible(state: RolloutState, reading: Reading) -> str:
    """Say why a reading cannot be true; empty if it can."""
    try:
        effect = effect_of(reading.samples, champion=CHAMPION, challenger=CHALLENGER, unit_squares=reading.unit_squares)
    except ValueError as error:
        return f"The metric's sums cannot be true: {error}"
    except OverflowError as error:
        return f"The metric's sums are too large: {error}"
    if effect is not None and not (math.isfinite(effect.difference) and math.isfinite(effect.variance)):
        return f"The effect is not a finite number: {effect.difference}"
    if state.watermark_at is not None and (reading.watermark_at is None or reading.watermark_at < state.watermark_at):
        return f"The watermark went back from {state.watermark_at} to {reading.watermark_at}"
    return ""


def _in_trouble(plan: RolloutPlan, state: RolloutState, now: datetime, problem: str) -> Decision:
    since = state.trouble_since_at or now
    tally = counted(state.tally, ERROR)
    too_often = assess(tally, plan.limits) == ERROR
    lasting = (now - since).total_seconds() >= plan.max_trouble_seconds or too_often
    action = ROLL_BACK if lasting else HOLD
    reason = f"{problem}, for {(now - since).total_seconds():.0f} s" if lasting else problem
    look = Look(
        number=state.looks + 1,
        at=now,
        watermark_at=None,
        step=state.step,
        weight_percent=state.weight_percent,
        action=action,
        reason=reason,
        data_days=state.data_days,
    )
    return Decision(action=action, reason=reason, statistics=look, trouble=True, tally=tally)


def _measured(reading: Reading, weight: float) -> bool:
    return any(s.variant == CHALLENGER and s.requests > 0 and weight_of(s.stratum) == weight for s in reading.samples)


def _moved(state: RolloutState, reading: Reading) -> bool:
    return reading.watermark_at is not None and reading.watermark_at != state.watermark_at


def _days_since(mark: datetime | None, reading: Reading, *, weight: float | None = None) -> float:
    """Return the data days since a watermark, or since the first traffic of a weight (of any) if that came later.

    Traffic may begin long after the last outcome of the traffic before it; the days between prove nothing.
    """
    if reading.watermark_at is None:
        return 0.0
    begun = mark or reading.watermark_at
    days = [
        day
        for stratum in reading.assigned.get(CHALLENGER, {})
        if (day := day_of(stratum)) is not None and weight in (None, weight_of(stratum))
    ]
    return (reading.watermark_at - max(begun, min(days, default=begun))) / timedelta(days=1)


def _claim(plan: RolloutPlan) -> str:
    return "better" if plan.hypothesis == SUPERIORITY else f"no worse than by {plan.margin:g}"


def _in_words(plan: RolloutPlan, effect: Effect | None, verdict: _Verdict) -> str:
    if effect is None or not verdict.interval:
        return "no effect could be estimated"
    low, high = verdict.interval
    return f"{plan.metric} {effect.difference:+.5g} [{low:+.5g}, {high:+.5g}]"


def _look(
    state: RolloutState,
    reading: Reading,
    now: datetime,
    action: str,
    reason: str,
    effect: Effect | None,
    ratio: SampleRatio,
    verdict: _Verdict,
) -> Look:
    waiting = {CHAMPION: 0, CHALLENGER: 0}
    for sample in reading.samples:
        if sample.variant in waiting:
            waiting[sample.variant] += sample.waiting
    return Look(
        number=state.looks + 1,
        at=now,
        watermark_at=reading.watermark_at,
        step=state.step,
        weight_percent=state.weight_percent,
        action=action,
        reason=reason,
        effect=effect.difference if effect else None,
        variance=effect.variance if effect else None,
        interval=verdict.interval,
        units={CHAMPION: effect.champion_units, CHALLENGER: effect.challenger_units} if effect else None,
        requests={CHAMPION: effect.champion_requests, CHALLENGER: effect.challenger_requests} if effect else None,
        waiting=waiting,
        strata=effect.strata if effect else 0,
        data_days=_days_since(state.started_watermark_at, reading),
        # JSON has no infinity: units in a share of 0, or no split yet.
        sample_ratio_excess=ratio.excess if math.isfinite(ratio.excess) else None,
    )
