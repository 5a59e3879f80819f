"""Stage 7, canary: from a plan, a record and a reading to one of seven actions. Pure, so that every case can be tested.

No data is never success, and what is not a number never passes. Harm ends a rollout at any look; superiority promotes
only when every step had its data days and the last weight is reached.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from airflow_ml.core import rollout_plan
from airflow_ml.core.aliases import CHALLENGER, CHAMPION
from airflow_ml.core.arm_evidence import best_of, in_words, judge_arms
from airflow_ml.core.assessment import ERROR, FAIL, NEITHER, NOTHING_YET, PASS, Tally, assess, counted
from airflow_ml.core.ports import Reading
from airflow_ml.core.rollout_look import ArmLook, Look
from airflow_ml.core.rollout_plan import SAME, SHADOW, SUPERIORITY, RolloutPlan, Step
from airflow_ml.core.rollout_soundness import compared_arms, sample_ratio_of, why_impossible, why_void
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.core.sample_ratio import SampleRatio
from airflow_ml.core.step_progress import days_since, fewest_units, is_measured

ADVANCE, HOLD, PROMOTE, ROLL_BACK, INCONCLUSIVE = "advance", "hold", "promote", "roll_back", "inconclusive"
#: Of several challengers some show harm: they answer nothing any more, and the others go on.
DROP = "stop_challenger"
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
    #: Of several challengers the one that alone goes on; empty while none is chosen.
    chosen: str = ""
    #: Challengers that are stopped by this look, and why.
    stopped: Mapping[str, str] = field(default_factory=dict)
    #: Challengers that show harm, stopped or not, and which.
    harm: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look rests on."""

    #: Without those of dry runs.
    readings: Mapping[str, Reading]
    #: The main one.
    reading: Reading
    arms: tuple[ArmLook, ...]
    #: The one that looks best.
    best: ArmLook


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
    readings = {**(guardrails or {}), **({plan.reads[0]: reading} if reading is not None else {})}
    problem = unreadable or "The metric could not be read" if reading is None else why_impossible(plan, state, readings)
    if reading is None or problem:
        return _in_trouble(plan, state, now, problem)
    counting = {name: one for name, one in readings.items() if name not in plan.dry_reads}
    try:
        arms = judge_arms(
            plan,
            readings,
            arms=compared_arms(state),
            kind=state.kind,
            chosen=state.chosen,
            data_days=days_since(state.started_watermark_at, reading, counting),
        )
    except (ValueError, OverflowError) as error:
        return _in_trouble(plan, state, now, f"The metric's sums cannot be true: {error}")
    seen = _Seen(counting, reading, arms, best_of(arms, direction=plan.direction) or arms[0])
    ratio = sample_ratio_of(plan, state, reading)
    harmful = all(arm.harm for arm in arms)
    phase = FAIL if harmful else PASS if any(arm.ready for arm in arms) else NEITHER
    tally = counted(state.tally, phase, new=_moved(state, reading))
    action, reason, chosen = _action(plan, state, seen, now, ratio, harmful, tally)
    look = _look(plan, state, seen, now, action, reason, ratio)
    # Of the champion against itself nothing follows for a challenger.
    harm = {arm.arm: arm.harm for arm in arms if arm.harm and state.kind != SAME}
    stopped = harm if action == DROP else {}
    return Decision(
        action=action, reason=reason, statistics=look, tally=tally, chosen=chosen, stopped=stopped, harm=harm
    )


