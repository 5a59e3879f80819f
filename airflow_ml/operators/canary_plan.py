"""A canary's plan, from the arguments of its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_ml.core.rollout_plan import parse_plan
from airflow_ml.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_ml.core.rollout_plan import RolloutPlan
    from airflow_ml.operators.canary import CanaryOperator


def plan_of(operator: CanaryOperator) -> RolloutPlan:
    """Return the plan that the operator's arguments make, after templating.

    Raises:
        ConfigurationError: an argument that no plan can have.
    """
    if operator.busy not in ("fail", "skip", "wait"):
        raise ConfigurationError("Unknown busy", repr(operator.busy), "Use one of fail, skip, wait.")
    if operator.lease_seconds < 2 * operator.poll_interval_seconds or operator.lease_seconds < 30:
        raise ConfigurationError(
            "The lease is too short",
            f"lease_seconds={operator.lease_seconds:g}, poll_interval_seconds={operator.poll_interval_seconds:g}",
            "It has to outlast two looks, and 30 s.",
        )
    changes: dict[str, Any] = {"steps": operator.steps, **operator.plan_changes()}
    return parse_plan(
        metric=operator.metric,
        direction=operator.direction,
        hypothesis=operator.hypothesis,
        margin=float(operator.margin),
        guardrails=operator.guardrails,
        expected_effect=float(operator.expected_effect),
        alpha=float(operator.alpha),
        min_units=int(operator.min_units),
        tau_requests=float(operator.tau_requests),
        max_data_days=float(operator.max_data_days),
        max_silence_seconds=float(operator.max_silence_seconds),
        inconclusive=operator.inconclusive,
        **{**changes, **{name: int(value) for name, value in operator.limits.items()}},
    )
