from __future__ import annotations

import pytest

from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.record import parse
from airflow_ml.core.rollout_plan import RolloutPlan, Step


def test_a_plan_survives_the_wire() -> None:
    plan = parse_plan([[5, "2d"], 50], alpha=0.01, metric="mae")
    assert parse(plan.to_dict()) == plan


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
