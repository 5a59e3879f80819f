"""The same DAG with @task.ml: rows and model are artifacts, found again by their digest."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task


@dag(schedule="@weekly", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)
def churn():
    @task.ml
    def read():
        import pandas as pd
        from airflow.providers.snowflake.hooks.snowflake import SnowflakeHook

        rows = SnowflakeHook("warehouse").get_records("SELECT age, visits, has_left FROM customers")
        return pd.DataFrame(rows, columns=["age", "visits", "has_left"])

    @task.ml(cache=True, seed=7)
    def train(customers):
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression().fit(customers[["age", "visits"]], customers["has_left"])

    train(read())


churn()
