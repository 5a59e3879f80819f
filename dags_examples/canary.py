"""Stage 7, canary: a challenger becomes champion by evidence from traffic. Run example_registration first."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Asset, dag, task

from airflow_ml import canary


@dag(
    schedule=Asset("mlflow://example_delays@challenger"),
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # a model has one rollout at a time
    tags=["airflow-ml", "example"],
    doc_md=__doc__,
)
def example_canary():
    """Without a champion there is nothing to compare with: the first challenger is installed.

    The next one is deferred while its share of the traffic grows, and ends promoted, rolled back or inconclusive.
    """
    rollout = canary(
        "example_delays",
        metric="brier",
        steps=[(5, "2d"), (25, "2d"), (50, "1d"), (100, "1d")],  # percent, and days of data before the next step
        alpha=0.05,  # for the whole rollout, however often it is looked at
        max_data_days=21,
        poll_interval_seconds=5,
    )

    @task
    def tell(rollout):
        return f"{rollout['outcome']}: {rollout['reason']}"

    tell(rollout)


example_canary()
