"""Stage 4, sweep: a search space times groups becomes a few tasks, and every finished trial is kept."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from airflow_ml import Choice, FeatureView, IntUniform, Label, LogUniform, TimeSplit, build_features, snapshot

AS_OF = "2013-01-20T00:00:00Z"
SCHEDULE = FeatureView(
    "example_sweep",
    key="flight_id",
    predict_at="predict_at",
    label=Label("late", known_at="landed_at"),
    inputs=["carrier", "origin", "dest", "distance", "sched_minute"],
)


@task.sweep(
    space={"learning_rate": LogUniform(0.02, 0.3), "max_leaf_nodes": IntUniform(4, 32), "max_iter": Choice(20, 40)},
    by="origin",  # one search for each airport
    trials_per_group=4,
    minimize="brier",
    seed=7,
    timeout_seconds=60,  # a trial that hangs or crashes is one failed trial, not a failed sweep
    min_success_fraction=0.9,
    max_shards=2,
    retries=1,  # a retry runs only the trials that are missing
)
def train(data, params, trial):
    """Fit one airport's flights; also a plain function, in a notebook or a test."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import brier_score_loss

    model = HistGradientBoostingClassifier(**params, random_state=trial.seed).fit(*data.train.xy())
    return {"brier": brier_score_loss(data.validate.y, model.predict_proba(data.validate.X)[:, 1])}, model


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC), tags=["airflow-ml", "example"], doc_md=__doc__)
def example_sweep():
    """The tasks train.plan, train.shards and train.collect; the leaderboard is what the call returns."""
    flights = snapshot(sql="sql/flights.sql", as_of=AS_OF)
    features = build_features(SCHEDULE, spine=flights, split=TimeSplit(validate="3d", test="3d"))
    leaderboard = train(features)

    @task
    def tell(board):
        best = board["best"]
        return (
            f"{board['succeeded']} of {board['trials']} trials, {best['group']}: {best['value']:.4f} {best['params']}"
        )

    tell(leaderboard)


example_sweep()
