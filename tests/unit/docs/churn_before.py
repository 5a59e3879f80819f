"""A plain DAG: it reads customers and learns who leaves."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task


@dag(schedule="@weekly", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)
def churn():
    @task
    def read():
        from airflow.providers.snowflake.hooks.snowflake import SnowflakeHook

        rows = SnowflakeHook("warehouse").get_records("SELECT age, visits, has_left FROM customers")
        return [list(row) for row in rows]

    @task
    def train(rows):
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression().fit([row[:2] for row in rows], [row[2] for row in rows])
        return {"weights": model.coef_.tolist(), "intercept": model.intercept_.tolist()}

    train(read())


churn()
