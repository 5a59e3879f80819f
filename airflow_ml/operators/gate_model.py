"""Stage 2 again, for models: behavioural checks on the sealed holdout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.errors import AirflowMLError
from airflow_ml.hooks.mlflow import MLflowHook
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, task_names
from airflow_ml.operators.function import with_arguments_of
from airflow_ml.operators.gate import REPORT_KEY, error_report, log_checks, stop_unless_passed

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.features import FeatureSet
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.core.selection import Selection


def _read_checks(checks: Any) -> None:
    from airflow_ml.core.model_checks import check_from_dict

    for item in checks:
        check_from_dict(item)


class GateModelOperator(MLOperator):
    """Test a selected model on the holdout that no trial has seen, and pass it on.

    This is the only place that opens the test split. The champion, if there is one, is scored on the same rows with the
    features of its own view. The report is a record of its own, under the XCom key ``report``.

    Retry, clear: tests again, with the same result while the champion is the same. Kill, timeout: nothing is passed on.

    Args:
        selection: The `Selection` to test (templated).
        data: The `FeatureSet` whose test split is the holdout (templated).
        checks: Checks such as ``MinMetric``, ``SliceMetric``, ``NotWorseThanChampion``, ``BeatsBaseline`` (templated).
        model: Name of the registered model with whose champion to compare; None (default) for no comparison
            (templated).
        mlflow_conn_id: Airflow connection of the registry (templated).
        snowflake_conn_id: Airflow connection of tables that only the champion's view joins (templated).
        timeout_seconds: Of the scoring. Default 1800.

    Raises:
        GateBlocked: a critical check failed.
        GateErrored: the gate could not decide.
    """

    template_fields: Sequence[str] = (
        "selection",
        "data",
        "checks",
        "model",
        "mlflow_conn_id",
        "snowflake_conn_id",
        "timeout_seconds",
    )
    ui_color = "#fef3c7"
    argument_rules = {
        "selection": rules.record("Selection"),
        "data": rules.record("FeatureSet"),
        "checks": rules.sequence(_read_checks),
        "model": rules.text(optional=True),
        "mlflow_conn_id": rules.text(),
        "snowflake_conn_id": rules.text(),
        "timeout_seconds": rules.number(above=0),
    }

    def __init__(
        self,
        selection: Any,
        *,
        data: Any,
        checks: Sequence[Any],
        model: str | None = None,
        mlflow_conn_id: str = "mlflow_default",
        snowflake_conn_id: str = "snowflake_default",
        timeout_seconds: float = 1800.0,
        task_id: str = "gate_model",
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id, **kwargs)
        self.selection = plain(selection)
        self.data = plain(data)
        self.checks = plain(checks)
        self.model = model
        self.mlflow_conn_id = mlflow_conn_id
        self.snowflake_conn_id = snowflake_conn_id
        self.timeout_seconds = timeout_seconds
        self.check_arguments()

    def run(self, context: Context) -> Selection:
        """Score, check, report, and pass the selection on or stop."""
        from airflow_ml.core.artifact import Artifact
        from airflow_ml.core.features import TEST, FeatureSet
        from airflow_ml.core.fingerprint import canonical_json
        from airflow_ml.core.gate import GateReport, count_failed, decide_model, most_important
        from airflow_ml.core.model_checks import check_from_dict, evaluate, needed_columns
        from airflow_ml.core.record import JSON, encode, parse_as
        from airflow_ml.core.selection import Selection
        from airflow_ml.operators.runner_call import run_in_runner
        from airflow_ml.runtime.evaluate import score_holdout
        from airflow_ml.runtime.holdout import read_holdout

        selection = parse_as(Selection, self.selection)
        features = parse_as(FeatureSet, self.data)
        store = self.store()
        try:
            checks = [check_from_dict(item) for item in self.checks]
            champion = self._champion()
            slices = needed_columns(checks)
            scored = run_in_runner(
                score_holdout,
                {
                    "features": features.to_dict(),
                    "candidate": selection.models.to_dict(),
                    "champion": None if champion is None else dict(champion["models"]),
                    "champion_features": self._champion_features(context, store, features, champion),
                    "slices": list[JSON](slices),
                },
                store=store,
                namespace=self.namespace,
                log=self.log.info,
                timeout_seconds=float(self.timeout_seconds),
            )
            holdout_artifact = Artifact.from_dict(scored)
            results = evaluate(checks, read_holdout(store.path(holdout_artifact), slices=slices))
            verdict, reason = decide_model(results)
        except AirflowMLError as error:
            rows = features.split_rows.get(TEST, 0)
            report = error_report(selection.fingerprint, error, kind="model", rows=rows)
            self.push_record(context, REPORT_KEY, report)
            raise
        report = GateReport(
            subject=selection.fingerprint,
            kind="model",
            verdict=verdict,
            reason=reason,
            checks=most_important(results),
            checks_run=len(results),
            checks_failed=count_failed(results),
            rows=features.split_rows.get(TEST, 0),
            report=store.put_bytes(
                canonical_json({"checks": encode(results), "holdout": holdout_artifact.to_dict()}), format="json"
            ),
        )
        self.push_record(context, REPORT_KEY, report)
        log_checks(self.log, results, report)
        stop_unless_passed(report, "the model")
        return selection

    def _champion(self) -> dict[str, Any] | None:
        from airflow_ml.adapters.namespaced_registry import in_namespace
        from airflow_ml.core.aliases import CHAMPION
        from airflow_ml.hooks.variant import variant_of

        if not self.model:
            return None
        registered = in_namespace(MLflowHook(self.mlflow_conn_id).registry(), self.namespace).by_alias(
            self.model, CHAMPION
        )
        if registered is None:
            self.log.info("%s has no champion yet: there is nothing to compare with.", self.model)
            return None
        return variant_of(registered)

    def _champion_features(
        self, context: Context, store: ArtifactStore, features: FeatureSet, champion: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """Return the champion's own view over the same spine, or None where the candidate's data has it already."""
        from airflow_ml.core.artifact import Artifact
        from airflow_ml.core.feature_view import FeatureView
        from airflow_ml.operators.feature_building import FeatureBuilding

        if champion is None or champion["view_digest"] == features.view_digest:
            return None
        definition = Artifact.from_dict(champion["view_definition"])
        view = FeatureView.from_dict(json.loads(store.get_bytes(definition)))
        with self.scratch() as folder:
            # Tables are read anew: the candidate's features hold only what its own view can use of them.
            built = FeatureBuilding(
                view=view,
                spine=features.spine,
                as_of=features.as_of,
                split=None,
                store=store,
                conn_id=self.snowflake_conn_id,
                tag=task_names(context),
                folder=folder,
            ).in_worker(parents=(features.fingerprint,))
        return built.to_dict()


@with_arguments_of(GateModelOperator)
def gate_model(selection: Any, **kwargs: Any) -> Any:
    """Build a `GateModelOperator` from the same arguments and return its output, the selection that passed."""
    return GateModelOperator(selection=selection, **kwargs).output
