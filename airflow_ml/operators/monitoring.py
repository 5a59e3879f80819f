"""Stage 8, monitoring: drift and live error of the scores in the warehouse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias

from airflow_ml.core import argument_rules as rules
from airflow_ml.errors import ConfigurationError
from airflow_ml.hooks.warehouse import snapshot_source
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, task_names
from airflow_ml.operators.function import with_arguments_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.artifact import Artifact
    from airflow_ml.core.features import FeatureSet
    from airflow_ml.core.monitoring import DriftReport, ScoreTable
    from airflow_ml.core.record import JSON


class MonitorOperator(MLOperator):
    """Measure how far scored rows have moved from the training data, and the error of rows whose outcome is known.

    The reference is the holdout on which the model was accepted: rows that it did not learn from. Drift emits an event
    of ``drift_asset``, so that a training DAG scheduled on it runs again. Without drift the task succeeds without an
    event.

    Retry, clear: measures again, with the same result. Kill, timeout: nothing is stored.

    Args:
        scores: The `ScoreTable` of a predict task (templated).
        outcomes: A SELECT of key and label of the rows whose outcome is known, each key once, or the path of a ``.sql``
            file; None measures drift only (templated).
        parameters: Values bound into ``outcomes`` (templated).
        as_of, delay: As in `SnapshotDatasetOperator` (templated).
        drift_asset: The `Asset` that gets an event on drift. None (default): no event.
        snowflake_conn_id: Airflow connection of the outcomes (templated).

    Raises:
        ColumnMissing: the outcomes lack the key or the label.
        ConfigurationError: the outcomes contain a key twice.
    """

    template_fields: Sequence[str] = ("scores", "outcomes", "parameters", "as_of", "delay", "snowflake_conn_id")
    template_ext: Sequence[str] = (".sql",)
    ui_color = "#e0f2fe"
    argument_rules = {
        "scores": rules.record("ScoreTable"),
        "outcomes": rules.text(optional=True),
        "parameters": rules.mapping(),
        "as_of": rules.instant(),
        "delay": rules.duration(),
        "snowflake_conn_id": rules.text(),
    }

    def __init__(
        self,
        scores: Any,
        *,
        outcomes: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        as_of: str | datetime | None = None,
        delay: str = "0s",
        drift_asset: Asset | None = None,
        snowflake_conn_id: str = "snowflake_default",
        task_id: str = "monitor",
        **kwargs: Any,
    ) -> None:
        if drift_asset is not None and not isinstance(drift_asset, Asset):
            raise ConfigurationError("drift_asset is not an asset", repr(drift_asset)[:120], 'Give Asset("name").')
        # An outlet that is an asset would emit an event at every success; an alias emits one only where one is added.
        alias = AssetAlias(f"{drift_asset.name}:drift") if drift_asset is not None else None
        outlets = [*kwargs.pop("outlets", []), *([alias] if alias is not None else [])]
        super().__init__(task_id=task_id, outlets=outlets, **kwargs)
        self.drift_asset = drift_asset
        self._alias = alias
        self.scores = plain(scores)
        self.outcomes = outcomes
        self.parameters = plain(parameters) if parameters is not None else {}
        self.as_of = plain(as_of)
        self.delay = delay
        self.snowflake_conn_id = snowflake_conn_id
        self.check_arguments()

    def run(self, context: Context) -> DriftReport:
        """Compare, judge, report."""
        from airflow_ml.core.features import TEST, FeatureSet
        from airflow_ml.core.fingerprint import canonical_json
        from airflow_ml.core.monitoring import DriftReport, ScoreTable
        from airflow_ml.core.record import parse_as
        from airflow_ml.runtime.drift import measure_drift
        from airflow_ml.runtime.live_rows import join_live

        scores = parse_as(ScoreTable, self.scores)
        store = self.store()
        live, reference = (
            parse_as(FeatureSet, json.loads(store.get_bytes(artifact)))
            for artifact in (scores.features, scores.reference)
        )
        with self.scratch() as folder:
            outcomes = self._outcomes(context, folder)
            old, new = folder / "reference.parquet", folder / "live.parquet"
            join_live(
                store.path(reference.artifact), store.path(self._reference_scores(scores, reference)), None,
                key=reference.key, predict_at=reference.predict_at, label=reference.label, into=old,
            )  # fmt: skip
            join_live(
                store.path(live.artifact), store.path(scores.artifact), outcomes,
                key=live.key, predict_at=live.predict_at, label=live.label, into=new,
            )  # fmt: skip
            findings = measure_drift(
                old,
                new,
                features=live.features,
                score="score",
                label=live.label if outcomes is not None else None,
                time=live.predict_at,
                reference_split=TEST,
            )
        report = DriftReport(
            model=scores.model,
            version=scores.version,
            drifted=findings.drifted,
            reason=findings.reason,
            measures=findings.measures[:20],
            error_by_week=findings.error_by_week,
            rows=findings.rows,
            outcomes=findings.outcomes,
            report=store.put_bytes(canonical_json(findings.report), format="json"),
            parents=(scores.fingerprint,),
        )
        self.log.info("%s: %s", "Drift" if report.drifted else "No drift", report.reason)
        if report.drifted and self.drift_asset is not None and self._alias is not None:
            context["outlet_events"][self._alias].add(
                self.drift_asset, extra={"model": scores.model, "reason": report.reason}
            )
        return report

    def _reference_scores(self, scores: ScoreTable, reference: FeatureSet) -> Artifact:
        """Score what the model was accepted on: its predictions there are what live ones are compared with."""
        from airflow_ml.core.artifact import Artifact
        from airflow_ml.operators.runner_call import run_in_runner
        from airflow_ml.runtime.score import score

        arguments: dict[str, JSON] = {
            "features": reference.to_dict(),
            "model": scores.models.to_dict(),
            "name": scores.model,
            "version": scores.version,
        }
        found = run_in_runner(score, arguments, store=self.store(), namespace=self.namespace, log=self.log.info)
        return Artifact.from_dict(found["scores"])

    def _outcomes(self, context: Context, folder: Path) -> Path | None:
        from airflow_ml.operators.snapshot import resolve_as_of

        if self.outcomes is None:
            return None
        source = snapshot_source(self.snowflake_conn_id)
        as_of = resolve_as_of(context, as_of=self.as_of, delay=self.delay)
        into = folder / "outcomes.parquet"
        return source.read(self.outcomes, self.parameters, as_of=as_of, into=into, tag=task_names(context)).path


@with_arguments_of(MonitorOperator)
def monitor(scores: Any, **kwargs: Any) -> Any:
    """Build a `MonitorOperator` from the same arguments and return its output, a `DriftReport`."""
    return MonitorOperator(scores=scores, **kwargs).output
