"""The forecast against raw requests, against the sample size in statistics.py, and against simulated rollouts."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.mixture import requests_needed, two_sided_boundary
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.rollout_forecast import Forecast, ObservedTraffic, alike, forecast, observe, planned
from airflow_ml.core.rollout_plan import RolloutPlan

Rows = list[tuple[str, float]]


def sample(rows: Rows, stratum: str, variant: str = "champion") -> Sample:
    x: dict[str, float] = defaultdict(float)
    n: dict[str, int] = defaultdict(int)
    for unit, value in rows:
        x[unit] += value
        n[unit] += 1
    return Sample(
        variant=variant,
        stratum=stratum,
        units=len(n),
        requests=len(rows),
        sum_x=sum(x.values()),
        sum_xx=sum(value**2 for value in x.values()),
        sum_nn=float(sum(value**2 for value in n.values())),
        sum_xn=sum(x[unit] * n[unit] for unit in n),
        sum_squares=sum(value**2 for _, value in rows),
    )


def reading(*days: Rows, watermark: datetime) -> Reading:
    samples = tuple(sample(rows, f"0/2013-05-{number:02}") for number, rows in enumerate(days, 1))
    return Reading(
        samples=samples,
        watermark_at=watermark,
        assigned={"champion": {one.stratum: one.units for one in samples}},
    )


def rows(draw: random.Random, units: int, each: int, alike: float) -> Rows:
    found = []
    for unit in range(units):
        own = draw.gauss(0, 1)
        for _ in range(each):
            found.append((f"u{unit}", math.sqrt(alike) * own + math.sqrt(1 - alike) * draw.gauss(0, 1)))
    return found


def test_only_whole_days_after_the_first_are_counted() -> None:
    draw = random.Random(1)
    days = [rows(draw, units, 2, 0.0) for units in (7, 300, 500, 11)]
    found = observe(reading(*days, watermark=datetime(2013, 5, 4, 12, tzinfo=UTC)))
    assert found is not None
    assert (found.days, found.units_per_day, found.requests_per_day) == (2, 400, 800)
    assert found.sigma == pytest.approx(1, abs=0.1)


def test_without_a_whole_day_nothing_is_known() -> None:
    day = rows(random.Random(1), 100, 2, 0.0)
    assert observe(reading(day, day, watermark=datetime(2013, 5, 2, 23, tzinfo=UTC))) is None
    assert observe(Reading(samples=(), watermark_at=None, assigned={})) is None


@pytest.mark.parametrize(("alike", "expected"), [(0.0, 1.0), (0.5, 2.5), (1.0, 4.0)])
def test_the_design_effect_is_that_of_units_whose_requests_are_alike(alike: float, expected: float) -> None:
    """Kish: 1 + (m - 1) rho, for units of m = 4 requests."""
    draw = random.Random(2)
    days = [rows(draw, 2000, 4, alike) for _ in range(3)]
    found = observe(reading(*days, watermark=datetime(2013, 5, 9, tzinfo=UTC)))
    assert found is not None
    assert found.design_effect == pytest.approx(expected, rel=0.08)
    assert found.sigma**2 == pytest.approx(expected, rel=0.08)


def traffic(requests: float = 1000.0, units: float = 1000.0, sigma: float = 0.3) -> ObservedTraffic:
    return ObservedTraffic(days=5, units_per_day=units, requests_per_day=requests, sigma=sigma, design_effect=1.0)


def half(**changes: Any) -> RolloutPlan:
    return parse_plan([(50, "1d"), 100], **{"max_data_days": 60, **changes})


@pytest.mark.parametrize("effect", [0.02, 0.03, 0.06])
def test_the_planned_effect_takes_the_requests_that_the_sample_size_asks_for(effect: float) -> None:
    found = forecast(half(expected_effect=effect), traffic())
    needed = requests_needed(effect, 0.3, challenger_share=0.5, tau_requests=100.0)
    assert found.goal_requests == pytest.approx(needed, abs=100)
    assert found.problem == ""


def test_what_is_detectable_is_shown_as_often_as_promised() -> None:
    """Of 2,000 looks at the end, with the forecast's difference, about 95 % are beyond the boundary."""
    plan = half(max_data_days=10)
    found = forecast(plan, traffic())
    draw, weight = random.Random(3), 10 * 1000 * 0.25
    bar = two_sided_boundary(weight / plan.tau_requests, plan.alpha)
    z = found.detectable * math.sqrt(weight) / 0.3
    shown = sum(draw.gauss(z, 1) >= bar for _ in range(2000))
    assert shown / 2000 == pytest.approx(0.95, abs=0.015)


