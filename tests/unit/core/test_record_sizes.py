"""The records of a line like the demo's stay small: they lie in Airflow's own database."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from airflow_ml.core.artifact import Artifact, Column
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.gate import SHOWN_CHECKS, CheckResult, GateReport, count_failed, most_telling
from airflow_ml.core.record import Record, parse
from airflow_ml.core.selection import Selection

LIMIT_BYTES = 4096
DIGEST = "sha256:" + "0" * 64
#: As long as an address on a bucket with a prefix usually is.
BLOB = Artifact(
    digest=DIGEST,
    format="parquet",
    size_bytes=123_456_789,
    uri=f"s3://a-bucket-of-our-company/airflow-ml/prod/blobs/sha256/00/{'0' * 62}",
    rows=81_093,
)
FEATURES = FeatureSet(
    view="flight_delays",
    view_digest=DIGEST,
    definition=replace(BLOB, format="json", rows=None),
    artifact=BLOB,
    as_of=datetime(2013, 4, 1, tzinfo=UTC),
    key="flight_id",
    predict_at="predict_at",
    label="late",
    features=tuple(f"feature_number_{number:02d}" for number in range(17)),
    carried=("tailnum", "origin_group"),
    split_rows={"train": 60_000, "validate": 12_000, "test": 12_000},
    split_at={"validate": "2013-03-04T00:00:00Z", "test": "2013-03-18T00:00:00Z"},
    excluded={"no label": 2_000, "no label yet": 12, "label known after the cut": 7},
    spine=replace(BLOB, uri=""),
    sources=dict.fromkeys(("weather", "planes", "flights"), replace(BLOB, uri="")),
    engine="duckdb",
    parents=(DIGEST,),
)


def size(record: Record) -> int:
    """As Airflow stores it."""
    return len(json.dumps(record.to_xcom()))


def test_a_feature_set_of_17_features_and_3_sources() -> None:
    assert size(FEATURES) < LIMIT_BYTES * 3 / 4, "it goes into later records as a whole"
    assert parse(json.loads(json.dumps(FEATURES.to_xcom()))) == FEATURES


def test_a_selection_over_it() -> None:
    selection = Selection(
        sweep=DIGEST,
        metric="brier",
        direction="minimize",
        value=0.1432,
        reason="lowest brier in each of 3 groups, on average 0.1432; from 240 trials that succeeded; 0 failed",
        models=replace(BLOB, format="json"),
        leaderboard=BLOB,
        refit="train+validate",
        groups=3,
        data=FEATURES.to_dict(),
        code_digest=DIGEST,
        parents=(DIGEST, DIGEST),
    )
    assert size(selection) < LIMIT_BYTES


def test_a_report_of_hundreds_of_checks() -> None:
    checks = [
        CheckResult(
            name=f"expect_column_values_to_be_between(column_{number})",
            severity="critical" if number == 299 else "warning" if number % 2 else "info",
            passed=number % 3 != 2,
            observed="y" * 90,
            expected="z" * 60,
        )
        for number in range(300)
    ]
    shown = most_telling(checks)
    assert len(shown) == SHOWN_CHECKS
    assert (shown[0].severity, shown[0].passed) == ("critical", False)
    assert not any(check.passed for check in shown)
    assert count_failed(checks) == 100
    report = GateReport(
        subject=DIGEST, kind="dataset", verdict="block", reason="r" * 300, checks=shown, rows=1, report=BLOB
    )
    assert size(report) < LIMIT_BYTES


def test_columns_stay_on_the_wire_where_they_are_given() -> None:
    told = replace(BLOB, columns=(Column(name="x", dtype="double"),), metadata={"a": "b"})
    assert told.to_dict()["columns"] == [{"name": "x", "dtype": "double"}]
    assert parse(told.to_dict()) == told
    assert "columns" not in BLOB.to_dict()
    assert parse(BLOB.to_dict()) == BLOB
