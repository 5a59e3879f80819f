"""Stage 8, first half: batch scores in the warehouse, which monitoring reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import canonical_json, parse_time
from airflow_ml.core.monitoring import ScoreTable
from airflow_ml.errors import ConfigurationError, EmptyDataset, FeatureViewMismatch, ModelNotFound
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.hooks.variant import variant_of
from airflow_ml.hooks.warehouse import snapshot_source
from airflow_ml.links import ModelPageLink, ModelVersionLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, provenance
from airflow_ml.operators.features import chosen_view, feature_set, source_tables
from airflow_ml.operators.runner_call import run_in_runner
from airflow_ml.operators.snapshot import moment

if TYPE_CHECKING:
    from airflow.sdk import Context


class PredictOperator(MLOperator):
    """Score rows of the warehouse with a registered model and write the scores back, once for each key.

    The features are those of the model's own view, as of each row's time.

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
        "snowflake_conn_id",
        "mlflow_conn_id",
    )
    template_ext: Sequence[str] = (".sql",)
    operator_extra_links = (TaskPageLink(), ModelPageLink(), ModelVersionLink())
    ui_color = "#e0f2fe"

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
        self.snowflake_conn_id = snowflake_conn_id
        self.mlflow_conn_id = mlflow_conn_id

    def run(self, context: Context) -> ScoreTable:
        """Read, build features, score, upsert."""
        from airflow_ml.core.feature_view import FeatureView
        from airflow_ml.runtime.score import score

        name, variant = self._model()
        as_of, store, tag = moment(context, as_of=self.as_of, delay=self.delay), self.store(), provenance(context)
        if self.view is None:
            definition = Artifact.from_dict(variant["view_definition"])
            view = FeatureView.from_dict(json.loads(store.get_bytes(definition)))
        else:
            view = chosen_view(self.view, self.views)
        if view.digest != variant["view_digest"]:
            raise FeatureViewMismatch(
                f"The view {view.name!r} is not the one that {name} version {variant['version']} was trained with",
                f"{view.digest} instead of {variant['view_digest']}",
                "Leave view= out to use the model's own, or train a version with this view.",
            )
        source = snapshot_source(self.snowflake_conn_id)
        with self.scratch() as folder:
            found = source.read(self.spine, self.parameters, as_of=as_of, into=folder / "spine.parquet", tag=tag)
            if not found.rows:
                raise EmptyDataset(f"No rows to score with {name}", "0 rows", "Check the spine's query and as_of.")
            spine = store.put_file(found.path, format="parquet", rows=found.rows, columns=found.columns)
            features = feature_set(
                view,
                store,
                spine=spine,
                sources=source_tables(view.sources, store, self.snowflake_conn_id, as_of, folder, tag),
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
                    "variant": self.model.partition("@")[2] or None,
                },
                store=store,
                namespace=self.namespace,
                log=self.log.info,
            )
            scores = Artifact.from_dict(scored["scores"])
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

    def _model(self) -> tuple[str, dict[str, Any]]:
        name, at, alias = self.model.partition("@")
        registry = MLflowHook(self.mlflow_conn_id).registry()
        if at:
            registered = registry.by_alias(name, alias)
        else:
            name, slash, version = self.model.rpartition("/")
            if not slash:
                raise ConfigurationError(
                    "Not a model", repr(self.model), "Write <name>@<alias>, e.g. churn@champion, or <name>/<version>."
                )
            registered = registry.get(name, version)
        if registered is None:
            raise ModelNotFound(
                "No version has that alias", self.model, "Register a model, or wait for its canary to promote one."
            )
        return name, variant_of(registered)


def predict(model: str, **kwargs: Any) -> Any:
    """Build a `PredictOperator` and return its output, a `ScoreTable`; arguments as there."""
    return PredictOperator(model=model, **kwargs).output
