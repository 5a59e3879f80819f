"""Stages 7 and 8 without a serving system: the warehouse itself divides the rows that champion and challenger score."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from airflow_ml import (
    FeatureView,
    Label,
    LogUniform,
    SqlOutcomes,
    TimeSplit,
    build_features,
    canary,
    predict,
    register_model,
    select_model,
    snapshot,
)

AS_OF = "2013-01-20T00:00:00Z"
SCHEDULE = FeatureView(
    "example_canary_warehouse",
    key="flight_id",
    predict_at="predict_at",
    label=Label("late", known_at="landed_at"),
    inputs=["carrier", "origin", "distance", "sched_minute"],
)


@task.sweep(space={"learning_rate": LogUniform(0.05, 0.2)}, trials_per_group=2, minimize="brier", seed=7, max_shards=1)
def train(data, params, trial):
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import brier_score_loss

    model = HistGradientBoostingClassifier(**params, max_iter=20, random_state=trial.seed).fit(*data.train.xy())
    return {"brier": brier_score_loss(data.validate.y, model.predict_proba(data.validate.X)[:, 1])}, model


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC), tags=["airflow-ml", "example"], doc_md=__doc__)
def example_canary_warehouse():
    """The first version is installed; each later one is compared while the daily batch of `predict` is divided.

    In a real line the three parts are three DAGs: train, release, and a daily batch.
    """
    flights = snapshot(sql="sql/flights.sql", as_of=AS_OF)
    best = select_model(train(build_features(SCHEDULE, spine=flights, split=TimeSplit(validate="3d", test="3d"))))
    version = register_model(best, name="example_batch_delays")

    # --8<-- [start:release]
    rollout = canary(
        "example_batch_delays",
        router_conn_id="snowflake_default",  # the warehouse is the router
        source=SqlOutcomes(
            outcomes="SELECT flight_id AS key, late AS label FROM flights",
            watermark="SELECT DATE_TRUNC('day', MAX(known_at)) FROM flights",  # days below it have all their outcomes
        ),
        steps=[(10, "2d"), (50, "3d"), 100],
        busy="wait",
    )
    scores = predict(
        "example_batch_delays@champion",
        router_conn_id="snowflake_default",
        unit="tailnum",  # an airplane keeps its variant
        spine="sql/departures.sql",
        into="example_batch_scores",
        as_of="2013-01-21T00:00:00Z",
    )
    # --8<-- [end:release]

    @task
    def tell(rollout, scores):
        return f"{rollout['outcome']}; {scores['rows']} scores in {scores['table']}"

    version >> rollout >> scores
    tell(rollout, scores)


example_canary_warehouse()
