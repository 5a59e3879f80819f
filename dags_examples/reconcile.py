"""Every minute: rolls back the rollouts that nobody leads any more. One such DAG serves all models of a deployment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag

from airflow_ml import reconcile_rollouts


@dag(
    schedule=timedelta(minutes=1),
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["airflow-ml", "example"],
    doc_md=__doc__,
)
def example_reconcile():
    """A rollout whose trigger, DAG or Airflow was lost ends at weight 0; one whose owner still looks is left alone."""
    reconcile_rollouts(execution_timeout=timedelta(minutes=5))


example_reconcile()
