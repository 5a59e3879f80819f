"""The records of a line like the demo's stay small: they lie in Airflow's own database."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

from airflow_ml.core.artifact import Artifact, Column, without_addresses
from airflow_ml.core.call import FunctionRef
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.gate import SHOWN_CHECKS, CheckResult, GateReport, count_failed, most_important
from airflow_ml.core.record import Record, parse
from airflow_ml.core.selection import Selection
from airflow_ml.core.space import Choice, IntUniform, LogUniform, space_to_dict
from airflow_ml.core.sweep import Leaderboard, SweepPlan, TrialSummary

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


FUNCTION = FunctionRef(
    kind="source",
    module="/opt/airflow/dags/flights/flight_delays.py",
    qualname="train",
    digest=DIGEST,
    package=replace(BLOB, format="python", rows=None, uri=""),
)
SPACE = space_to_dict(
    {
        "learning_rate": LogUniform(0.001, 0.3),
        "max_leaf_nodes": IntUniform(4, 64),
        "l2_regularization": LogUniform(1e-6, 10.0),
        "max_iter": Choice(50, 100, 200),
        "booster": Choice("gbdt", "dart"),
    }
)
DATA = without_addresses(FEATURES.to_dict())


def size(record: Record) -> int:
    """As Airflow stores it."""
    return len(json.dumps(record.to_xcom()))


def test_a_feature_set_of_17_features_and_3_sources() -> None:
    assert size(FEATURES) < LIMIT_BYTES * 3 / 4, "it goes into later records as a whole"
    assert parse(json.loads(json.dumps(FEATURES.to_xcom()))) == FEATURES


def test_a_plan_and_a_leaderboard_of_20_000_trials_over_it() -> None:
    plan = SweepPlan(
        sweep=DIGEST, function=FUNCTION, data=DATA, by="country", groups=200, trials=20_000, shards=200, seed=2**31,
        metric="validation_brier", direction="minimize", timeout_seconds=600.0, min_success_fraction=0.95,
        max_train_rows=100_000, plan=replace(BLOB, format="jsonl", rows=20_000), constants={"quick": False},
        space=SPACE, sampler="tpe", pruner="hyperband", compute="gpu-large",
    )  # fmt: skip
    assert size(plan) < LIMIT_BYTES
    board = Leaderboard(
        sweep=DIGEST, function=FUNCTION, data=DATA, by="country", artifact=replace(BLOB, rows=20_000), trials=20_000,
        succeeded=19_000, failed=1_000, groups_without_success=tuple(f"country {number}" for number in range(10)),
        groups=200, metric="validation_brier", direction="minimize", seed=2**31, seconds=123456.789,
        best=TrialSummary(
            trial="t00017", group="country 12", value=0.123456789,
            params={"learning_rate": 0.123456789012, "max_leaf_nodes": 31, "l2_regularization": 1.23456789e-05,
                    "max_iter": 100, "booster": "gbdt"},
        ),
        constants={"quick": False}, compute="gpu-large", max_train_rows=100_000, parents=(DIGEST,),
        report=replace(BLOB, format="json", rows=None, uri=""),
    )  # fmt: skip
    assert size(board) < LIMIT_BYTES
    assert FeatureSet.from_dict(board.data).fingerprint == FEATURES.fingerprint


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
    shown = most_important(checks)
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
    assert parse(replace(BLOB, uri="").to_dict()) == replace(BLOB, uri="")
