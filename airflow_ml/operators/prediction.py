"""Stage 8, batch scoring: writes scores to the warehouse, which monitoring reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.exposures import EXPOSURES_TABLE, SHADOW_TABLE
from airflow_ml.errors import ConfigurationError
from airflow_ml.links import ModelPageLink, ModelVersionLink, TaskPageLink
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator
from airflow_ml.operators.features import check_view, read_view, read_views
from airflow_ml.operators.function import with_arguments_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.monitoring import ScoreTable


def _read_name(model: Any) -> None:
    """Refuse a model's name without alias or version."""
    name, _, which = model.partition("@") if "@" in model else model.rpartition("/")
    if not name or not which:
        raise ConfigurationError(
            "Not a model", repr(model), "Write <name>@<alias>, e.g. churn@champion, or <name>/<version>."
        )


class PredictOperator(MLOperator):
    """Score rows of the warehouse with a registered model, and upsert the scores by key.

    The features are those of the model's own view, as of each row's time.

    With ``router_conn_id`` a rollout in the warehouse is respected: a hash of each row's unit, computed in SQL, chooses
    champion or challenger by the weight in effect when the batch starts, and each scores its rows with its own view.
    Which version scored which unit is written to ``exposures``, from which the rollout reads its metric. During a step
    in shadow the champion scores all rows, and so does each challenger afterwards, into ``shadow_scores``; a failure
    there does not fail the batch.

    Retry, clear: writes the same rows again under the same keys; nothing is duplicated. Kill, timeout: the upsert is
    one transaction.

    Args:
        model: ``<name>@<alias>`` or ``<name>/<version>`` (templated).
        view: The `FeatureView`, or the name of one of ``views`` (templated); None takes the model's own from the
            registry. A view with another digest than the model's is refused.
        views: Views to choose from by name.
        spine: A SELECT of the rows to score, or the path of a ``.sql`` file beside the DAG file (templated).
        into: Table that the scores are upserted into, by the view's key and the model's name (templated).
        parameters: Values bound into ``spine`` (templated); ``%(as_of)s`` is always bound.
        as_of, delay: As in `SnapshotDatasetOperator` (templated).
        router_conn_id: Airflow connection of the warehouse in which `canary` divides the rows (templated). None: the
            model scores all rows, as it also does before the first rollout.
        unit: With ``router_conn_id``: the spine's column of the randomization unit, for example a customer (templated).
        exposures: With ``router_conn_id``: the table of exposures, created at the first batch (templated).
        shadow_scores: Likewise the table of the challengers' scores in shadow (templated).
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
    argument_rules = {
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
        model: str,
        *,
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
        from airflow_ml.operators.batch_scoring import score_rows

        return score_rows(self, context)


@with_arguments_of(PredictOperator)
def predict(model: str, **kwargs: Any) -> Any:
    """Build a `PredictOperator` from the same arguments and return its output, a `ScoreTable`."""
    return PredictOperator(model=model, **kwargs).output
