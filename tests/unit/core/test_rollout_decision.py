from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.core.guardrail import Guardrail
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.record import parse
from airflow_ml.core.rollout_change import created
from airflow_ml.core.rollout_decision import ADVANCE, HOLD, INCONCLUSIVE, PROMOTE, ROLL_BACK, Decision, decide
from airflow_ml.core.rollout_plan import RolloutPlan
from airflow_ml.core.rollout_state import RUNNING, RolloutState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY0 = datetime(2013, 5, 1, tzinfo=UTC)
PLAN = parse_plan([(5, "2d"), (25, "2d"), (50, "2d"), 100])


def at_step(step: int, *, plan: RolloutPlan = PLAN, **changes: Any) -> RolloutState:
    """A running rollout that entered a step at DAY0."""
    state = created(
        None,
        plan=plan,
        model="m",
        namespace="prod",
        champion={"version": "1"},
        challenger={"version": "2"},
        owner="d/r/t",
        now=NOW,
        lease_seconds=180,
    )
    weight = plan.steps[step].weight_percent if step >= 0 else 0.0
    fields: dict[str, Any] = {
        "state": RUNNING,
        "step": step,
        "weight_percent": weight,
        "confirmed": True,
        "started_watermark_at": DAY0,
        "step_watermark_at": DAY0,
        "watermark_at": DAY0,
        "progress_at": NOW,
    }
    return replace(state, **{**fields, **changes})


def arm(variant: str, stratum: str, mean: float, *, units: int = 400, spread: float = 0.2, **changes: Any) -> Sample:
    """One request a unit, half of them at mean - spread and half at mean + spread."""
    fields: dict[str, Any] = {
        "variant": variant,
        "stratum": stratum,
        "units": units,
        "requests": units,
        "sum_x": units * mean,
        "sum_xx": units * (mean * mean + spread * spread),
        "sum_nn": float(units),
        "sum_xn": units * mean,
    }
    return Sample(**{**fields, **changes})


def reading(*samples: Sample, days: float = 2.0, assigned: dict[str, dict[str, int]] | None = None) -> Reading:
    counted: dict[str, dict[str, int]] = {}
    for sample in samples:
        counted.setdefault(sample.variant, {})[sample.stratum] = sample.units
    return Reading(
        samples=samples,
        watermark_at=DAY0 + timedelta(days=days),
        assigned=counted if assigned is None else assigned,
    )


def pair(weight: float, champion: float, challenger: float, *, units: int = 2000, **changes: Any) -> tuple[Sample, ...]:
    stratum = f"{weight:g}/2013-05-01"
    small = round(units * weight / 100)
    return (
        arm("champion", stratum, champion, units=units - small, **changes),
        arm("challenger", stratum, challenger, units=small, **changes),
    )


def action(state: RolloutState, read: Reading | None, now: datetime = NOW) -> tuple[str, str]:
    decision = decide(state.plan, state, read, now)
    assert decision.statistics.action == decision.action
    return decision.action, decision.reason


def test_the_first_look_begins_the_first_step() -> None:
    state = at_step(-1, started_watermark_at=None, step_watermark_at=None)
    assert action(state, reading()) == (ADVANCE, "First step: 5 % of units")


def test_a_step_is_left_after_its_data_days_without_harm() -> None:
    same = pair(5, 0.2, 0.2)
    assert action(at_step(0), reading(*same, days=1.9))[0] == HOLD
    found = action(at_step(0), reading(*same, days=2.0))
    assert found == (ADVANCE, "Step 1 of 4 is done, no harm shown: 25 % of units")


def test_early_superiority_does_not_shorten_a_step() -> None:
    assert action(at_step(0), reading(*pair(5, 0.3, 0.1), days=1.0)) == (HOLD, "Step 1 has had 1.0 of 2 data days")


def test_all_traffic_needs_superiority() -> None:
    assert action(at_step(2), reading(*pair(50, 0.2, 0.2), days=9)) == (HOLD, "The challenger is not shown better yet")
    found = action(at_step(2), reading(*pair(50, 0.2, 0.15)))
    assert found == (ADVANCE, "Step 3 of 4 is done, shown better: 100 % of units")


def test_promotion_at_the_last_weight() -> None:
    what, why = action(at_step(3), reading(*pair(50, 0.2, 0.15)))
    assert what == PROMOTE
    assert why.startswith("The challenger is shown better: brier -0.05 [")


def test_a_plan_that_ends_below_100_percent_promotes_from_its_last_step() -> None:
    plan = parse_plan([(10, "1d")])
    assert action(at_step(0, plan=plan), reading(*pair(10, 0.2, 0.1)))[0] == PROMOTE
    assert action(at_step(0, plan=plan), reading(*pair(10, 0.2, 0.2)))[0] == HOLD


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_harm_ends_it_at_any_step_at_once(step: int) -> None:
    what, why = action(at_step(step), reading(*pair(25, 0.1, 0.3), days=0.1))
    assert what == ROLL_BACK
    assert why.startswith("The challenger is worse: brier +0.2")


