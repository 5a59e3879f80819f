"""Stage 7, canary: what a release says about its plan before it, and its picture after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_ml.errors import AirflowMLError, ConfigurationError, NoTraffic
from airflow_ml.runtime.rollout_evidence import draw_evidence

if TYPE_CHECKING:
    from airflow.sdk._shared.logging.types import Logger

    from airflow_ml.core.artifact import Artifact
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.core.rollout_plan import RolloutPlan
    from airflow_ml.core.rollout_state import RolloutState
    from airflow_ml.runtime.rollout import RolloutDriver


def foretell(
    driver: RolloutDriver, plan: RolloutPlan, model: str, namespace: str, log: Logger, *, fixed_tau: bool
) -> RolloutPlan:
    """Log what the plan can show and when, before anything is started; refuse one that can show nothing.

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
        log.info("No whole day of the champion's traffic is known: nothing can be estimated")
        return plan
    if problem := alike(plan, found.observed):
        raise ConfigurationError(
            f"The plan for {model!r} takes requests as independent",
            problem,
            'Use cluster="unit" with the unit that sends them, or design="paired_shadow".',
        )
    if plan.design != "split":
        log.info(
            "Pairs of scores decide, each data day is one observation: how they differ is known once there are some"
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


def tell_begun(state: RolloutState, log: Logger) -> None:
    """Log who is compared with whom."""
    versions = ", ".join(str(one.get("version")) for one in state.challengers.values())
    champion = (state.champion or {}).get("version")
    log.info(
        "%s: version %s against %s, rollout %s, now at %g %%",
        state.model,
        versions,
        champion,
        state.epoch,
        state.weight_percent,
    )


def draw(store: ArtifactStore, state: RolloutState, log: Logger) -> Artifact | None:
    """Draw the evidence, last of all: what has been decided and done is not lost for the lack of a picture."""
    try:
        picture = draw_evidence(store, state)
    except (AirflowMLError, OSError) as error:
        log.warning("The evidence could not be drawn: %s", error)
        return None
    if picture is not None:
        log.info("The evidence as a picture: %s", picture.uri)
    return picture
