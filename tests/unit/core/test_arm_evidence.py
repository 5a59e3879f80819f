"""Several challengers, pairs and A/A: what is shown of each, and how often it is shown wrongly."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from airflow_ml.core.arm_evidence import best_of, judge_arms
from airflow_ml.core.arms import arm_names, paired_name
from airflow_ml.core.mixture import confidence_sequence
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.rollout_look import ArmLook
from airflow_ml.core.rollout_plan import RolloutPlan
from airflow_ml.core.statistics import as_requests, design_effect, effect_of

AT = datetime(2013, 5, 20, tzinfo=UTC)
NAMES = arm_names(4)


def arm(variant: str, mean: float, units: int = 2000, stratum: str = "20/2013-05-01", **changes: Any) -> Sample:
    fields: dict[str, Any] = {
        "variant": variant,
        "stratum": stratum,
        "units": units,
        "requests": units,
        "sum_x": units * mean,
        "sum_xx": units * (mean * mean + 0.04),
        "sum_nn": float(units),
        "sum_xn": units * mean,
    }
    return Sample(**{**fields, **changes})


def reading(*samples: Sample) -> Reading:
    return Reading(samples=samples, watermark_at=AT, assigned={})


def plan(**changes: Any) -> RolloutPlan:
    return parse_plan([*changes.pop("steps", (20,)), 100], **{"challengers": 4, **changes})


SAMPLES = [arm("champion", 0.2), *(arm(n, m) for n, m in zip(NAMES, (0.16, 0.15, 0.27, 0.2001), strict=True))]


def judged(
    plan: RolloutPlan, *samples: Sample, arms: tuple[str, ...] = NAMES, kind: str = "split"
) -> tuple[ArmLook, ...]:
    return judge_arms(plan, {plan.reads[0]: reading(*samples)}, arms=arms, kind=kind)


def test_each_arm_is_tested_and_the_best_of_those_shown_is_found() -> None:
    found = judged(plan(), *SAMPLES)
    assert [(one.ready, one.worse, bool(one.harm)) for one in found] == [
        (True, False, False),
        (True, False, False),
        (False, True, True),
        (False, False, False),
    ]
    best = best_of([one for one in found if one.ready], direction="minimize")
    assert best is not None
    assert best.arm == "challenger-2"
    other = best_of(found, direction="maximize")
    assert other is not None
    assert other.arm == "challenger-3"


def test_one_challenger_is_the_ordinary_test() -> None:
    alone = plan(challengers=1)
    (one,) = judged(alone, *SAMPLES, arms=("challenger",))
    effect = effect_of(SAMPLES, champion="champion", challenger="challenger")
    assert effect is not None
    assert one.interval == confidence_sequence(effect, alpha=0.05, tau_requests=100.0)


def test_a_stopped_challenger_stays_in_the_correction() -> None:
    border = [arm("champion", 0.2), arm("challenger", 0.2 - 0.0268), arm("challenger-2", 0.2)]
    assert judged(plan(challengers=1), *border, arms=("challenger",))[0].shown
    both = judged(plan(challengers=2), *border, arms=("challenger", "challenger-2"))
    alone = judged(plan(challengers=2), *border, arms=("challenger",))
    assert both[0].shown == alone[0].shown
    assert both[0].interval == alone[0].interval


def test_few_units_or_none_show_nothing() -> None:
    few = judged(plan(), arm("champion", 0.2, 90), arm("challenger", 0.0, 90))
    assert not any(one.shown or one.harm for one in few)
    assert few[1].effect is None


def test_non_inferiority_divides_its_alpha_evenly() -> None:
    asked = plan(hypothesis="non_inferiority", margin=0.03)
    found = judged(asked, *SAMPLES)
    assert [one.ready for one in found] == [True, True, False, True]
    assert [one.worse for one in found] == [False, False, True, False]


def test_the_champion_against_itself_shows_a_fault_and_never_success() -> None:
    asked = plan(steps=("aa", 20), challengers=1)
    (alike,) = judged(asked, arm("champion", 0.2), arm("challenger", 0.2001), arms=("challenger",), kind="aa")
    (unlike,) = judged(asked, arm("champion", 0.2), arm("challenger", 0.1), arms=("challenger",), kind="aa")
    assert (alike.ready, alike.harm) == (False, "")
    assert not unlike.ready
    assert unlike.harm.startswith("invalid: the champion differs from itself")
    # With a margin, "no worse than by it" is true of itself and no fault.
    margin = plan(steps=("aa", 20), challengers=1, hypothesis="non_inferiority", margin=0.05)
    (same,) = judged(margin, arm("champion", 0.2), arm("challenger", 0.2), arms=("challenger",), kind="aa")
    assert not same.harm


def pairs(
    difference: float, days: int, *, name: str = "challenger", spread: float = 0.01, seed: int = 1
) -> list[Sample]:
    noise = np.random.default_rng(seed).normal(0, spread, days)
    return [
        arm(paired_name(name), difference + float(noise[day]), 500, f"shadow/2013-05-{day + 1:02}")
        for day in range(days)
    ]


def test_pairs_decide_by_days() -> None:
    asked = parse_plan([("shadow", "7d"), 100], design="paired_shadow")
    (short,) = judged(asked, *pairs(-0.05, 2), arms=("challenger",), kind="shadow")
    (shown,) = judged(asked, *pairs(-0.05, 10), arms=("challenger",), kind="shadow")
    (worse,) = judged(asked, *pairs(0.05, 10), arms=("challenger",), kind="shadow")
    (neither,) = judged(asked, *pairs(0.0, 10), arms=("challenger",), kind="shadow")
    assert [(one.ready, one.worse) for one in (short, shown, worse, neither)] == [
        (False, False),
        (True, False),
        (False, True),
        (False, False),
    ]
    assert shown.days == 10
    assert shown.interval[1] < 0


def test_days_seen_under_two_epochs_are_one_day() -> None:
    asked = parse_plan([("shadow", "7d"), 100], design="paired_shadow")
    twice = [replace(one, stratum=f"{one.stratum}/7") for one in pairs(-0.05, 10)]
    (shown,) = judged(asked, *pairs(-0.05, 10), *twice, arms=("challenger",), kind="shadow")
    assert shown.days == 10


def test_a_shadow_before_a_split_shows_harm_and_proves_nothing() -> None:
    asked = parse_plan([("shadow", "7d"), 20, 100])
    both = {"brier": reading(), "brier paired": reading(*pairs(-0.05, 10))}
    (good,) = judge_arms(asked, both, arms=("challenger",), kind="shadow")
    assert not good.shown
    assert good.effect == pytest.approx(-0.05, abs=0.01)
    both["brier paired"] = reading(*pairs(0.05, 10))
    (bad,) = judge_arms(asked, both, arms=("challenger",), kind="split")
    assert bad.worse


def test_guardrails_hold_by_pairs_too() -> None:
    asked = parse_plan([("shadow", "7d"), 100], design="paired_shadow", guardrails=[("mae", 0.02)])
    readings = {"brier paired": reading(*pairs(-0.05, 12))}
    for difference, held, broken in ((0.0, True, False), (0.06, False, True), (0.02, False, False)):
        readings["mae paired"] = reading(*pairs(difference, 12))
        (one,) = judge_arms(asked, readings, arms=("challenger",), kind="shadow")
        assert [(g.held, g.broken) for g in one.guardrails] == [(held, broken)]
        assert one.ready == held
        assert bool(one.harm) == broken


def test_requests_of_one_unit_have_a_design_effect_and_can_be_taken_as_independent() -> None:
    rng = np.random.default_rng(5)
    level = np.repeat(rng.normal(0, 1, 500), 4)  # four alike requests a unit
    x = level + rng.normal(0, 0.5, 2000)
    sums = x.reshape(500, 4).sum(axis=1)
    clustered = Sample(
        variant="champion",
        stratum="20/2013-05-01",
        units=500,
        requests=2000,
        sum_x=float(sums.sum()),
        sum_xx=float((sums**2).sum()),
        sum_nn=500 * 16.0,
        sum_xn=float(4 * sums.sum()),
        sum_squares=float((x**2).sum()),
    )
    # 1 + (m - 1) rho with m = 4 and rho = 1 / 1.25.
    assert design_effect([clustered]) == pytest.approx(1 + 3 * 0.8, rel=0.1)
    assert design_effect(as_requests([clustered])) == pytest.approx(1.0, abs=1e-9)
    assert design_effect([replace(clustered, sum_squares=None)]) is None
    with pytest.raises(ValueError, match="no sum of squares"):
        as_requests([replace(clustered, sum_squares=None)])


def test_four_equal_arms_are_rarely_called_different_however_often_one_looks() -> None:
    rng = np.random.default_rng(7)
    runs, wrong, asked = 100, 0, plan()
    names = ["champion", *NAMES]
    for _ in range(runs):
        sums = {name: np.zeros(3) for name in names}
        for _ in range(25):
            for name in names:
                x = rng.normal(0.3, 1, 50)
                sums[name] += (50, x.sum(), (x * x).sum())
            samples = [
                arm(name, 0, int(n), sum_x=float(x), sum_xx=float(xx), sum_xn=float(x))
                for name, (n, x, xx) in sums.items()
            ]
            if any(one.shown or one.worse for one in judged(asked, *samples)):
                wrong += 1
                break
    assert wrong / runs <= 0.05
