"""Stage 7, canary: an immediate rollback by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAlias

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.aliases import CHAMPION, PREVIOUS
from airflow_ml.errors import ModelNotFound
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.hooks.rollout import rollout_driver
from airflow_ml.hooks.variant import variant_of
from airflow_ml.links import CanaryPageLink, ModelPageLink, ModelVersionLink, TaskPageLink
from airflow_ml.operators.base import MLOperator
from airflow_ml.operators.function import with_arguments_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.canary import Rollout
    from airflow_ml.core.ports import ModelRegistry, RegisteredModel


class RollbackOperator(MLOperator):
    """Stop a running rollout; without one, let the version with the alias ``previous`` serve again.

    Traffic moves first and is read back; then the alias ``champion`` follows.

    Retry, clear: a rollback that is done is not done twice, and a second one finds no other version to return to.
    Kill, timeout: the retry finishes what was begun.

    Args:
        model: Name of the registered model (templated).
        reason: Why, for the record (templated).
        mlflow_conn_id: Airflow connection of the registry (templated).
        router_conn_id: Airflow connection of the gateway (templated).

    Raises:
        ModelNotFound: there is neither a rollout nor a previous version.
        AliasConflict: somebody else moved ``champion`` in the meantime.
        RouterFailed: traffic could not be set.
    """

    template_fields: Sequence[str] = ("model", "reason", "mlflow_conn_id", "router_conn_id")
    operator_extra_links = (TaskPageLink(), CanaryPageLink(), ModelPageLink(), ModelVersionLink())
    ui_color = "#fee2e2"
    argument_rules = {
        "model": rules.text(),
        "reason": rules.text(),
        "mlflow_conn_id": rules.text(),
        "router_conn_id": rules.text(),
    }

    def __init__(
        self,
        model: str,
        *,
        reason: str,
        mlflow_conn_id: str = "mlflow_default",
        router_conn_id: str = "gateway_default",
        task_id: str = "rollback",
        **kwargs: Any,
    ) -> None:
        self._moved = AssetAlias(f"{model}@{CHAMPION}:moved")
        super().__init__(task_id=task_id, outlets=[*kwargs.pop("outlets", []), self._moved], **kwargs)
        self.model = model
        self.reason = reason
        self.mlflow_conn_id = mlflow_conn_id
        self.router_conn_id = router_conn_id
        self.check_arguments()

    def run(self, context: Context) -> Rollout:
        """Take back traffic, then the alias."""
        from airflow_ml.adapters.namespaced_registry import in_namespace
        from airflow_ml.core.plan_check import parse_plan
        from airflow_ml.core.rollout_look import STOP, Act
        from airflow_ml.core.rollout_state import PARKED, SERVING_ENDS
        from airflow_ml.operators.promotion import emit_champion_event, move_champion, owner_of
        from airflow_ml.runtime.rollout_evidence import closing_record

        owner = owner_of(context)
        driver = rollout_driver(
            self.model,
            namespace=self.namespace,
            router_conn_id=self.router_conn_id,
            mlflow_conn_id=self.mlflow_conn_id,
            lease_seconds=180.0,
        )
        newest = driver.latest(self.model, self.namespace)
        if newest is not None and (newest.live or newest.state == PARKED) and newest.owner != owner:
            act = Act(kind=STOP, who=owner, why=self.reason, at=datetime.now(UTC))
            return closing_record(driver.roll_back(newest, f"Stopped by {owner}: {self.reason}", act=act))
        registry = in_namespace(MLflowHook(self.mlflow_conn_id).registry(), self.namespace)
        if newest is not None and newest.owner == owner and newest.state in SERVING_ENDS:
            state = newest
        else:
            now, before = self._versions(registry)
            plan = parse_plan([50])
            state = driver.install(
                plan,
                self.model,
                self.namespace,
                variant_of(before),
                owner,
                champion=variant_of(now),
                reason=self.reason,
            )
        record = closing_record(state)
        move_champion(registry, record, keep_previous=False)
        emit_champion_event(context, self._moved, record)
        self.log.info("%s: version %s serves again instead of %s", self.model, record.challenger, record.champion)
        return record

    def _versions(self, registry: ModelRegistry) -> tuple[RegisteredModel, RegisteredModel]:
        now, before = registry.by_alias(self.model, CHAMPION), registry.by_alias(self.model, PREVIOUS)
        if now is None or before is None or now.version == before.version:
            raise ModelNotFound(
                f"{self.model!r} has no rollout under way and no previous version to go back to",
                f"champion {now.version if now else 'none'}, previous {before.version if before else 'none'}",
                "Register the wanted version and release it by canary().",
            )
        return now, before


@with_arguments_of(RollbackOperator)
def rollback(model: str, *, reason: str, **kwargs: Any) -> Any:
    """Build a `RollbackOperator` from the same arguments and return its output, a `Rollout`."""
    return RollbackOperator(model=model, reason=reason, **kwargs).output
