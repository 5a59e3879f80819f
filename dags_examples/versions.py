"""Versions: every result has a cause, and work that was done already is not done again."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from airflow_ml import Rows, snapshot


@task.ml
def by_carrier(flights: Rows, at_least: int = 300) -> list:
    """A snapshot arrives as its rows, read when asked for; each frame of the list becomes an artifact of its own."""
    frame = flights.frame(["carrier", "origin", "late"]).dropna()  # a cancelled flight is neither late nor in time
    return [part for _, part in frame.groupby("carrier") if len(part) >= at_least]


@task.ml(cache=True, seed=7)
def interval(flights, rounds: int = 200):
    """Mapped over the list: the share of late flights with its bootstrap interval. The same rows are not done again."""
    import numpy as np

    late = flights["late"].to_numpy(dtype=float)
    means = [np.random.choice(late, len(late)).mean() for _ in range(rounds)]
    low, high = np.quantile(means, [0.05, 0.95])
    return {"carrier": str(flights["carrier"].iloc[0]), "high": high, "late": late.mean(), "low": low}


@task.ml(compute="local")
def table(found):
    """What all of them returned arrives as a list; this one runs in a clean interpreter."""
    import pandas as pd

    return pd.DataFrame(found).sort_values("late", ignore_index=True)


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC), tags=["airflow-ml", "example"], doc_md=__doc__)
def example_versions():
    """Afterwards: airflow-ml show, diff, why, lineage, notebook and reproduce, each with example_versions latest."""
    flights = snapshot(sql="sql/flights.sql", as_of="2013-01-20T00:00:00Z")
    ranked = table(interval.expand(flights=by_carrier(flights)))

    @task
    def tell(ranked):
        import airflow_ml

        frame = airflow_ml.read(ranked)  # a plain task gets the artifact as JSON, and reads what it stands for
        return [f"{row.carrier}: {row.late:.2f} ({row.low:.2f} to {row.high:.2f})" for row in frame.itertuples()]

    tell(ranked)


example_versions()
