"""Stage 7, canary: several challengers, in shadow before anybody meets them. Run example_registration first."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from airflow_ml import ab_test, canary, shadow


@dag(
    schedule=None,
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,  # a model has one rollout at a time
    tags=["airflow-ml", "example"],
    doc_md=__doc__,
)
def example_canary_shadow():
    """A careful release: the way of measuring is proven first, then a shadow, then a growing share."""
    # --8<-- [start:careful]
    rollout = canary(
        "example_delays",
        steps=[
            ("aa", "1d"),
            ("shadow", "3d"),
            {"weight_percent": 5, "data_days": 2, "metrics": ["log_loss"]},  # shown to hold before more is risked
            (25, "2d"),
            (50, "1d"),
            100,
        ],
        expected_effect=0.01,  # of the Brier score: the test is tuned for it before the start
        guardrails=[
            ("log_loss", 0.05),  # at most so much worse than the champion's
            {"metric": "brier", "limit": 0.25},  # at most this, however bad the champion is
            {"metric": "mae", "decides": False},  # a dry run: measured and shown
        ],
        max_data_days=28,
        poll_interval_seconds=5,
    )
    # --8<-- [end:careful]

    @task
    def tell(rollout):
        return f"{rollout['outcome']}: {rollout['reason']}"

    tell(rollout)


@dag(
    schedule=None,
    start_date=datetime(2013, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["airflow-ml", "example"],
    doc_md=__doc__,
)
def example_comparison():
    """Two challengers beside the champion, unheard and then heard; none is promoted."""
    challengers = ["wide", "deep"]  # aliases of versions of the model
    unheard = shadow("example_delays", challengers=challengers, least_data_days=7)
    heard = ab_test("example_delays", challengers=challengers, least_data_days=7, guardrails=[("log_loss", 0.02)])

    @task
    def tell(unheard, heard):
        found = [f"version {arm['version']}: {arm['effect']} {arm['interval']}" for arm in heard["arms"]]
        return f"{unheard['outcome']}, {heard['outcome']}: {'; '.join(found)}"

    unheard >> heard
    tell(unheard, heard)


example_canary_shadow()
example_comparison()
