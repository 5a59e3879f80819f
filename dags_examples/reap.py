"""Every ten minutes: ends the remote jobs that nobody waits for any more. One such DAG serves a whole deployment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag

from airflow_ml import reap_jobs


@dag(
    schedule=timedelta(minutes=10),
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["airflow-ml", "example"],
    doc_md=__doc__,
)
def example_reap():
    """A job whose task was ended while no triggerer ran is ended; one whose task still waits is left alone."""
    reap_jobs(execution_timeout=timedelta(minutes=5))


example_reap()
