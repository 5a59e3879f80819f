"""Stage 7, canary: a plan as people write it, and what is refused before a rollout starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from airflow_ml.core.assessment import NO_LIMIT
from airflow_ml.core.direction import DIRECTIONS
from airflow_ml.core.duration import parse_duration
from airflow_ml.core.fingerprint import finite
from airflow_ml.core.guardrail import parse_guardrails
from airflow_ml.core.rollout_plan import (
    ASK,
    BY_REQUEST,
    BY_UNIT,
    HOLD,
    NON_INFERIORITY,
    PAIRED_SHADOW,
    ROLL_BACK,
    SAME,
    SHADOW,
    SPLIT,
    SUPERIORITY,
    RolloutPlan,
    Step,
)
from airflow_ml.errors import ConfigurationError

_DAY_SECONDS = 86_400.0


def parse_plan(steps: Sequence[Any], *, guardrails: Sequence[Any] = (), **settings: Any) -> RolloutPlan:
    """Return a checked plan.

    Args:
        steps: Weights in percent (``[5, 25, 50, 100]``), pairs of weight and data days or duration (``(5, "2d")``),
            mappings with the fields of `Step`, or `Step` objects. A weight of 100 by itself is kept 0 days, others 1.
            Instead of a weight, ``"shadow"`` is a step in which challengers score without serving, and ``"aa"`` one in
            which half of the units are compared with the other half, all answered by the champion.
        guardrails: See `parse_guardrails`.
        settings: The other fields of `RolloutPlan`.

    Raises:
        ConfigurationError: naming the value that cannot work.
    """
    checked = parse_guardrails(guardrails)
    plan = RolloutPlan(steps=parse_steps(steps), guardrails=checked, **settings)
    check_plan(plan)
    return plan


def parse_steps(steps: Any) -> tuple[Step, ...]:
    """Return the steps of a plan, each one checked by itself; see `parse_plan`.

    Raises:
        ConfigurationError: naming the one that cannot work.
    """
    return tuple(_step(step) for step in steps)


def check_plan(plan: RolloutPlan) -> None:
    """Refuse a plan that can decide nothing, or would decide without evidence.

    Raises:
        ConfigurationError: naming the value that cannot work.
    """
    check_steps(plan)
    _check_step_metrics(plan)
    if any(not (math.isfinite(step.data_days) and step.data_days >= 0) for step in plan.steps):
        raise ConfigurationError(
            "A step's duration is not a number of days", [step.data_days for step in plan.steps], "Give 0 or more."
        )
    _check_values(plan)
    if (plan.margin > 0) != (plan.hypothesis == NON_INFERIORITY) or not math.isfinite(plan.margin):
        raise ConfigurationError(
            f"The margin does not fit the hypothesis {plan.hypothesis}",
            plan.margin,
            "non_inferiority needs a margin above 0 in the metric's unit, superiority has none.",
        )
    if plan.metric in [guardrail.reads for guardrail in plan.guardrails if guardrail.limit is None]:
        raise ConfigurationError(
            "The metric cannot be its own guardrail", plan.metric, "Use non_inferiority with a margin instead."
        )
    if not 0 <= plan.expected_effect < math.inf:
        raise ConfigurationError(
            "expected_effect is not an improvement",
            plan.expected_effect,
            "Give its size in the metric's unit, above 0.",
        )
    late = [one.name for one in plan.guardrails if one.decides and one.after_data_days >= plan.max_data_days]
    if late:
        raise ConfigurationError(
            f"A guardrail decides only after max_data_days, {plan.max_data_days:g}",
            ", ".join(late),
            "Nothing could be promoted: lower its after_data_days.",
        )
    shortest = sum(step.data_days for step in plan.steps)
    if shortest > plan.max_data_days:
        raise ConfigurationError(
            f"The steps take {shortest:g} data days, more than max_data_days",
            plan.max_data_days,
            "Raise it, or shorten steps.",
        )


def check_steps(plan: RolloutPlan) -> None:
    """Refuse steps that come in no order in which they prove anything.

    Raises:
        ConfigurationError: naming them.
    """
    weights = [step.weight_percent for step in plan.steps if step.kind == SPLIT]
    kinds = [step.kind for step in plan.steps]
    if not kinds or any(not 1 <= weight <= 100 for weight in weights) or weights != sorted(set(weights)):
        # Below 1 percent a sticky split is mostly chance, and some routers cannot take it.
        raise ConfigurationError("Not the weights of a rollout", weights, "Give rising percentages from 1 to 100.")
    if kinds != sorted(kinds, key=(SAME, SHADOW, SPLIT).index) or kinds.count(SAME) > 1 or kinds.count(SHADOW) > 1:
        raise ConfigurationError(
            "Not the steps of a rollout", kinds, "Give at most one aa step, then at most one in shadow, then weights."
        )
    if any((step.kind == SHADOW) != (step.weight_percent == 0) for step in plan.steps) or any(
        step.kind == SAME and not 1 <= step.weight_percent < 100 for step in plan.steps
    ):
        raise ConfigurationError(
            "A step's weight does not fit its kind", kinds, "shadow has the weight 0, aa one between 0 and 100."
        )
    if plan.design == PAIRED_SHADOW and SHADOW not in kinds:
        raise ConfigurationError(
            "paired_shadow has no step in shadow", kinds, 'Begin with one, for example ("shadow", "14d").'
        )
    if plan.design == SPLIT and not any(weight < 100 for weight in weights):
        raise ConfigurationError(
            "A plan without a split cannot compare", weights, "Begin with a step below 100 percent, for example 5."
        )
    _check_arms(plan)


def _check_arms(plan: RolloutPlan) -> None:
    """Check what several challengers, and guardrails in shadow, need."""
    count = plan.challengers
    if plan.design == SPLIT and any(
        step.kind == SPLIT and step.divides and step.weight_percent * count >= 100 for step in plan.steps
    ):
        raise ConfigurationError(
            "The champion would answer nothing",
            f"{count} challengers with {[step.weight_percent for step in plan.steps]} percent each",
            "A step's weight is that of each challenger: lower it.",
        )
    if count > 1 and plan.failure_limit:
        raise ConfigurationError(
            "failure_limit is for one challenger", plan.failure_limit, "Of several, one that shows harm is stopped."
        )
    in_split = [one.name for one in plan.guardrails if one.decides and (one.by or one.limit is not None)]
    if in_split and (not plan.divides or plan.design == PAIRED_SHADOW):
        raise ConfigurationError(
            "Pairs show no slices and no means of their own",
            in_split,
            "Leave by and limit out, or decide by a split (design) with a step in shadow before it.",
        )


def _check_step_metrics(plan: RolloutPlan) -> None:
    """Refuse a step that waits for something that it cannot show."""
    known = {*plan.deciding}
    for number, step in enumerate(plan.steps, 1):
        if unknown := [name for name in step.metrics if name not in known]:
            raise ConfigurationError(
                f"Step {number} waits for a metric that decides nothing in this plan",
                ", ".join(unknown),
                f"Name some of {', '.join(sorted(known))}.",
            )
        deciding = SHADOW if plan.design == PAIRED_SHADOW else SPLIT
        if step.metrics and (step.kind != deciding or number - 1 > plan.last_test):
            raise ConfigurationError(
                f"Step {number} shows nothing of a challenger by the design {plan.design}",
                ", ".join(step.metrics),
                f"Only steps of the kind {deciding} that compare may wait for metrics.",
            )


def _check_values(plan: RolloutPlan) -> None:
    """Check each value by itself."""
    for name, allowed in _CHOICES.items():
        if getattr(plan, name) not in allowed:
            raise ConfigurationError(f"Unknown {name}", repr(getattr(plan, name)), f"Use one of {', '.join(allowed)}.")
    for name, (low, high) in _RANGES.items():
        number = finite(getattr(plan, name))
        if number is None or not low < number < high:
            raise ConfigurationError(
                f"{name} is out of range",
                repr(getattr(plan, name)),
                f"It lies between {low:g} and {high:g}, exclusive.",
            )
    for name, least in _LIMITS.items():
        value = getattr(plan, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigurationError(
                f"{name} is not a number of looks", repr(value), f"Give a whole number from {least}."
            )


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "direction": DIRECTIONS,
    "hypothesis": (SUPERIORITY, NON_INFERIORITY),
    "inconclusive": (ROLL_BACK, HOLD, ASK),
    "design": (SPLIT, PAIRED_SHADOW),
    "cluster": (BY_UNIT, BY_REQUEST),
}
_LIMITS: Mapping[str, int] = {
    "challengers": 1,
    "failure_limit": 0,
    "consecutive_successes": 1,
    "inconclusive_limit": NO_LIMIT,
    "consecutive_error_limit": NO_LIMIT,
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "alpha": (0, 0.5),
    "sample_ratio_alpha": (0, 0.5),
    "tau_requests": (0, 1e15),
    "min_units": (1, 1e15),
    "max_data_days": (0, 3_660),
    "max_silence_seconds": (0, 1e9),
    "max_trouble_seconds": (0, 1e9),
}


#: In a shadow no unit gets a challenger's answer; the champion against itself is most exact with two halves.
_WEIGHT_OF: Mapping[str, float] = {SHADOW: 0.0, SAME: 50.0}


def _step(value: Any) -> Step:
    if isinstance(value, Step):
        return value
    kind, units, metrics = SPLIT, 0, ()
    if isinstance(value, Mapping):
        if unknown := set(value) - {field.name for field in fields(Step)}:
            raise ConfigurationError(
                "Not a step of a rollout", repr(value), f"It has no {', '.join(sorted(map(str, unknown)))}."
            )
        weight, days, units = value.get("weight_percent"), value.get("data_days"), value.get("min_units", 0)
        kind, metrics = str(value.get("kind", SPLIT)), value.get("metrics", ())
    elif isinstance(value, list | tuple) and len(value) == 2:
        weight, days = value
    else:
        weight, days = value, None
    if weight in (SHADOW, SAME):
        kind, weight = str(weight), _WEIGHT_OF[weight]
    number = finite(float(weight) if isinstance(weight, str) and weight.replace(".", "", 1).isdigit() else weight)
    if number is None or kind not in (SPLIT, SHADOW, SAME):
        raise ConfigurationError(
            "Not a step of a rollout", repr(value), 'Write a weight like 5, or a pair like (5, "2d").'
        )
    if days is None:
        days = 0.0 if number >= 100 else 1.0
    return Step(
        weight_percent=number,
        data_days=parse_duration(days) / _DAY_SECONDS if isinstance(days, str) else float(days),
        kind=kind,
        min_units=int(units),
        metrics=(metrics,) if isinstance(metrics, str) else tuple(map(str, metrics)),
    )
