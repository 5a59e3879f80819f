"""Stage 3, features: every value as it was known when its row had to be predicted, two hours before departure."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import Param, dag, task

from airflow_ml import AsOf, FeatureView, Input, Label, Lookup, Rolling, TimeSplit, build_features, snapshot

AS_OF = "2013-01-20T00:00:00Z"
FLIGHT = {"key": "flight_id", "predict_at": "predict_at", "label": Label("late", known_at="landed_at")}

DELAYS = FeatureView(
    "example_features",
    **FLIGHT,
    inputs=["carrier", "origin", "dest", "distance", "sched_minute"],
    joins=[
        # The newest observation of the airport that had arrived by then; an observation takes 20 minutes to arrive.
        AsOf("weather", by="origin", time="observed_at", columns=["temp", "visib"], delay="20min", max_age="3h"),
        # What does not change over time.
        Lookup("planes", by="tailnum", columns=["seats"], static=True),
        # How late the airport was lately, by flights that had landed by then.
        Rolling("flights", by="origin", mean="late", known_at="landed_at", window="6h"),
    ],
)
# The departure's delay is known at departure, which is too late: this view never gets past build_features.
HINDSIGHT = FeatureView("example_hindsight", **FLIGHT, inputs=[Input("dep_delay", known_at="departed_at")])


@dag(
    schedule=None,
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    params={"view": Param("example_features", enum=["example_features", "example_hindsight"])},
    tags=["airflow-ml", "example"],
    doc_md=__doc__,
)
def example_features():
    """Features of three weeks of flights, with the newest six days set apart for choosing and testing a model."""
    flights = snapshot(sql="sql/flights.sql", as_of=AS_OF)
    features = build_features(
        "{{ params.view }}", views=[DELAYS, HINDSIGHT], spine=flights, split=TimeSplit(validate="3d", test="3d")
    )

    @task
    def tell(features):
        """Rows without a label are left out, and so are those whose label was not known by their split's cut."""
        return f"{features['features']}\nrows: {features['split_rows']}\nleft out: {features['excluded']}"

    tell(features)


example_features()