def test_maximize_turns_better_and_worse_round() -> None:
    plan = replace(PLAN, direction="maximize")
    assert action(at_step(1, plan=plan), reading(*pair(25, 0.3, 0.1), days=0.1))[0] == ROLL_BACK
    assert action(at_step(3, plan=plan), reading(*pair(50, 0.1, 0.3)))[0] == PROMOTE


def test_non_inferiority_accepts_what_lies_within_the_margin() -> None:
    plan = replace(PLAN, hypothesis="non_inferiority", margin=0.05)
    assert action(at_step(3, plan=plan), reading(*pair(50, 0.20, 0.21)))[0] == PROMOTE
    assert action(at_step(2, plan=plan), reading(*pair(50, 0.20, 0.25), days=1))[0] == HOLD
    assert action(at_step(2, plan=plan), reading(*pair(50, 0.20, 0.35), days=1))[0] == ROLL_BACK


def test_too_few_units_decide_nothing() -> None:
    assert action(at_step(1), reading(*pair(25, 0.1, 0.9, units=200), days=1))[0] == HOLD
    assert action(at_step(2), reading(*pair(50, 0.9, 0.1, units=150), days=3))[0] == HOLD


def test_a_broken_split_is_invalid_not_worse() -> None:
    stratum = "25/2013-05-01"
    read = reading(arm("champion", stratum, 0.3, units=1900), arm("challenger", stratum, 0.1, units=100))
    what, why = action(at_step(1), read)
    assert what == ROLL_BACK
    assert why.startswith("invalid: the split of units in stratum 25/2013-05-01")


@pytest.mark.parametrize(
    ("crossed", "what"), [((), HOLD), ((9, 90), HOLD), ((10, 1001), HOLD), ((10, 1000), ROLL_BACK)]
)
def test_units_that_change_arms_at_one_weight_make_it_invalid(crossed: tuple[int, ...], what: str) -> None:
    found = decide(PLAN, at_step(1), replace(reading(*pair(25, 0.3, 0.3), days=1), crossed=crossed), NOW)
    assert found.action == what
    assert found.statistics.crossed == crossed
    if what == ROLL_BACK:
        assert found.reason.startswith("invalid: 10 of 1000 units were answered by two arms at one weight")


def test_one_arm_that_gets_everything_is_invalid() -> None:
    assert action(at_step(2), reading(arm("challenger", "50/2013-05-01", 0.1)))[0] == ROLL_BACK


def test_a_constant_metric_that_is_worse_is_harm() -> None:
    """Every request of the challenger fails, and none of the champion."""
    assert action(at_step(0), reading(*pair(5, 0.0, 1.0, spread=0.0), days=20))[0] == ROLL_BACK


def test_a_constant_metric_is_never_shown_better() -> None:
    assert action(at_step(2), reading(*pair(50, 0.5, 0.1, spread=0.0), days=20))[0] == HOLD
    assert action(at_step(2), reading(*pair(50, 0.5, 0.1, spread=0.0), days=21))[0] == INCONCLUSIVE


def test_no_decision_in_time_is_inconclusive() -> None:
    what, why = action(at_step(2), reading(*pair(50, 0.2, 0.2), days=21))
    assert (what, why) == (INCONCLUSIVE, "No decision within 21 data days: The challenger is not shown better yet")


def test_data_days_go_by_the_data_clock_alone() -> None:
    late = NOW + timedelta(days=1)
    assert action(at_step(0), reading(*pair(5, 0.2, 0.2), days=0.5), late)[0] == HOLD


def test_days_before_the_first_traffic_do_not_count() -> None:
    """The watermark stood still for a month; then traffic and outcomes came back."""
    later = [replace(sample, stratum="5/2013-06-01") for sample in pair(5, 0.2, 0.2)]
    state = at_step(0)
    decision = decide(PLAN, state, reading(*later, days=32), NOW)
    assert decision.reason == "Step 1 has had 1.0 of 2 data days"
    assert decision.statistics.data_days == 1.0
    assert action(state, reading(*later, days=33))[0] == ADVANCE


def test_a_step_without_an_outcome_of_its_challenger_is_not_left() -> None:
    champion_only = arm("champion", "5/2013-05-01", 0.2, units=40)
    assert action(at_step(0), reading(champion_only, days=5))[0] == HOLD
    earlier = pair(5, 0.2, 0.2)
    assert action(at_step(1), reading(*earlier, days=5)) == (HOLD, "No outcome of the challenger at 25 % yet")


def test_silence_is_inconclusive_by_the_wall_clock() -> None:
    silent = replace(reading(), watermark_at=DAY0)
    assert action(at_step(0), silent, NOW + timedelta(hours=47))[0] == HOLD
    what, why = action(at_step(0), silent, NOW + timedelta(hours=48))
    assert what == INCONCLUSIVE
    assert why.startswith("No new outcomes for 172800 s")
    never = at_step(0, watermark_at=None, started_watermark_at=None, step_watermark_at=None, progress_at=None)
    assert action(never, replace(reading(), watermark_at=None), NOW + timedelta(days=3))[0] == INCONCLUSIVE


