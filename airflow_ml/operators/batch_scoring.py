"""Stage 8, batch scoring, when the task runs: read the rows, divide them, build features, score, write back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.adapters.namespaced_registry import in_namespace
from airflow_ml.core.arms import SHADOW_STEP, challengers_of, effective_weight, in_shadow
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.exposures import EXPOSURE_KEY, SHADOW_KEY
from airflow_ml.core.feature_view import FeatureView
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.fingerprint import canonical_json, parse_time
from airflow_ml.core.monitoring import ScoreTable
from airflow_ml.core.served_name import served_name
from airflow_ml.core.variant_sql import SALT, divided_spine
from airflow_ml.errors import AirflowMLError, ConfigurationError, EmptyDataset, FeatureViewMismatch, ModelNotFound
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.hooks.variant import variant_of
from airflow_ml.hooks.warehouse import snapshot_source, warehouse_router
from airflow_ml.operators.base import task_names
from airflow_ml.operators.feature_building import FeatureBuilding
from airflow_ml.operators.features import chosen_view
from airflow_ml.operators.prediction_split import VariantRows, split_spine, write_exposures, write_shadow_scores
from airflow_ml.operators.runner_call import run_in_runner
from airflow_ml.operators.snapshot import resolve_as_of
from airflow_ml.runtime.score import score

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import ArtifactStore, SnapshotSource, Traffic
    from airflow_ml.operators.prediction import PredictOperator


def score_rows(operator: PredictOperator, context: Context) -> ScoreTable:
    """Score the rows of a `PredictOperator` and write the scores back; raises what its docstring lists."""
    name, variant = _registered(operator)
    as_of = resolve_as_of(context, as_of=operator.as_of, delay=operator.delay)
    source, tag = snapshot_source(operator.snowflake_conn_id), task_names(context)
    traffic = _traffic(operator, name)
    statement, values, weight = operator.spine, dict(operator.parameters), 0.0
    arms: dict[str, Mapping[str, Any]] = {}
    if traffic is not None:
        now, arms = datetime.now(UTC), challengers_of(traffic)
        weight = effective_weight(traffic, now)
        if in_shadow(traffic, now):
            operator.log.info("Rollout %s: %s score in shadow", traffic.epoch, ", ".join(arms))
        else:
            operator.log.info("Rollout %s: each challenger scores %g %% of units", traffic.epoch, weight)
        statement = divided_spine(operator.spine, unit=operator.unit, weight_percent=weight, arms=tuple(arms))
        values.update({SALT: traffic.salt} if SALT in statement else {})
    with operator.scratch() as folder:
        found = source.read(statement, values, as_of=as_of, into=folder / "spine.parquet", tag=tag)
        whole = VariantRows(variant="", spine=found.path, rows=found.rows, columns=found.columns)
        parts = split_spine(whole, folder, tuple(arms)) if traffic is not None else [whole] if whole.rows else []
        if not parts:
            raise EmptyDataset(f"No rows to score with {name}", "0 rows", "Check the spine's query and as_of.")
        batch = _Batch(operator, name, operator.store(), source, as_of, folder, tag)
        tables = []
        for part in parts:
            table = batch.score(part, variant if traffic is None else dict(_variant_for(traffic, part.variant)))
            tables.append(table)
            if traffic is not None:
                step = SHADOW_STEP if in_shadow(traffic, now) else ""
                batch.record_exposures(part, table, traffic, weight_percent=weight, step=step)
                if step:
                    batch.score_in_shadow(part, traffic)
    # Monitoring compares with what the champion learned; its own rows come first.
    return replace(tables[0], rows=sum(table.rows for table in tables))


@dataclass(frozen=True, slots=True)
class _Batch:
    """What all parts of a batch have in common: the operator, the model, source and store, the instant."""

    operator: PredictOperator
    #: Name of the registered model.
    name: str
    store: ArtifactStore
    source: SnapshotSource
    as_of: datetime
    folder: Path
    tag: Mapping[str, str]

    def score(self, part: VariantRows, variant: Mapping[str, Any], *, served: bool = True) -> ScoreTable:
        """Score one variant's rows and, unless it only shadows, upsert the scores."""
        operator, store, version = self.operator, self.store, variant["version"]
        view = _view(operator, store, self.name, variant)
        spine = store.put_file(part.spine, format="parquet", rows=part.rows, columns=part.columns)
        features = FeatureBuilding(
            view=view,
            spine=spine,
            as_of=self.as_of,
            split=None,
            store=store,
            conn_id=operator.snowflake_conn_id,
            tag=self.tag,
            folder=self.folder,
        ).in_worker()
        scored = run_in_runner(
            score,
            {
                "features": features.to_dict(),
                "model": variant["models"],
                "name": self.name,
                "version": version,
                "variant": part.variant or operator.model.partition("@")[2] or None,
            },
            store=store,
            namespace=operator.namespace,
            log=operator.log.info,
        )
        scores = Artifact.from_dict(scored["scores"])
        written = part.rows
        if served:
            written = self.source.write_table(operator.into, store.path(scores), key=[view.key, "model"], tag=self.tag)
            operator.log.info("%s: %s scores of %s version %s", operator.into, f"{written:,}", self.name, version)
        return ScoreTable(
            model=self.name,
            version=version,
            view_digest=view.digest,
            table=operator.into,
            rows=written,
            start_at=parse_time(scored["start_at"]),
            end_at=parse_time(scored["end_at"]),
            artifact=scores,
            models=Artifact.from_dict(variant["models"]),
            features=store.put_bytes(canonical_json(features.to_dict()), format="json"),
            reference=Artifact.from_dict(variant["data"]),
            parents=(features.fingerprint,),
        )

    def record_exposures(
        self, part: VariantRows, table: ScoreTable, traffic: Traffic, *, weight_percent: float, step: str
    ) -> None:
        """Upsert which version scored which unit, from which the rollout reads its metric."""

        def write(scores: Path, features: FeatureSet, into: Path) -> None:
            write_exposures(
                part,
                scores,
                into,
                model=traffic.model,
                epoch=traffic.epoch,
                weight_percent=weight_percent,
                version=table.version,
                key=features.key,
                predict_at=features.predict_at,
                unit=self.operator.unit,
                step=step,
            )

        self._upsert(table, self.operator.exposures, EXPOSURE_KEY, f"exposures-{part.variant}", write)

    def score_in_shadow(self, part: VariantRows, traffic: Traffic) -> None:
        """Score the champion's rows with each challenger too, serving none of it; a failure is only a warning."""
        for arm, variant in challengers_of(traffic).items():
            if arm not in traffic.stopped:
                try:
                    self._score_arm_in_shadow(replace(part, variant=arm), variant, traffic)
                except (AirflowMLError, OSError) as error:
                    self.operator.log.warning("%s could not score this batch in shadow: %s", arm, error)

    def _score_arm_in_shadow(self, part: VariantRows, variant: Mapping[str, Any], traffic: Traffic) -> None:
        table = self.score(part, variant, served=False)

        def write(scores: Path, features: FeatureSet, into: Path) -> None:
            write_shadow_scores(
                scores,
                into,
                model=traffic.model,
                epoch=traffic.epoch,
                arm=part.variant,
                version=table.version,
                key=features.key,
            )

        self._upsert(table, self.operator.shadow_scores, SHADOW_KEY, f"shadow-{part.variant}", write)

    def _upsert(
        self,
        table: ScoreTable,
        into: str,
        key: Sequence[str],
        name: str,
        write: Callable[[Path, FeatureSet, Path], None],
    ) -> None:
        """Upsert into a warehouse table the file that ``write`` makes of a part's scores and features."""
        features = FeatureSet.from_dict(json.loads(self.store.get_bytes(table.features)))
        path = self.folder / f"{name}.parquet"
        write(self.store.path(table.artifact), features, path)
        self.source.write_table(into, path, key=key, tag=self.tag)


