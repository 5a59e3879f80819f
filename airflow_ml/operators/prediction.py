"""Stage 8, first half: batch scores in the warehouse, which monitoring reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.arms import SHADOW_STEP, challengers_of, effective_weight, in_shadow
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.fingerprint import canonical_json, parse_time
from airflow_ml.core.metric_query import EXPOSURES_TABLE, SHADOW_TABLE
from airflow_ml.core.monitoring import ScoreTable
from airflow_ml.core.served_name import served_name
from airflow_ml.core.variant_sql import SALT, divided_spine
from airflow_ml.errors import AirflowMLError, ConfigurationError, EmptyDataset, FeatureViewMismatch, ModelNotFound
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.hooks.variant import variant_of
from airflow_ml.hooks.warehouse import snapshot_source, warehouse_router
from airflow_ml.links import ModelPageLink, ModelVersionLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, provenance
from airflow_ml.operators.features import check_view, chosen_view, feature_set, read_view, read_views, source_tables
from airflow_ml.operators.prediction_split import (
    EXPOSURE_KEY,
    SHADOW_KEY,
    Part,
    parts_of,
    write_exposures,
    write_shadow_scores,
)
from airflow_ml.operators.runner_call import run_in_runner
from airflow_ml.operators.snapshot import moment

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.feature_view import FeatureView
    from airflow_ml.core.ports import SnapshotSource, Traffic


def _read_name(model: Any) -> None:
    """Refuse a model's name without alias or version."""
    name, _, which = model.partition("@") if "@" in model else model.rpartition("/")
    if not name or not which:
        raise ConfigurationError(
            "Not a model", repr(model), "Write <name>@<alias>, e.g. churn@champion, or <name>/<version>."
        )


