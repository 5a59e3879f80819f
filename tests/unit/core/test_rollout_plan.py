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
