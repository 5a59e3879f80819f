"""Stage 5, selection: the winner of each group, refitted, then tested on rows that no trial has seen."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from airflow_ml import (
    BeatsBaseline,
    FeatureView,
    IntUniform,
    Label,
    MinMetric,
    SliceMetric,
    TimeSplit,
    build_features,
    gate_model,
    select_model,
    snapshot,
)

AS_OF = "2013-01-20T00:00:00Z"
SCHEDULE = FeatureView(
    "example_selection",
    key="flight_id",
    predict_at="predict_at",
    label=Label("late", known_at="landed_at"),
    inputs=["carrier", "origin", "dest", "distance", "sched_minute"],
)


@task.sweep(
    space={"max_leaf_nodes": IntUniform(4, 32)}, by="origin", trials_per_group=4, minimize="brier", seed=7, max_shards=1
)
def train(data, params, trial):
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import brier_score_loss, roc_auc_score

    model = HistGradientBoostingClassifier(**params, max_iter=30, random_state=trial.seed).fit(*data.train.xy())
    late, chance = data.validate.y, model.predict_proba(data.validate.X)[:, 1]
    return {"brier": brier_score_loss(late, chance), "auc": roc_auc_score(late, chance)}, model


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC), tags=["airflow-ml", "example"], doc_md=__doc__)
def example_selection():
    """Choose within bounds, fit again on all rows up to the holdout, and open the holdout once."""
    flights = snapshot(sql="sql/flights.sql", as_of=AS_OF)
    features = build_features(SCHEDULE, spine=flights, split=TimeSplit(validate="3d", test="3d"))
    best = select_model(
        train(features), refit="train+validate", constraints={"auc": {"min": 0.5}, "seconds": {"max": 60}}
    )
    gate_model(
        best,
        data=features,
        checks=[
            MinMetric("auc", at_least=0.55),
            SliceMetric("brier", by="origin", at_most=0.3),  # good on the whole is not good for every airport
            BeatsBaseline("brier", severity="warning"),  # three days are too few to be sure of it
        ],
    )


example_selection()