def _action(
    plan: RolloutPlan,
    state: RolloutState,
    seen: _Seen,
    now: datetime,
    ratio: SampleRatio,
    harmful: bool,
    tally: Tally,
) -> tuple[str, str, str]:
    """Return what to do, why, and which challenger is chosen by it, if one is."""
    if void := why_void(plan, seen.reading, ratio):
        return ROLL_BACK, void, ""
    outcome = assess(tally, plan.limits)
    harm = "; ".join(_of_arm(plan, state, arm, arm.harm) for arm in seen.arms if arm.harm)
    if harmful and (outcome == FAIL or state.kind == SAME):
        found = not plan.promotes and all(
            arm.worse and not any(g.broken and g.decides for g in arm.guardrails) for arm in seen.arms
        )
        return (CONCLUDE if found else ROLL_BACK), harm, ""
    if harm and not harmful:
        return DROP, f"Stopped: {harm}", ""
    if state.held:
        return HOLD, f"Held {state.held}", ""
    if harm:
        return HOLD, f"{harm}; this is look {tally.failures} of the {plan.failure_limit} that are borne", ""
    if state.step < 0:
        return ADVANCE, f"First step: {in_step(plan.steps[0])}", ""
    missing = _missing(plan, state, seen, tally)
    if not missing:
        return _onward(plan, state, seen)
    undecided = _UNDECIDED[plan.inconclusive]
    since = state.resumed_watermark_at or state.started_watermark_at
    if days_since(since, seen.reading, seen.readings) >= plan.max_data_days:
        shown = [arm for arm in seen.arms if arm.ready]
        if shown and not plan.promotes and state.step == len(plan.steps) - 1:
            return CONCLUDE, f"{_shown(plan, state, seen)}; the others are undecided", ""
        return undecided, f"No decision within {plan.max_data_days:g} data days: {missing}", ""
    if outcome == NEITHER:
        return undecided, f"No decision in {tally.inconclusive} looks: {missing}", ""
    silent = now - (state.progress_at or state.started_at)
    if not _moved(state, seen.reading) and silent >= timedelta(seconds=plan.max_silence_seconds):
        return undecided, f"No new outcomes for {silent.total_seconds():.0f} s: {missing}", ""
    return HOLD, missing, ""


def _onward(plan: RolloutPlan, state: RolloutState, seen: _Seen) -> tuple[str, str, str]:
    """Take the next step, or end; after the last test one challenger alone goes on."""
    chosen = ""
    if state.step == plan.last_test and plan.promotes and plan.challengers > 1:
        best = best_of([arm for arm in seen.arms if arm.ready], direction=plan.direction)
        chosen = best.arm if best is not None else ""
    if state.step == len(plan.steps) - 1:
        return (PROMOTE if plan.promotes else CONCLUDE), _shown(plan, state, seen), chosen
    following = plan.steps[state.step + 1]
    why = f"shown {_claim(plan)}" if any(arm.shown for arm in seen.arms) else "no harm shown"
    if state.kind == SAME:
        why = "the champion does not differ from itself"
    if chosen:
        why = f"{chosen} (version {state.challengers[chosen].get('version')}) is the best that is {why}"
    return ADVANCE, f"Step {state.step + 1} of {len(plan.steps)} is done, {why}: {in_step(following)}", chosen


def _shown(plan: RolloutPlan, state: RolloutState, seen: _Seen) -> str:
    shown = [arm for arm in seen.arms if arm.ready] or [seen.best]
    if plan.challengers == 1:
        return f"The challenger is shown {_claim(plan)}: {in_words(plan, shown[0])}"
    each = "; ".join(_of_arm(plan, state, arm, in_words(plan, arm)) for arm in shown)
    return f"Shown {_claim(plan)}: {each}"


def _of_arm(plan: RolloutPlan, state: RolloutState, arm: ArmLook, what: str) -> str:
    """Say of which arm something is said, where there are several."""
    if plan.challengers == 1:
        return what
    return f"{arm.arm} (version {state.challengers[arm.arm].get('version')}): {what}"


def _missing(plan: RolloutPlan, state: RolloutState, seen: _Seen, tally: Tally) -> str:
    """Say what keeps the rollout from its next step or its promotion; empty if nothing does."""
    step, reading = plan.steps[state.step], seen.reading
    if reading.watermark_at is None:
        return "No outcome has been read yet"
    days = days_since(state.step_watermark_at, reading, seen.readings, step=step)
    if days < step.data_days:
        return f"Step {state.step + 1} has had {max(days, 0.0):.1f} of {step.data_days:g} data days"
    if step.kind == SAME and min((seen.best.units or {}).values(), default=0) < plan.min_units:
        return f"Fewer than {plan.min_units} units with an outcome in a half of the champion's traffic"
    if (step.divides or step.kind == SHADOW) and not is_measured(seen.readings, step):
        return f"No outcome of the challenger {at_step(step)} yet"
    units = fewest_units(seen.readings, plan.metric, [arm.arm for arm in seen.arms], step) if step.min_units else 0
    if units < step.min_units:
        return f"Step {state.step + 1} has had {units} of {step.min_units} units of each arm"
    # Behind the last test no difference must be shown again: a ramp is there to meet harm.
    if unshown := _unshown(plan, seen, plan.deciding if state.step == plan.last_test else step.metrics):
        return unshown
    if state.step == plan.last_test and tally.successes_in_a_row < plan.consecutive_successes:
        return f"Shown at {tally.successes_in_a_row} of {plan.consecutive_successes} looks in a row"
    return ""


