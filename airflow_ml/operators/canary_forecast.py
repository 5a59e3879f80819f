"""Stage 7, canary: what a plan can show, estimated and logged before the rollout starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_ml.errors import ConfigurationError, NoTraffic

if TYPE_CHECKING:
    from airflow.sdk._shared.logging.types import Logger

    from airflow_ml.core.rollout_plan import RolloutPlan
    from airflow_ml.runtime.rollout import RolloutDriver


def forecast_plan(
    driver: RolloutDriver, plan: RolloutPlan, model: str, namespace: str, log: Logger, *, fixed_tau: bool
) -> RolloutPlan:
    """Log what the plan can show and when; refuse a plan that can show nothing.

    Returns the plan, with its mixture fixed for the difference that it names unless ``fixed_tau``.

    Raises:
        NoTraffic: at the champion's observed traffic the plan can never end with a decision.
        ConfigurationError: it takes requests as independent, and the observed ones are not.
    """
    from airflow_ml.core.rollout_forecast import alike, forecast, planned

    days = sum(step.data_days for step in plan.steps)
    log.info("The plan takes at least %g and at most %g data days", days, plan.max_data_days)
    found = driver.forecast(plan, model, namespace)
    if found is None:
        log.info("No whole day of the champion's traffic is known yet: nothing can be estimated")
        return plan
    if problem := alike(plan, found.observed):
        raise ConfigurationError(
            f"The plan for {model!r} takes requests as independent",
            problem,
            'Use cluster="unit" with the unit that sends them, or design="paired_shadow".',
        )
    if plan.design != "split":
        log.info(
            "Pairs of scores decide, one observation for each data day: nothing can be estimated before there are some"
        )
        return plan
    if not fixed_tau:
        plan = planned(plan, found.observed)
        found = forecast(plan, found.observed)
    for sentence in found.sentences(plan.metric):
        log.info("%s", sentence)
    if found.problem:
        raise NoTraffic(
            f"The plan for {model!r} can never end with a decision",
            found.problem,
            "Raise max_data_days or the weights, lower min_units, or plan for a larger effect.",
        )
    return plan
