"""Compute by name: a deployment's profile file says where a function runs, and the DAG never changes.

Without a profile file every name means the worker's own processes, so this runs on a laptop as it is.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from airflow_ml import (
    FeatureView,
    GpuRetryPolicy,
    IntUniform,
    Label,
    LogUniform,
    TimeSplit,
    build_features,
    call_job,
    profile,
    snapshot,
)

SCHEDULE = FeatureView(
    "example_compute",
    key="flight_id",
    predict_at="predict_at",
    label=Label("late", known_at="landed_at"),
    inputs=["carrier", "origin", "dest", "distance", "sched_minute"],
)


@task.sweep(
    space={"learning_rate": LogUniform(0.02, 0.3), "max_leaf_nodes": IntUniform(4, 32)},
    by="origin",
    trials_per_group=3,
    minimize="brier",
    seed=7,
    compute="cpu-many",  # one Indexed Job or Batch array, one index for each shard
    retries=2,
    retry_policy=GpuRetryPolicy(),
)
def train(data, params, trial):
    """Fit one airport's flights."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import brier_score_loss

    model = HistGradientBoostingClassifier(max_iter=20, **params, random_state=trial.seed).fit(*data.train.xy())
    return {"brier": brier_score_loss(data.validate.y, model.predict_proba(data.validate.X)[:, 1])}, model


@task.ml(compute="gpu-large", timeout_seconds=600, retries=2, retry_policy=GpuRetryPolicy())
def compare(board):
    """Say where in its range the best learning rate lies; what a function needs is imported inside, where it runs."""
    rate = board.best.params["learning_rate"]
    return {"learning_rate": rate, "percent_of_range": 100 * rate / 0.3}


def late_share(number, flights):
    """Draw as many flights as there are, with replacement, and return the share of late ones among them."""
    import numpy as np

    late = flights.frame(["late"])["late"].dropna().to_numpy(dtype=float)  # of those that have landed
    return float(np.random.choice(late, len(late)).mean())  # each call has a seed of its own


@task.ml
def interval(shares):
    """Return what 95 of 100 such draws lie between."""
    import numpy as np

    low, high = np.percentile(shares, [2.5, 97.5])
    return {"low": float(low), "high": float(high), "draws": len(shares)}


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC), tags=["airflow-ml", "example"], doc_md=__doc__)
def example_compute():
    """The same on a laptop, in pods and in a Batch array."""
    flights = snapshot(sql="sql/flights.sql", as_of="2013-01-20T00:00:00Z")
    compare(train(build_features(SCHEDULE, spine=flights, split=TimeSplit(validate="3d", test="3d"))))
    draws = call_job(
        late_share,
        completions=200,
        constants={"flights": flights},
        compute=profile("cpu-many", calls_per_index=20),  # ten pods, 20 calls in each
        retries=2,
        retry_policy=GpuRetryPolicy(),
    )
    interval(draws)


example_compute()