def test_small_shares_and_the_last_step_count_as_what_they_are() -> None:
    """Units of the smaller arm: 2 days of 10 % and 3 of 50 %, for the sixth day is at 100 %."""
    steps = [(10, "2d"), (50, "1d"), (100, "1d")]
    enough = forecast(parse_plan(steps, max_data_days=6, min_units=169), traffic(units=100))
    assert enough.problem == ""
    assert enough.enough_units_days == pytest.approx(5.0, abs=0.05)
    short = forecast(parse_plan(steps, max_data_days=6, min_units=171), traffic(units=100))
    assert short.enough_units_days is None
    assert short.problem.startswith("at 100 units a day an arm gets 170 units in 6 data days")


def test_a_goal_out_of_reach_is_a_problem_that_names_what_would_be_in_reach() -> None:
    found = forecast(half(expected_effect=0.0001), traffic())
    assert "less than 50%" in found.problem
    assert found.goal_days is None
    margin = forecast(half(hypothesis="non_inferiority", margin=0.0001), traffic())
    assert "less than 50%" in margin.problem
    assert forecast(half(hypothesis="non_inferiority", margin=0.05), traffic()).problem == ""


def test_without_a_goal_only_units_can_be_too_few() -> None:
    assert forecast(half(), traffic(requests=0.5, units=50)).problem == ""


def test_a_plan_of_years_is_foretold_at_once() -> None:
    plan = half(max_data_days=3000, hypothesis="non_inferiority", margin=0.001)
    assert isinstance(forecast(plan, traffic()), Forecast)


@given(st.floats(1, 1e6), st.floats(1, 10), st.floats(1e-6, 1))
def test_more_traffic_never_makes_a_plan_worse(requests: float, more: float, effect: float) -> None:
    plan = half(expected_effect=effect, min_units=50)
    less, larger = (forecast(plan, traffic(requests * k, requests * k)) for k in (1.0, more))
    assert larger.detectable <= less.detectable * (1 + 1e-9)
    assert not larger.problem or less.problem
    assert (larger.goal_days or math.inf) <= (less.goal_days or math.inf)
    assert all(text and "nan" not in text for text in less.sentences("brier"))


TRAFFIC = ObservedTraffic(days=10, units_per_day=800, requests_per_day=1000, sigma=0.3, design_effect=2.0)


def test_the_mixture_is_fixed_for_the_planned_difference_of_a_split_only() -> None:
    steps = [(20, "2d"), (50, "2d"), 100]
    assert planned(parse_plan(steps), TRAFFIC) == parse_plan(steps)
    small = planned(parse_plan(steps, expected_effect=0.015), TRAFFIC)
    large = planned(parse_plan(steps, expected_effect=0.3), TRAFFIC)
    assert 100 == large.tau_requests < small.tau_requests < 1000
    margin = planned(parse_plan(steps, hypothesis="non_inferiority", margin=0.015), TRAFFIC)
    assert margin.tau_requests == small.tau_requests
    pairs = parse_plan([("shadow", "7d"), 100], design="paired_shadow", expected_effect=0.015)
    assert planned(pairs, TRAFFIC) == pairs
    found = forecast(pairs, TRAFFIC)
    assert (found.problem, found.goal_days) == ("", None)


def test_a_plan_that_takes_requests_as_independent_is_refused_where_they_are_alike() -> None:
    steps = [(20, "2d"), 100]
    assert "2.00 above 1.5" in alike(parse_plan(steps, cluster="request"), TRAFFIC)
    assert not alike(parse_plan(steps), TRAFFIC)
    assert not alike(parse_plan(steps, cluster="request"), replace(TRAFFIC, design_effect=1.4))
    assert not alike(parse_plan(steps, cluster="request"), replace(TRAFFIC, design_effect=None))


def test_several_challengers_and_steps_without_a_split_take_longer() -> None:
    one = forecast(parse_plan([(20, "2d"), (30, "2d"), 100], expected_effect=0.02), TRAFFIC)
    three = forecast(parse_plan([(20, "2d"), (30, "2d"), 100], challengers=3, expected_effect=0.02), TRAFFIC)
    careful = parse_plan([("aa", "3d"), ("shadow", "3d"), (20, "2d"), (30, "2d"), 100], expected_effect=0.02)
    assert one.detectable < three.detectable
    assert one.detectable < forecast(careful, TRAFFIC).detectable
