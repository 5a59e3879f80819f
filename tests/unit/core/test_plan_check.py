"""Plans as people write them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.rollout_plan import Step
from airflow_ml.errors import ConfigurationError


def test_steps_in_every_spelling() -> None:
    plan = parse_plan([5, (25, "36h"), {"weight_percent": 50, "data_days": 3}, Step(weight_percent=75.0), 100])
    assert [(s.weight_percent, s.data_days) for s in plan.steps] == [(5, 1), (25, 1.5), (50, 3), (75, 1), (100, 0)]


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
            [5, 50],
            {"guardrails": [{"metric": "mae", "margin": 1.0, "after_data_days": 21}]},
            "only after max_data_days",
        ),
        ([{"weight_percent": 5, "metric": ["mae"]}, 50], {}, "has no metric"),
        ([{"weight_percent": 5, "metrics": ["mae"]}, 50], {}, "decides nothing in this plan"),
        (
            [{"weight_percent": 5, "metrics": "mae"}, 50],
            {"guardrails": [{"metric": "mae", "decides": False}]},
            "decides nothing in this plan",
        ),
        ([{"weight_percent": "aa", "metrics": "brier"}, 50], {}, "shows nothing of a challenger"),
        ([{"weight_percent": "shadow", "metrics": "brier"}, 50], {}, "shows nothing of a challenger"),
        ([5, 50, {"weight_percent": 100, "metrics": "brier"}], {}, "shows nothing of a challenger"),
        (
            [("shadow", "1d"), {"weight_percent": 5, "metrics": "brier"}, 100],
            {"design": "paired_shadow"},
            "shows nothing of a challenger",
        ),
        (
            [("shadow", "1d"), 5, 100],
            {"design": "paired_shadow", "guardrails": [{"metric": "mae", "limit": 1.0}]},
            "no means of their own",
        ),
        (
            [("shadow", "1d"), 5, 100],
            {"design": "paired_shadow", "guardrails": [{"metric": "mae", "margin": 1.0, "by": "origin"}]},
            "no slices",
        ),
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