def test_a_metric_out_of_reach_holds_and_then_rolls_back() -> None:
    assert action(at_step(1), None) == (HOLD, "The metric could not be read")
    troubled = at_step(1, trouble_since_at=NOW)
    assert action(troubled, None, NOW + timedelta(seconds=299))[0] == HOLD
    assert action(troubled, None, NOW + timedelta(seconds=300))[0] == ROLL_BACK


@pytest.mark.parametrize("field", ["sum_x", "sum_xx", "sum_nn", "sum_xn"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308])
def test_what_is_not_a_number_never_passes(field: str, value: float) -> None:
    better = pair(50, 0.3, 0.1)
    broken = replace(better[1], **{field: value})
    for step in (0, 2, 3):
        decision = decide(PLAN, at_step(step), reading(better[0], broken, days=30), NOW)
        assert decision.action not in (PROMOTE, ADVANCE)


def test_a_watermark_that_goes_back_is_trouble() -> None:
    decision = decide(PLAN, at_step(3), reading(*pair(50, 0.3, 0.1), days=-1), NOW)
    assert decision.trouble
    assert decision.action == HOLD


samples = st.builds(
    lambda variant, weight, day, units, mean, spread, per: arm(
        variant,
        f"{weight}/2013-05-{day:02}",
        mean,
        units=units,
        spread=spread,
        requests=units * per,
        sum_nn=float(units * per * per),
        sum_xn=units * per * mean,
    ),
    st.sampled_from(["champion", "challenger", "other"]),
    st.sampled_from(["5", "25", "50", "100", "odd"]),
    st.integers(1, 9),
    st.integers(0, 5000),
    st.floats(-1e6, 1e6),
    st.floats(0, 1e6),
    st.integers(1, 5),
)
readings = st.none() | st.builds(
    lambda found, days, assigned: reading(*found, days=days, assigned=assigned),
    st.lists(samples, max_size=12),
    st.floats(-1, 40),
    st.none() | st.just({}),
)


@settings(max_examples=300, deadline=None)
@given(readings, st.integers(-1, 3), st.integers(0, 10**6))
def test_any_reading_gives_one_action_and_promotion_has_all_its_reasons(
    read: Reading | None, step: int, seconds: int
) -> None:
    state = at_step(step, trouble_since_at=NOW if seconds % 2 else None)
    decision: Decision = decide(PLAN, state, read, NOW + timedelta(seconds=seconds))
    assert decision.action in (ADVANCE, HOLD, PROMOTE, ROLL_BACK, INCONCLUSIVE)
    assert decision.reason
    look = decision.statistics
    following = PLAN.steps[step + 1].weight_percent if step + 1 < len(PLAN.steps) else None
    if decision.action == PROMOTE:
        assert step == len(PLAN.steps) - 1
    if decision.action == PROMOTE or (decision.action == ADVANCE and following == 100):
        assert read is not None
        assert not decision.trouble
    if decision.action == ADVANCE and following == 100:
        assert look.interval[1] < 0
        assert look.units is not None
        assert min(look.units.values()) >= PLAN.min_units
    if read is None:
        assert decision.action in (HOLD, ROLL_BACK)
    # The record can be written: no NaN, no infinity.
    assert parse(replace(state, last_look=look).to_dict()) == replace(state, last_look=look)


GUARDED = parse_plan(
    [{"weight_percent": 5, "data_days": 2, "metrics": ["brier"]}, (25, "2d"), (50, "2d"), 100],
    guardrails=[{"metric": "brier", "limit": 0.5}],
)
DRY = replace(GUARDED, guardrails=(*GUARDED.guardrails, Guardrail(metric="mae", decides=False)))


@settings(max_examples=150, deadline=None)
@given(readings, readings, st.integers(-1, 3))
def test_whatever_a_dry_run_reads_the_decision_is_the_same(
    main: Reading | None, dry: Reading | None, step: int
) -> None:
    with_it = decide(DRY, at_step(step, plan=DRY), main, NOW, guardrails={} if dry is None else {"mae": dry})
    without = decide(GUARDED, at_step(step, plan=GUARDED), main, NOW)
    assert (with_it.action, with_it.reason, with_it.tally) == (without.action, without.reason, without.tally)
    look = with_it.statistics
    assert parse(replace(at_step(step, plan=DRY), last_look=look).to_dict())


@settings(max_examples=150, deadline=None)
@given(readings, st.integers(0, 2))
def test_a_step_that_waits_for_metrics_is_left_only_when_they_are_shown(read: Reading | None, step: int) -> None:
    found = decide(GUARDED, at_step(step, plan=GUARDED), read, NOW)
    plain = decide(replace(GUARDED, steps=PLAN.steps), at_step(step, plan=GUARDED), read, NOW)
    if found.action == ADVANCE:
        assert plain.action == ADVANCE, "what is named only adds to what is waited for"
        assert step or found.statistics.interval[1] < 0
    if found.action == ADVANCE and step == 2:
        (rail,) = found.statistics.guardrails
        assert rail.level is not None
        assert rail.level < 0.5
    if plain.action == ROLL_BACK:
        assert found.action == ROLL_BACK
