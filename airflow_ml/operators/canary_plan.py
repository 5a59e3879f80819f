"""A canary's plan, from the arguments of its operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.direction import DIRECTIONS
from airflow_ml.core.guardrail import parse_guardrails
from airflow_ml.core.plan_check import parse_plan, parse_steps
from airflow_ml.core.rollout_plan import (
    ASK,
    BY_REQUEST,
    BY_UNIT,
    HOLD,
    NON_INFERIORITY,
    PAIRED_SHADOW,
    ROLL_BACK,
    SPLIT,
    SUPERIORITY,
)
from airflow_ml.errors import ConfigurationError
from airflow_ml.operators.arguments import is_known

if TYPE_CHECKING:
    from airflow_ml.core.rollout_plan import RolloutPlan
    from airflow_ml.operators.canary import CanaryOperator

#: What a canary does while another rollout of the model is under way.
BUSY = ("fail", "skip", "wait")
#: The limits that count looks.
LOOKS = ("failure_limit", "consecutive_successes", "inconclusive_limit", "consecutive_error_limit")
#: Templated arguments of those operators that lead rollouts of which no plan is made.
BESIDE_THE_PLAN = frozenset({"model", "busy", "mlflow_conn_id", "router_conn_id", "source", "source_conn_id"})

#: What a canary's arguments must be.
RULES = {
    "model": rules.text(),
    "metric": rules.text(),
    "direction": rules.one_of(*DIRECTIONS),
    "challengers": rules.texts(),
    "design": rules.one_of(SPLIT, PAIRED_SHADOW),
    "cluster": rules.one_of(BY_UNIT, BY_REQUEST),
    "hypothesis": rules.one_of(SUPERIORITY, NON_INFERIORITY),
    "margin": rules.number(least=0),
    "guardrails": rules.sequence(parse_guardrails, empty=True),
    "expected_effect": rules.number(least=0),
    "steps": rules.sequence(parse_steps),
    "alpha": rules.number(above=0, below=0.5),
    "min_units": rules.number(above=1, whole=True),
    "tau_requests": rules.number(above=0, optional=True),
    "max_data_days": rules.number(above=0),
    "max_silence_seconds": rules.number(above=0),
    "inconclusive": rules.one_of(ROLL_BACK, HOLD, ASK),
    "ask_timeout_seconds": rules.number(above=0),
    "busy": rules.one_of(*BUSY),
    "limits": rules.mapping(keys=LOOKS),
    "poll_interval_seconds": rules.number(least=0),
    "lease_seconds": rules.number(above=0),
    "router_seconds": rules.number(above=0),
    "mlflow_conn_id": rules.text(),
    "router_conn_id": rules.text(),
    "source": rules.either("SqlOutcomes, PrometheusQueries or a function", Mapping, optional=True),
    "source_conn_id": rules.text(optional=True),
}


def plan_of(operator: CanaryOperator) -> RolloutPlan:
    """Return the plan that the operator's arguments make, after templating.

    Raises:
        ConfigurationError: an argument that no plan can have.
    """
    if operator.lease_seconds < 2 * operator.poll_interval_seconds or operator.lease_seconds < 30:
        raise ConfigurationError(
            "The lease is too short",
            f"lease_seconds={operator.lease_seconds:g}, poll_interval_seconds={operator.poll_interval_seconds:g}",
            "It has to outlast two looks, and 30 s.",
        )
    if operator.router_seconds < operator.lease_seconds:
        raise ConfigurationError(
            "The router would end the split before the lease does",
            f"router_seconds={operator.router_seconds:g}, lease_seconds={operator.lease_seconds:g}",
            "Give the router at least as long as the lease, or the champion answers between two looks.",
        )
    tau = {} if operator.tau_requests is None else {"tau_requests": float(operator.tau_requests)}
    changes: dict[str, Any] = {**tau, "steps": operator.steps, "design": operator.design, **operator.plan_changes()}
    return parse_plan(
        metric=operator.metric,
        direction=operator.direction,
        hypothesis=operator.hypothesis,
        margin=float(operator.margin),
        guardrails=operator.guardrails,
        expected_effect=float(operator.expected_effect),
        alpha=float(operator.alpha),
        min_units=int(operator.min_units),
        max_data_days=float(operator.max_data_days),
        max_silence_seconds=float(operator.max_silence_seconds),
        inconclusive=operator.inconclusive,
        cluster=operator.cluster,
        challengers=len(operator.aliases()),
        **{**changes, **{name: int(value) for name, value in operator.limits.items()}},
    )


def check_plan_of(operator: CanaryOperator) -> None:
    """Refuse a plan that cannot work, where all of it is known when the DAG file is parsed.

    Raises:
        ConfigurationError: an argument that no plan can have.
    """
    if all(is_known(getattr(operator, name)) for name in {*operator.template_fields} - BESIDE_THE_PLAN):
        plan_of(operator)
