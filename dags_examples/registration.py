"""Stage 6, registration: one version in MLflow that knows where it comes from, announced as an asset event."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from airflow_ml import FeatureView, Label, LogUniform, TimeSplit, build_features, register_model, select_model, snapshot

AS_OF = "2013-01-20T00:00:00Z"
SCHEDULE = FeatureView(
    "example_registration",
    key="flight_id",
    predict_at="predict_at",
    label=Label("late", known_at="landed_at"),
    inputs=["carrier", "origin", "dest", "distance", "sched_minute"],
)


@task.sweep(
    space={"learning_rate": LogUniform(0.05, 0.2)},
    by="origin",
    trials_per_group=4,
    minimize="brier",
    seed=7,
    max_shards=1,
)
def train(data, params, trial):
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import brier_score_loss

    model = HistGradientBoostingClassifier(**params, max_iter=30, random_state=trial.seed).fit(*data.train.xy())
    return {"brier": brier_score_loss(data.validate.y, model.predict_proba(data.validate.X)[:, 1])}, model


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC), tags=["airflow-ml", "example"], doc_md=__doc__)
def example_registration():
    """Three airports' models become one version, which answers for each by its own and for others by a pooled one.

    However often this runs again on the same data and code, it stays the same version. A real line has a gate before.
    """
    flights = snapshot(sql="sql/flights.sql", as_of=AS_OF)
    features = build_features(SCHEDULE, spine=flights, split=TimeSplit(validate="3d", test="3d"))
    best = select_model(train(features))
    # The alias is "challenger"; only a canary makes it "champion". DAGs scheduled on the asset
    # mlflow://example_delays@challenger start now: example_canary is one.
    register_model(best, name="example_delays", tags={"team": "examples", "requested_by": "{{ dag_run.run_id }}"})


example_registration()