def _unshown(plan: RolloutPlan, seen: _Seen, wanted: Sequence[str]) -> str:
    """Say what of the metrics that a step waits for is not shown yet; empty where all is, of any arm that promotes."""
    names = {guardrail.name: guardrail.reads for guardrail in plan.guardrails}

    def lacks(arm: ArmLook) -> list[str]:
        rails = [one.metric for one in arm.guardrails if one.decides and not one.held and names[one.metric] in wanted]
        return [*([plan.metric] if plan.metric in wanted and not arm.shown else []), *rails]

    open_arms = [arm for arm in seen.arms if lacks(arm)]
    if not open_arms or (len(open_arms) < len(seen.arms) and plan.promotes):
        return ""
    first = best_of(open_arms, direction=plan.direction) or open_arms[0]
    if plan.metric in wanted and not first.shown:
        return f"{'The challenger' if plan.challengers == 1 else first.arm} is not shown {_claim(plan)} yet"
    return f"Not shown to hold the guardrail yet: {', '.join(lacks(first))}"


def in_step(step: Step) -> str:
    """Return in words what a step does."""
    if step.kind == SHADOW:
        return "every request is scored in shadow"
    if step.kind == SAME:
        return f"the champion against itself, {step.weight_percent:g} % of units"
    return f"{step.weight_percent:g} % of units"


def at_step(step: Step) -> str:
    """Return in words at which step something is."""
    return "in shadow" if step.kind == SHADOW else f"at {step.weight_percent:g} %"


def _in_trouble(plan: RolloutPlan, state: RolloutState, now: datetime, problem: str) -> Decision:
    since = state.trouble_since_at or now
    tally = counted(state.tally, ERROR)
    too_often = assess(tally, plan.limits) == ERROR
    lasting = (now - since).total_seconds() >= plan.max_trouble_seconds or too_often
    action = ROLL_BACK if lasting else HOLD
    reason = f"{problem}, for {(now - since).total_seconds():.0f} s" if lasting else problem
    look = blind_look(state, now, action, reason)
    return Decision(action=action, reason=reason, statistics=look, trouble=True, tally=tally)


def blind_look(state: RolloutState, now: datetime, action: str, reason: str) -> Look:
    """Return the look of a moment at which nothing could be measured, or nothing done about it."""
    return Look(
        number=state.looks + 1,
        at=now,
        watermark_at=None,
        step=state.step,
        weight_percent=state.weight_percent,
        action=action,
        reason=reason,
        data_days=state.data_days,
    )


def _moved(state: RolloutState, reading: Reading) -> bool:
    return reading.watermark_at is not None and reading.watermark_at != state.watermark_at


def _claim(plan: RolloutPlan) -> str:
    return "better" if plan.hypothesis == SUPERIORITY else f"no worse than by {plan.margin:g}"


def _look(
    plan: RolloutPlan,
    state: RolloutState,
    seen: _Seen,
    now: datetime,
    action: str,
    reason: str,
    ratio: SampleRatio,
) -> Look:
    best, waiting = seen.best, {CHAMPION: 0, CHALLENGER: 0}
    for sample in seen.reading.samples:
        if not sample.slice_name:
            waiting[CHAMPION if sample.variant == CHAMPION else CHALLENGER] += sample.waiting
    return Look(
        number=state.looks + 1,
        at=now,
        watermark_at=seen.reading.watermark_at,
        step=state.step,
        weight_percent=state.weight_percent,
        action=action,
        reason=reason,
        effect=best.effect,
        variance=best.variance,
        interval=best.interval,
        units=best.units,
        requests=best.requests,
        waiting=waiting,
        strata=best.strata,
        data_days=days_since(state.started_watermark_at, seen.reading, seen.readings),
        # JSON has no infinity: units in a share of 0, or no split yet.
        sample_ratio_excess=ratio.excess if math.isfinite(ratio.excess) else None,
        crossed=seen.reading.crossed,
        guardrails=best.guardrails,
        kind=state.kind,
        arms=seen.arms if plan.challengers > 1 and state.kind != SAME else (),
    )
