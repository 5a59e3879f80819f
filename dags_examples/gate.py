"""Stage 2, gate: data through Great Expectations; bad rows are taken out and kept, bad data stops the line."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import TriggerRule, dag, task

from airflow_ml import gate_dataset, snapshot

AS_OF = "2013-01-20T00:00:00Z"
RULES = [
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "flight_id"}},
    # A row-level rule that some flights break: New York to Philadelphia is 80 miles.
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "distance", "min_value": 100}},
    # Cancelled flights have no outcome: worth a warning, no reason to stop.
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "late"}, "severity": "warning"},
]


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC), tags=["airflow-ml", "example"], doc_md=__doc__)
def example_gate():
    """A few bad rows go to quarantine and the rest goes on; above 5 % the gate would block."""
    flights = snapshot(sql="sql/flights.sql", as_of=AS_OF)
    clean = gate_dataset(flights, expectations=RULES, on_bad_rows="quarantine")

    @task
    def tell(clean, report):
        return f"{report['verdict']}: {report['quarantined']} of {report['rows']} rows, {clean['rows']} go on"

    # A gate passes its subject on; what it found is a record of its own.
    tell(clean, clean["report"])


@dag(schedule=None, start_date=datetime(2013, 1, 1, tzinfo=UTC), tags=["airflow-ml", "example"])
def example_gate_blocks():
    """The same flights, spoiled: nothing behind the gate runs. This DAG's runs fail, as they should."""
    spoiled = snapshot(table="flights_poisoned", as_of=AS_OF)
    clean = gate_dataset(spoiled, expectations="expectations/flights.json", on_bad_rows="quarantine")

    @task
    def learn(flights):
        raise AssertionError(f"never reached, and yet here are {flights['rows']} rows")

    @task(trigger_rule=TriggerRule.ONE_FAILED)
    def tell(report):
        return [f"{one['name']}: {one['observed']}" for one in report["checks"] if not one["passed"]]

    learn(clean)
    tell(clean["report"])  # the report is there when the gate blocks, too


example_gate()
example_gate_blocks()
