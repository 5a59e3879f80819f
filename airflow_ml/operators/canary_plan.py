"""A canary's plan, from the arguments of its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_ml.core.plan_check import parse_plan
from airflow_ml.errors import ConfigurationError, ModelNotFound

if TYPE_CHECKING:
    from airflow_ml.core.ports import ModelRegistry, RegisteredModel
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


def challengers_of(operator: CanaryOperator, registry: ModelRegistry) -> list[RegisteredModel]:
    """Return the versions that are compared with the champion, by their aliases or numbers.

    Raises:
        ModelNotFound: one of them does not exist.
        ConfigurationError: two of them are the same version.
    """
    found: list[RegisteredModel] = []
    for name in operator.aliases():
        one = registry.get(operator.model, name) if name.isdigit() else registry.by_alias(operator.model, name)
        if one is None:
            raise ModelNotFound(
                f"No version of {operator.model!r} has the alias {name}", "", "Register one with register_model."
            )
        found.append(one)
    versions = [one.version for one in found]
    if not versions or len(set(versions)) < len(versions):
        raise ConfigurationError(
            f"Not the challengers of {operator.model!r}",
            ", ".join(f"{name}: version {one}" for name, one in zip(operator.aliases(), versions, strict=True))
            or "none",
            "Name aliases or versions that differ.",
        )
    return found
