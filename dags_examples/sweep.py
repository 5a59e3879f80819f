"""Stage 4, sweep: a search space times groups becomes a few tasks, and every finished trial is kept."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from airflow_ml import Choice, FeatureView, IntUniform, Label, LogUniform, TimeSplit, When, build_features, snapshot

AS_OF = "2013-01-20T00:00:00Z"
ROUTES = FeatureView(
    "example_sweep",
    key="flight_id",
    predict_at="predict_at",
    label=Label("late", known_at="landed_at"),
    inputs=["sched_minute", "sched_weekday"],
    carry=["route"],  # beside the features: it makes the groups
)


@task.sweep(
    space={
        "kind": Choice("ridge", "trees"),
        "alpha": When(LogUniform(0.1, 100.0), kind="ridge"),
        "max_depth": When(IntUniform(1, 5), kind="trees"),
    },
    by="route",  # one search, and one model, for each of some 200 routes
    trials_per_group=4,
    minimize="brier",
    seed=7,
    timeout_seconds=60,  # a trial that hangs or crashes is one failed trial, not a failed sweep
    min_success_fraction=0.9,  # a route without a flight in the days to validate on has failed trials, and is named
    max_shards=2,  # of the 800 trials; without it as many as fit the deployment
    retries=1,  # a retry runs only the trials that are missing
)
def train(data, params, trial):
    """Fit one route's flights; also a plain function, in a notebook or a test."""
    from sklearn.linear_model import Ridge
    from sklearn.tree import DecisionTreeRegressor

    if params["kind"] == "ridge":
        model = Ridge(alpha=params["alpha"])
    else:
        model = DecisionTreeRegressor(max_depth=params["max_depth"], random_state=trial.seed)
    model.fit(*data.train.xy())
    chance = model.predict(data.validate.X).clip(0, 1)  # of being late
    return {"brier": ((chance - data.validate.y) ** 2).mean()}, model


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC), tags=["airflow-ml", "example"], doc_md=__doc__)
def example_sweep():
    """The tasks train.plan, train.shards, train.collect and train.track; the call returns the leaderboard."""
    flights = snapshot(sql="sql/routes.sql", as_of=AS_OF)
    features = build_features(ROUTES, spine=flights, split=TimeSplit(validate="3d", test="3d"))
    leaderboard = train(features)

    @task
    def tell(board):
        best = board["best"]
        return (
            f"{board['succeeded']} of {board['trials']} trials, {best['group']}: {best['value']:.4f} {best['params']}"
        )

    tell(leaderboard)


example_sweep()
