"""Stage 3, features: a FeatureView over a spine, each value as known at its row's time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.errors import ConfigurationError
from airflow_ml.operators.arguments import is_known, plain
from airflow_ml.operators.base import MLOperator, task_names
from airflow_ml.operators.function import with_arguments_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.feature_view import FeatureView
    from airflow_ml.core.features import FeatureSet

#: Where features are built.
WORKER, WAREHOUSE = "worker", "warehouse"


def read_view(view: Any) -> None:
    """Refuse a mapping that is not a view's definition; a name is looked up among the views."""
    from airflow_ml.core.feature_view import FeatureView

    if isinstance(view, Mapping):
        FeatureView.from_dict(view)


def read_views(views: Any) -> None:
    """Refuse whatever is not a view's definition."""
    for view in views:
        if not isinstance(view, Mapping):
            raise ConfigurationError("Not a feature view", repr(view)[:120], "Give FeatureView objects in views.")
        read_view(view)


def check_view(view: Any, views: Any) -> None:
    """Refuse a view's name that none of the views has, where both are known when the DAG file is parsed."""
    if view is not None and is_known(view) and is_known(views):
        chosen_view(view, views)


def _read_split(split: Any) -> None:
    """Refuse malformed lengths."""
    from airflow_ml.core.time_split import TimeSplit

    TimeSplit.from_dict(split)


class BuildFeaturesOperator(MLOperator):
    """Build the features of a view for every row of a spine, each as known at the row's own time.

    The joined tables are read as of the spine's instant: only the columns that the view names, and only rows that can
    reach a row of the spine: `AsOf` looks back by ``max_age``, `Rolling` by ``window``; a `Lookup` table is read whole.
    What was read is kept as artifacts, so the same features can be built again anywhere.

    Retry, clear: builds the same features again; the artifact has the same digest. Kill, timeout: nothing is stored.

    Args:
        view: A `FeatureView`, or the name of one of ``views`` (templated).
        views: Views to choose from by name, if a parameter of the DAG decides. Default none.
        spine: The `DatasetSnapshot` with one row per prediction (templated).
        split: A `TimeSplit`, counted back from the spine's ``as_of`` (templated).
        engine: ``"worker"`` (default) builds with DuckDB in the task's process; ``"warehouse"`` builds in Snowflake,
            for joined tables that are too large to read. Then only the spine goes there and only the result comes back;
            the tables are not kept as artifacts (templated).
        snowflake_conn_id: Airflow connection of the joined tables (templated).

    Raises:
        FeatureKnownTooLate: an input is known only after the time of prediction.
        ColumnMissing, TableMissing: the spine or a joined table lacks what the view names.
        EmptyDataset: a split has no rows.
    """

    template_fields: Sequence[str] = ("view", "views", "spine", "split", "engine", "snowflake_conn_id")
    ui_color = "#dcfce7"
    argument_rules = {
        "view": rules.either("a FeatureView, or the name of one of views", Mapping, str, read=read_view),
        "views": rules.sequence(read_views, empty=True),
        "spine": rules.record("DatasetSnapshot"),
        "split": rules.either('a TimeSplit, such as TimeSplit(validate="14d", test="14d")', Mapping, read=_read_split),
        "engine": rules.one_of(WORKER, WAREHOUSE),
        "snowflake_conn_id": rules.text(),
    }

    def __init__(
        self,
        view: Any,
        *,
        spine: Any,
        split: Any,
        views: Sequence[Any] = (),
        engine: str = WORKER,
        snowflake_conn_id: str = "snowflake_default",
        task_id: str = "build_features",
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.view = plain(view)
        self.views = plain(views)
        self.spine = plain(spine)
        self.split = plain(split)
        self.engine = engine
        self.snowflake_conn_id = snowflake_conn_id
        self.check_arguments()
        check_view(self.view, self.views)

    def run(self, context: Context) -> FeatureSet:
        """Read the joined tables, build, store."""
        from airflow_ml.core.record import parse_as
        from airflow_ml.core.snapshot import DatasetSnapshot
        from airflow_ml.core.time_split import TimeSplit
        from airflow_ml.operators.feature_building import FeatureBuilding

        spine = parse_as(DatasetSnapshot, self.spine)
        view = chosen_view(self.view, self.views)
        with self.scratch() as folder:
            building = FeatureBuilding(
                view=view,
                spine=spine.artifact,
                as_of=spine.as_of,
                split=TimeSplit.from_dict(self.split),
                store=self.store(),
                conn_id=self.snowflake_conn_id,
                tag=task_names(context),
                folder=folder,
            )
            build = building.in_warehouse if self.engine == WAREHOUSE else building.in_worker
            features = build(parents=(spine.fingerprint,))
        for table, artifact in features.sources.items():
            self.log.info("%s: %s rows, %s bytes read", table, f"{artifact.rows:,}", f"{artifact.size_bytes:,}")
        self.log.info(
            "%s: %s rows %s, %d features, left out %s", view.name, f"{features.rows:,}", dict(features.split_rows),
            len(features.features), dict(features.excluded),
        )  # fmt: skip
        return features


@with_arguments_of(BuildFeaturesOperator)
def build_features(view: Any, **kwargs: Any) -> Any:
    """Build a `BuildFeaturesOperator` from the same arguments and return its output, a `FeatureSet`."""
    return BuildFeaturesOperator(view=view, **kwargs).output


def chosen_view(view: Any, views: Any) -> FeatureView:
    """Return the view, or the one of ``views`` that ``view`` names.

    Raises:
        ConfigurationError: no view has that name.
    """
    from airflow_ml.core.feature_view import FeatureView

    if isinstance(view, Mapping):
        return FeatureView.from_dict(view)
    by_name = {item["name"]: item for item in views}
    if view not in by_name:
        raise ConfigurationError(
            "No feature view has that name", repr(view), f"views= holds {', '.join(sorted(by_name)) or 'none'}."
        )
    return FeatureView.from_dict(by_name[view])
