"""Stage 7, canary, when the task runs: start the rollout, resume it after an approval, finish when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_ml.adapters.namespaced_registry import in_namespace
from airflow_ml.core.aliases import CHALLENGER, CHAMPION, PRODUCTION
from airflow_ml.core.canary import PROMOTED
from airflow_ml.core.rollout_state import BY_INTERRUPTION, PARKED, SERVING_ENDS
from airflow_ml.errors import ConfigurationError, FencedOut, ModelNotFound, RolloutBusy, RouterFailed
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.hooks.rollout import rollout_driver
from airflow_ml.hooks.variant import variant_of
from airflow_ml.operators.approval import answer_of, ask
from airflow_ml.operators.canary_end import apply_outcome
from airflow_ml.operators.canary_forecast import forecast_plan
from airflow_ml.operators.canary_leading import defer_to_trigger, handle_busy, lead_in_worker
from airflow_ml.operators.canary_plan import plan_of
from airflow_ml.operators.promotion import owner_of
from airflow_ml.runtime.rollout_acts import RolloutActs
from airflow_ml.runtime.rollout_evidence import find_end

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk._shared.logging.types import Logger

    from airflow_ml.core.canary import Rollout
    from airflow_ml.core.ports import ModelRegistry, RegisteredModel
    from airflow_ml.core.rollout_state import RolloutState
    from airflow_ml.operators.canary import CanaryOperator


def run_canary(operator: CanaryOperator, context: Context) -> Rollout:
    """Check, create the rollout at weight 0 and defer; or install a first version; or apply an existing outcome.

    Raises:
        ModelNotFound, RolloutBusy, NoTraffic, MetricUnreadable, RouterFailed, AliasConflict: as `CanaryOperator` says.
    """
    plan = plan_of(operator)
    registry = _registry_of(operator)
    champion = registry.by_alias(operator.model, CHAMPION)
    owner = owner_of(context)
    driver = rollout_driver(
        operator.model,
        namespace=operator.namespace,
        router_conn_id=operator.router_conn_id,
        mlflow_conn_id=operator.mlflow_conn_id,
        lease_seconds=operator.lease_seconds,
        router_seconds=operator.router_seconds,
        source=operator.wire_source(),
        function=operator.function,
    )
    model, namespace = operator.model, operator.namespace
    newest = driver.latest(model, namespace)
    if newest is not None and newest.owner == owner and newest.state == PROMOTED and not _is_champion(champion, newest):
        # An earlier attempt got as far as the router: that is applied, whoever is challenger by now.
        return apply_outcome(operator, context, registry, newest)
    compared = challengers_of(operator, registry)
    if champion is not None and champion.version in [one.version for one in compared]:
        if newest is None or newest.owner != owner or newest.state not in SERVING_ENDS:
            raise ModelNotFound(
                f"The alias {CHALLENGER} of {model!r} points to the champion",
                f"version {champion.version}",
                "Register a new version first.",
            )
        return apply_outcome(operator, context, registry, newest)
    first, *others = [variant_of(one) for one in compared]
    if champion is None:
        alone = replace(plan, challengers=1)
        return apply_outcome(operator, context, registry, driver.install(alone, model, namespace, first, owner))
    mine = newest is not None and newest.owner == owner and newest.challenger.get("version") == first["version"]
    if newest is None or not mine or (not newest.live and newest.cause == BY_INTERRUPTION):
        fixed = operator.tau_requests is not None
        plan = forecast_plan(driver, plan, model, namespace, operator.log, fixed_tau=fixed)
    if namespace != PRODUCTION:
        # From here on it has a champion of its own: what production promotes meanwhile is no conflict.
        registry.set_alias(model, CHAMPION, champion.version, expected=champion.version)
    try:
        state = driver.begin(plan, model, namespace, variant_of(champion), first, owner, others=others)
    except RolloutBusy as error:
        handle_busy(operator, error)
    if state.state == PARKED:
        _ask(operator, context, state)
    if state.live:
        _log_begun(state, operator.log)
        if operator.function is None:
            defer_to_trigger(operator, state)
        state = lead_in_worker(operator, driver, state)
        if state.state == PARKED:
            _ask(operator, context, state)
    return apply_outcome(operator, context, registry, state)


def _registry_of(operator: CanaryOperator) -> ModelRegistry:
    return in_namespace(MLflowHook(operator.mlflow_conn_id).registry(), operator.namespace)


def _is_champion(champion: RegisteredModel | None, state: RolloutState) -> bool:
    return champion is not None and champion.version == state.candidate.get("version")


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


def resume_after_approval(operator: CanaryOperator, context: Context, event: Mapping[str, Any]) -> Rollout:
    """Continue at the step where the rollout was parked, or end it, as the approver decided."""
    answer, model, namespace = answer_of(event), operator.model, operator.namespace
    acts = RolloutActs(operator.store(), clock=lambda: datetime.now(UTC))
    newest = acts.newest(model, namespace, owner=owner_of(context))
    said: dict[str, Any] = {"who": answer.who, "why": answer.why, "epoch": newest.epoch}
    if newest.state == PARKED and answer.approved:
        going_on = acts.approve(model, namespace, lease_seconds=operator.lease_seconds, **said)
        if operator.function is None:
            defer_to_trigger(operator, going_on)
        operator.check_arguments(rendered=True)
        return run_canary(operator, context)
    if newest.state == PARKED:
        newest = acts.reject(model, namespace, **said)
    state = find_end(operator.store(), model, namespace, newest.epoch)
    return apply_outcome(operator, context, _registry_of(operator), state)


def finish(operator: CanaryOperator, context: Context, event: Mapping[str, Any]) -> Rollout:
    """Apply the outcome that the trigger reports: alias, asset event, record. Decides nothing.

    Raises:
        RouterFailed: the rollout was lost.
        FencedOut: somebody else leads it.
    """
    error = event.get("error")
    if error and event.get("lost"):
        raise RouterFailed(
            f"The rollout of {event['model']!r} was lost", error, "Traffic is back at the champion; run it again."
        )
    if error:
        raise FencedOut(str(error), "", "The newest attempt or rollout leads.")
    state = find_end(operator.store(), str(event["model"]), str(event["namespace"]), int(event["epoch"]))
    if state.state == PARKED:
        _ask(operator, context, state)
    return apply_outcome(operator, context, _registry_of(operator), state)


def _ask(operator: CanaryOperator, context: Context, state: RolloutState) -> NoReturn:
    operator.log.info("%s waits at weight 0 for an approval: %s", operator.model, state.reason)
    ask(
        context,
        state,
        task_id=operator.task_id,
        timeout_seconds=operator.ask_timeout_seconds,
        method_name="execute_answer",
    )


def _log_begun(state: RolloutState, log: Logger) -> None:
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