def _registered(operator: PredictOperator) -> tuple[str, dict[str, Any]]:
    name, at, alias = operator.model.partition("@")
    registry = in_namespace(MLflowHook(operator.mlflow_conn_id).registry(), operator.namespace)
    if at:
        registered = registry.by_alias(name, alias)
    else:
        name, _, version = operator.model.rpartition("/")
        registered = registry.get(name, version)
    if registered is None:
        raise ModelNotFound(
            "No version has that alias", operator.model, "Register a model, or wait for its canary to promote one."
        )
    return name, variant_of(registered)


def _traffic(operator: PredictOperator, name: str) -> Traffic | None:
    """Return how the warehouse divides the rows; None without a router, or before the first rollout."""
    if operator.router_conn_id is None:
        return None
    if not operator.unit:
        raise ConfigurationError(
            "Rows cannot be divided without a randomization unit", "unit is empty", "Name a column of the spine."
        )
    router = warehouse_router(operator.router_conn_id, operator.store())
    return router.read(served_name(name, operator.namespace))


def _view(operator: PredictOperator, store: ArtifactStore, name: str, variant: Mapping[str, Any]) -> FeatureView:
    if operator.view is None:
        definition = Artifact.from_dict(variant["view_definition"])
        return FeatureView.from_dict(json.loads(store.get_bytes(definition)))
    view = chosen_view(operator.view, operator.views)
    if view.digest != variant["view_digest"]:
        raise FeatureViewMismatch(
            f"The view {view.name!r} is not the one that {name} version {variant['version']} was trained with",
            f"{view.digest} instead of {variant['view_digest']}",
            "Leave view= out to use the model's own, or train a version with this view.",
        )
    return view


def _variant_for(traffic: Traffic, variant: str) -> Mapping[str, Any]:
    """Return the variant that scores an arm's rows: the champion for its own rows and those of a stopped arm."""
    return traffic.champion if variant in traffic.stopped else challengers_of(traffic).get(variant, traffic.champion)
