"""Stage 8, monitoring: scores in the warehouse, and whether the world has moved away from what the model learned.

Run example_registration and example_canary first: they make the champion.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Asset, dag, task

from airflow_ml import monitor, predict

AS_OF = "2013-01-21T00:00:00Z"


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC), tags=["airflow-ml", "example"], doc_md=__doc__)
def example_monitoring():
    """A second run writes the same rows again, not more of them."""
    # The view that the champion was trained with is built again, for these rows; another one would be refused.
    scores = predict("example_delays@champion", spine="sql/departures.sql", into="example_scores", as_of=AS_OF)
    # Drift is an event: a training DAG scheduled on this asset starts the line again.
    drift = monitor(scores, outcomes="sql/outcomes.sql", as_of=AS_OF, drift_asset=Asset("example_flights_drifted"))

    @task
    def tell(scores, drift):
        live = f"live error by week: {drift['error_by_week']}"
        return f"{scores['rows']} scores in {scores['table']}; drift: {drift['drifted']}, {drift['reason']}; {live}"

    tell(scores, drift)


example_monitoring()