class PredictOperator(MLOperator):
    """Score rows of the warehouse with a registered model and write the scores back, once for each key.

    The features are those of the model's own view, as of each row's time.

    With ``router_conn_id`` a rollout in the warehouse is honoured: a hash of each row's unit, computed in SQL, chooses
    champion or challenger by the weight in effect when the batch starts; each scores its rows with its own view. Who
    was scored by what goes into ``exposures``, from which the rollout reads its metric. In a step in shadow the
    champion scores all rows, and so does each challenger afterwards, into ``shadow_scores``; if that fails, the batch
    is none the worse.

    Retry, clear: writes the same rows again under the same keys; nothing is doubled. Kill: the upsert is one
    transaction. Timeout: as kill.

    Args:
        model: ``<name>@<alias>`` or ``<name>/<version>`` (templated).
        view: The `FeatureView`, or the name of one of ``views`` (templated); None takes the model's own from the
            registry. A view with another digest than the model's is refused.
        views: Views to choose from by name.
        spine: A SELECT of the rows to score, or the path of a ``.sql`` file beside the DAG file (templated).
        into: Table that the scores are upserted into, by the view's key and the model's name (templated).
        parameters: Values bound into ``spine`` (templated); ``%(as_of)s`` is always there.
        as_of, delay: As in `SnapshotDatasetOperator` (templated).
        router_conn_id: Airflow connection of the warehouse that `canary` divides the rows in (templated); None: the
            model alone scores. Until there is a rollout it does so, too.
        unit: With ``router_conn_id``: the spine's column of the randomization unit, for example a customer (templated).
        exposures: With ``router_conn_id``: the table of exposures, created at the first batch (templated).
        shadow_scores: Likewise the table of what challengers said in shadow (templated).
        snowflake_conn_id, mlflow_conn_id: Airflow connections (templated).

    Raises:
        ModelNotFound: no such version or alias.
        FeatureViewMismatch: the view is not the one that the model was trained with.
        EmptyDataset: no rows to score.
    """

    template_fields: Sequence[str] = (
        "model",
        "view",
        "views",
        "spine",
        "into",
        "parameters",
        "as_of",
        "delay",
        "router_conn_id",
        "unit",
        "exposures",
        "shadow_scores",
        "snowflake_conn_id",
        "mlflow_conn_id",
    )
    template_ext: Sequence[str] = (".sql",)
    operator_extra_links = (TaskPageLink(), ModelPageLink(), ModelVersionLink())
    ui_color = "#e0f2fe"
    argument_rules = {  # noqa: RUF012 - never changed
        "model": rules.either(
            "the name of a model with an alias or version, such as churn@champion", str, read=_read_name
        ),
        "view": rules.either("a FeatureView, or the name of one of views", Mapping, str, read=read_view, optional=True),
        "views": rules.sequence(read_views, empty=True),
        "spine": rules.text(),
        "into": rules.text(),
        "parameters": rules.mapping(),
        "as_of": rules.instant(),
        "delay": rules.duration(),
        "router_conn_id": rules.text(optional=True),
        "unit": rules.text(empty=True),
        "exposures": rules.text(),
        "shadow_scores": rules.text(),
        "snowflake_conn_id": rules.text(),
        "mlflow_conn_id": rules.text(),
    }

    def __init__(
        self,
        *,
        model: str,
        spine: str,
        into: str,
        view: Any = None,
        views: Sequence[Any] = (),
        parameters: Mapping[str, Any] | None = None,
        as_of: str | datetime | None = None,
        delay: str = "0s",
        router_conn_id: str | None = None,
        unit: str = "",
        exposures: str = EXPOSURES_TABLE,
        shadow_scores: str = SHADOW_TABLE,
        snowflake_conn_id: str = "snowflake_default",
        mlflow_conn_id: str = "mlflow_default",
        task_id: str = "predict",
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.model = model
        self.spine = spine
        self.into = into
        self.view = plain(view)
        self.views = plain(views)
        self.parameters = plain(parameters) if parameters is not None else {}
        self.as_of = plain(as_of)
        self.delay = delay
        self.router_conn_id = router_conn_id
        self.unit = unit
        self.exposures = exposures
        self.shadow_scores = shadow_scores
        self.snowflake_conn_id = snowflake_conn_id
        self.mlflow_conn_id = mlflow_conn_id
        self.check_arguments()
        check_view(self.view, self.views)

    def run(self, context: Context) -> ScoreTable:
        """Read, divide, build features, score, upsert."""
        name, variant = self._model()
        as_of, tag = moment(context, as_of=self.as_of, delay=self.delay), provenance(context)
        source = snapshot_source(self.snowflake_conn_id)
        traffic = self._traffic(name)
        statement, values, weight = self.spine, dict(self.parameters), 0.0
        arms: dict[str, Mapping[str, Any]] = {}
        if traffic is not None:
            now, arms = datetime.now(UTC), challengers_of(traffic)
            weight = effective_weight(traffic, now)
            if in_shadow(traffic, now):
                self.log.info("Rollout %s: %s score in shadow", traffic.epoch, ", ".join(arms))
            else:
                self.log.info("Rollout %s: each challenger scores %g %% of units", traffic.epoch, weight)
            statement = divided_spine(self.spine, unit=self.unit, weight_percent=weight, arms=tuple(arms))
            values.update({SALT: traffic.salt} if SALT in statement else {})
        with self.scratch() as folder:
            found = source.read(statement, values, as_of=as_of, into=folder / "spine.parquet", tag=tag)
            whole = Part(variant="", spine=found.path, rows=found.rows, columns=found.columns)
            parts = parts_of(whole, folder, tuple(arms)) if traffic is not None else [whole] if whole.rows else []
            if not parts:
                raise EmptyDataset(f"No rows to score with {name}", "0 rows", "Check the spine's query and as_of.")
            tables = []
            for part in parts:
                scoring = variant if traffic is None else dict(_of(traffic, part.variant))
                table = self._score(source, part, name, scoring, as_of, folder, tag)
                tables.append(table)
                if traffic is not None:
                    step = SHADOW_STEP if in_shadow(traffic, now) else ""
                    self._expose(source, part, table, traffic, weight, folder, tag, step)
                    if step:
                        self._shadow(source, part, name, traffic, as_of, folder, tag)
        # Monitoring compares with what the champion learned; its own rows come first.
        return replace(tables[0], rows=sum(table.rows for table in tables))

    def _score(
        self,
        source: SnapshotSource,
        part: Part,
        name: str,
        variant: Mapping[str, Any],
        as_of: datetime,
        folder: Path,
        tag: Mapping[str, str],
        *,
        heard: bool = True,
    ) -> ScoreTable:
        """Score one variant's rows and, if it is heard, upsert the scores."""
        from airflow_ml.runtime.score import score

        store = self.store()
        view = self._view(name, variant)
        spine = store.put_file(part.spine, format="parquet", rows=part.rows, columns=part.columns)
        features = feature_set(
            view,
            store,
            spine=spine,
            sources=source_tables(view.sources, store, self.snowflake_conn_id, as_of, folder, dict(tag)),
            as_of=as_of,
            split=None,
            folder=folder,
            parents=(),
        )
        scored = run_in_runner(
            score,
            {
                "features": features.to_dict(),
                "model": variant["models"],
                "name": name,
                "version": variant["version"],
                "variant": part.variant or self.model.partition("@")[2] or None,
            },
            store=store,
            namespace=self.namespace,
            log=self.log.info,
        )
        scores = Artifact.from_dict(scored["scores"])
        written = part.rows
        if heard:
            written = source.write_table(self.into, store.path(scores), key=[view.key, "model"], tag=tag)
            self.log.info("%s: %s scores of %s version %s", self.into, f"{written:,}", name, variant["version"])
        return ScoreTable(
            model=name,
            version=variant["version"],
            view_digest=view.digest,
            table=self.into,
            rows=written,
            start_at=parse_time(scored["start_at"]),
            end_at=parse_time(scored["end_at"]),
            artifact=scores,
            models=Artifact.from_dict(variant["models"]),
            features=store.put_bytes(canonical_json(features.to_dict()), format="json"),
            reference=Artifact.from_dict(variant["data"]),
            parents=(features.fingerprint,),
        )

    def _view(self, name: str, variant: Mapping[str, Any]) -> FeatureView:
        from airflow_ml.core.feature_view import FeatureView

        if self.view is None:
            definition = Artifact.from_dict(variant["view_definition"])
            return FeatureView.from_dict(json.loads(self.store().get_bytes(definition)))
        view = chosen_view(self.view, self.views)
        if view.digest != variant["view_digest"]:
            raise FeatureViewMismatch(
                f"The view {view.name!r} is not the one that {name} version {variant['version']} was trained with",
                f"{view.digest} instead of {variant['view_digest']}",
                "Leave view= out to use the model's own, or train a version with this view.",
            )
        return view

    def _traffic(self, name: str) -> Traffic | None:
        """Return how the warehouse divides the rows; None without a router, or before its first rollout."""
        if self.router_conn_id is None:
            return None
        if not self.unit:
            raise ConfigurationError(
                "Rows cannot be divided without a randomization unit", "unit is empty", "Name a column of the spine."
            )
        return warehouse_router(self.router_conn_id, self.store()).read(served_name(name, self.namespace))

    def _expose(
        self,
        source: SnapshotSource,
        part: Part,
        table: ScoreTable,
        traffic: Traffic,
        weight: float,
        folder: Path,
        tag: Mapping[str, str],
        step: str,
    ) -> None:
        """Write down who was scored by what, for the metric of the rollout."""
        store = self.store()
        features = FeatureSet.from_dict(json.loads(store.get_bytes(table.features)))
        path = folder / f"exposures-{part.variant}.parquet"
        write_exposures(
            part,
            store.path(table.artifact),
            path,
            model=traffic.model,
            epoch=traffic.epoch,
            weight_percent=weight,
            version=table.version,
            key=features.key,
            predict_at=features.predict_at,
            unit=self.unit,
            step=step,
        )
        source.write_table(self.exposures, path, key=EXPOSURE_KEY, tag=tag)

    def _shadow(
        self,
        source: SnapshotSource,
        part: Part,
        name: str,
        traffic: Traffic,
        as_of: datetime,
        folder: Path,
        tag: Mapping[str, str],
    ) -> None:
        """Let each challenger score the champion's rows unheard; what fails there fails no batch."""
        for arm, variant in challengers_of(traffic).items():
            if arm in traffic.stopped:
                continue
            path = folder / f"shadow-{arm}.parquet"
            try:
                theirs = replace(part, variant=arm)
                table = self._score(source, theirs, name, dict(variant), as_of, folder, tag, heard=False)
                features = FeatureSet.from_dict(json.loads(self.store().get_bytes(table.features)))
                write_shadow_scores(
                    self.store().path(table.artifact),
                    path,
                    model=traffic.model,
                    epoch=traffic.epoch,
                    arm=arm,
                    version=table.version,
                    key=features.key,
                )
                source.write_table(self.shadow_scores, path, key=SHADOW_KEY, tag=tag)
            except (AirflowMLError, OSError) as error:
                self.log.warning("%s has no scores of this batch in shadow: %s", arm, error)

    def _model(self) -> tuple[str, dict[str, Any]]:
        name, at, alias = self.model.partition("@")
        registry = MLflowHook(self.mlflow_conn_id).registry()
        if at:
            registered = registry.by_alias(name, alias)
        else:
            name, _, version = self.model.rpartition("/")
            registered = registry.get(name, version)
        if registered is None:
            raise ModelNotFound(
                "No version has that alias", self.model, "Register a model, or wait for its canary to promote one."
            )
        return name, variant_of(registered)


def _of(traffic: Traffic, variant: str) -> Mapping[str, Any]:
    """Return who scores the rows of an arm: of a stopped one, and of the champion's own, the champion."""
    return traffic.champion if variant in traffic.stopped else challengers_of(traffic).get(variant, traffic.champion)


def predict(model: str, **kwargs: Any) -> Any:
    """Build a `PredictOperator` and return its output, a `ScoreTable`; arguments as there."""
    return PredictOperator(model=model, **kwargs).output
