from __future__ import annotations

from typing import Any

import pytest

from airflow_ml.core.record import parse
from airflow_ml.core.rollout_plan import RolloutPlan, Step, parse_plan
from airflow_ml.errors import ConfigurationError


def test_steps_in_every_spelling() -> None:
    plan = parse_plan([5, (25, "36h"), {"weight_percent": 50, "data_days": 3}, Step(weight_percent=75.0), 100])
    assert [(s.weight_percent, s.data_days) for s in plan.steps] == [(5, 1), (25, 1.5), (50, 3), (75, 1), (100, 0)]


def test_a_plan_survives_the_wire() -> None:
    plan = parse_plan([[5, "2d"], 50], alpha=0.01, metric="mae")
    assert parse(plan.to_dict()) == plan


def test_templated_numbers_are_numbers() -> None:
    assert parse_plan(["5", ("12.5", "1d")]).steps[1].weight_percent == 12.5


@pytest.mark.parametrize(
    ("steps", "settings", "named"),
    [
        ([], {}, "weights"),
        ([100], {}, "without a split"),
        ([0, 50], {}, "weights"),
        ([50, 25], {}, "weights"),
        ([5, 5], {}, "weights"),
        ([5, 101], {}, "weights"),
        (["five"], {}, "step"),
        ([True], {}, "step"),
        ([(5, -1)], {}, "duration"),
        ([(5, float("nan"))], {}, "duration"),
        ([5], {"alpha": 0.0}, "alpha"),
        ([5], {"alpha": float("nan")}, "alpha"),
        ([5], {"min_units": 1}, "min_units"),
        ([5], {"direction": "down"}, "direction"),
        ([5], {"inconclusive": "promote"}, "inconclusive"),
        ([5], {"margin": 0.1}, "margin"),
        ([5], {"hypothesis": "non_inferiority"}, "margin"),
        ([(5, "20d"), (50, "20d")], {}, "max_data_days"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_by_name(steps: list[Any], settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        parse_plan(steps, **settings)


def test_defaults_are_the_documented_ones() -> None:
    plan = RolloutPlan(steps=(Step(weight_percent=5.0),))
    assert (plan.alpha, plan.max_data_days, plan.inconclusive) == (0.05, 21.0, "roll_back")


def test_a_careful_plan() -> None:
    plan = parse_plan([("aa", "1d"), ("shadow", "2d"), {"weight_percent": 5, "data_days": 1, "min_units": 300}, 100])
    assert [(step.kind, step.weight_percent, step.data_days, step.min_units) for step in plan.steps] == [
        ("aa", 50.0, 1.0, 0),
        ("shadow", 0.0, 2.0, 0),
        ("split", 5.0, 1.0, 300),
        ("split", 100.0, 0.0, 0),
    ]
    assert plan.ways == 3
    assert plan.test_alpha == pytest.approx(0.05 / 3)
    assert plan.reads == ("brier", "brier paired")
    assert plan.last_test == 2
    assert RolloutPlan.from_dict(plan.to_dict()) == plan


def test_what_a_design_reads_and_where_it_decides() -> None:
    paired = parse_plan([("shadow", "7d"), (10, "1d"), 100], design="paired_shadow", guardrails=[("mae", 0.1)])
    assert paired.last_test == 0
    assert paired.reads == ("brier", "brier paired", "mae", "mae paired")
    assert parse_plan([("shadow", "7d"), 100], design="paired_shadow").reads == ("brier paired",)
    assert parse_plan([5, 100]).reads == ("brier",)
    assert parse_plan([5, 100]).test_alpha == 0.05


def test_records_of_plans_that_knew_only_splits_are_read() -> None:
    wire = parse_plan([5, 100]).to_dict()
    for name in ("design", "challengers", "cluster"):
        del wire[name]
    steps = [{"weight_percent": 5.0, "data_days": 1.0}, {"weight_percent": 100.0, "data_days": 0.0}]
    assert RolloutPlan.from_dict({**wire, "steps": steps}) == parse_plan([5, 100])


@pytest.mark.parametrize(
    ("steps", "settings", "words"),
    [
        ([0.5, 100], {}, "from 1 to 100"),
        ([5, ("shadow", "1d"), 100], {}, "at most one aa step"),
        ([("shadow", "1d"), ("aa", "1d"), 5], {}, "at most one aa step"),
        ([("shadow", "1d"), ("shadow", "1d"), 5], {}, "at most one in shadow"),
        ([("shadow", "1d"), 100], {}, "without a split"),
        ([5, 100], {"design": "paired_shadow"}, "no step in shadow"),
        ([("aa", "1d")], {}, "without a split"),
        ([{"kind": "aa", "weight_percent": 100}, 5], {}, "does not fit its kind"),
        ([{"kind": "shadow", "weight_percent": 5}, 5], {}, "does not fit its kind"),
        ([{"kind": "mirror", "weight_percent": 5}], {}, "Not a step"),
        ([25, 50, 100], {"challengers": 2}, "champion would answer nothing"),
        ([5, 25], {"challengers": 2, "failure_limit": 1}, "one challenger"),
        ([5, 25], {"challengers": 0}, "whole number from 1"),
        ([5, 25], {"cluster": "day"}, "unit, request"),
        (
            [("shadow", "1d")],
            {"design": "paired_shadow", "guardrails": [{"metric": "mae", "margin": 1.0, "by": "origin"}]},
            "no slices",
        ),
    ],
)
def test_what_proves_nothing_is_refused(steps: list[object], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_plan(steps, **settings)
