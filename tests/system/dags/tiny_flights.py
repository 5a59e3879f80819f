"""One run through everything: data, a sweep, two versions of a model, and a canary that has to promote the second."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from airflow_ml import (
    Choice,
    FeatureView,
    Label,
    TimeSplit,
    build_features,
    canary,
    register_model,
    select_model,
    snapshot,
)

MODEL = "tiny_flights"
SCHEDULE = FeatureView(
    "tiny",
    key="flight_id",
    predict_at="predict_at",
    label=Label("late", known_at="landed_at"),
    inputs=["carrier", "origin", "dest", "distance", "sched_minute"],
    carry=["tailnum"],
)


@task.ml(seed=3)
def origins(flights):
    """A frame becomes an artifact; what comes in is a record."""
    import pandas as pd

    return pd.DataFrame({"origin": ["EWR", "JFK", "LGA"], "rows": [flights.rows] * 3})


@task.ml(compute="local")
def count(frame):
    """An artifact comes in as what it holds; what is JSON goes out as JSON."""
    return {"origins": sorted(frame["origin"]), "rows": int(frame["rows"].max())}


@task.sweep(space={"wrong": Choice(False, True)}, sampler="grid", minimize="brier", max_shards=2)
def train(data, params):
    """Learn the flights, or the opposite of them."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import brier_score_loss

    rows, late = data.train.xy()
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(rows, 1 - late if params["wrong"] else late)
    error = brier_score_loss(data.validate.y, model.predict_proba(data.validate.X)[:, 1])
    return {"brier": error, "wrong": float(params["wrong"])}, model


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC))
def tiny_flights():
    flights = snapshot(sql="SELECT * FROM flights WHERE known_at <= %(as_of)s")
    count(origins(flights))
    board = train(build_features(SCHEDULE, spine=flights, split=TimeSplit(validate="3d", test="3d")))

    worst = select_model(board, constraints={"wrong": {"min": 1}}, task_id="select_worst")
    first = register_model(worst, name=MODEL, task_id="register_worst")
    installed = canary(MODEL, task_id="install")
    best = select_model(board, task_id="select_best")
    second = register_model(best, name=MODEL, task_id="register_best")
    promoted = canary(
        MODEL,
        task_id="promote",
        steps=[(50, "6h"), (100, "6h")],
        min_units=30,
        max_data_days=10,
        poll_interval_seconds=1,
        lease_seconds=30,
    )
    first >> installed >> second >> promoted


tiny_flights()
