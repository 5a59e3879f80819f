"""Stage 1, snapshot: what a table or a query held at one instant, kept as a file that never changes."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Param, dag, task

from airflow_ml import snapshot

AS_OF = "2013-01-20T00:00:00Z"


@dag(
    schedule=None,
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    params={"origin": Param("JFK", enum=["EWR", "JFK", "LGA"])},
    tags=["airflow-ml", "example"],
    doc_md=__doc__,
)
def example_snapshot():
    """A whole table, and a query that says itself what was known by then."""
    # {at} is Snowflake's Time Travel, where the warehouse has it. A value is bound, never pasted into the statement.
    flights = snapshot(
        sql="SELECT * FROM flights {at} WHERE origin = %(origin)s AND known_at <= %(as_of)s",
        parameters={"origin": "{{ params.origin }}"},
        as_of=AS_OF,
        min_rows=100,
    )
    airports = snapshot(table="airports", as_of=AS_OF, task_id="airports")

    @task
    def tell(*snapshots):
        """Any plain task can read the record: the rows themselves stay in the artifact store."""
        from airflow_ml import load

        return [
            f"{one.name}: {one.rows} rows, {one.consistency}, {one.artifact.digest}" for one in map(load, snapshots)
        ]

    tell(flights, airports)


example_snapshot()
