from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_ml.core.drift import Categories, Numbers, measure_column
from airflow_ml.errors import ArtifactCorrupt, ColumnMissing, ConfigurationError, EmptyDataset
from airflow_ml.runtime.drift import DriftFindings, measure_drift

FEATURES = ["distance", "origin", "known"]
START = datetime(2013, 5, 6, tzinfo=UTC)  # a Monday


def write(path: Path, rows: int = 700, **changed: Any) -> Path:
    draw = np.random.default_rng(7)
    columns: dict[str, Any] = {
        "distance": [None if number % 10 == 0 else float(number % 97) for number in range(rows)],
        "origin": pa.array([("EWR", "JFK", "LGA")[number % 3] for number in range(rows)]).dictionary_encode(),
        "known": [number % 4 == 0 for number in range(rows)],
        "score": draw.beta(2, 5, rows),
        "late": [None if number % 7 == 6 else number % 5 == 0 for number in range(rows)],
        "predict_at": [START + timedelta(days=number // 100, hours=number % 24) for number in range(rows)],
        **changed,
    }
    pq.write_table(pa.table({name: values for name, values in columns.items() if values is not None}), path)
    return path


def measure(reference: Path, live: Path, **changed: Any) -> DriftFindings:
    options = {"features": FEATURES, "score": "score", "label": "late", "time": "predict_at", **changed}
    return measure_drift(reference, live, **options)


def test_the_same_rows_do_not_drift(tmp_path: Path) -> None:
    path = write(tmp_path / "t")
    found = measure(path, path)
    assert (found.drifted, found.rows, found.outcomes) == (False, 700, 600)
    assert {(one.column, one.statistic) for one in found.measures} == {
        ("distance", "psi"),
        ("origin", "psi"),
        ("known", "psi"),
        ("score", "psi"),
        ("score", "ks"),
    }
    assert all(one.value == 0 for one in found.measures)
    json.dumps(found.report, allow_nan=False)


def test_columns_are_reduced_as_the_core_would(tmp_path: Path) -> None:
    """What pyarrow and numpy sort and count gives the measures of the raw values."""
    old, new = write(tmp_path / "old"), write(tmp_path / "new", 300, distance=[float(n % 50) for n in range(300)])
    found = {one.column: one for one in measure(old, new).measures if one.statistic == "psi"}
    before, after = pq.read_table(old), pq.read_table(new)
    numbers = [Numbers.of(table["distance"].to_pylist()) for table in (before, after)]
    assert found["distance"] == measure_column("distance", *numbers)
    raw = [table["origin"].to_pylist() for table in (before, after)]
    names = [Categories({name: values.count(name) for name in set(values)}) for values in raw]
    assert found["origin"] == measure_column("origin", *names)


def test_drift_is_told_worst_first(tmp_path: Path) -> None:
    live = write(tmp_path / "new", distance=[None] * 699 + [1.0], origin=["LGA"] * 700)
    found = measure(write(tmp_path / "old"), live)
    assert found.drifted
    excess = [one.value / one.threshold for one in found.measures]
    assert excess == sorted(excess, reverse=True)
    assert {one.column for one in found.measures if one.drifted} == {"distance", "origin"}
    assert "2 of 5 measures drifted: " in found.reason


def test_error_by_week_is_the_brier_score_of_known_outcomes(tmp_path: Path) -> None:
    path = write(tmp_path / "t", score=[0.25] * 700)
    found = measure(path, path)
    rows = pq.read_table(path).to_pylist()
    assert list(found.error_by_week) == ["2013-W19"]
    known = [(0.25 - row["late"]) ** 2 for row in rows if row["late"] is not None]
    assert found.error_by_week["2013-W19"] == pytest.approx(sum(known) / len(known))
    assert found.outcomes == len(known)


def test_weeks_are_cut_in_utc(tmp_path: Path) -> None:
    late_sunday = datetime(2013, 5, 13, 2, tzinfo=UTC)  # still Sunday in New York
    times = pa.array([late_sunday] * 700, pa.timestamp("us", tz="America/New_York"))
    path = write(tmp_path / "t", predict_at=times)
    assert list(measure(path, path).error_by_week) == ["2013-W20"]


def test_no_label_and_no_outcomes(tmp_path: Path) -> None:
    path = write(tmp_path / "t", late=pa.nulls(700, pa.bool_()))
    for label in (None, "late"):
        found = measure(path, path, label=label)
        assert (dict(found.error_by_week), found.outcomes) == ({}, 0)


def test_only_the_training_rows_are_the_reference(tmp_path: Path) -> None:
    split = ["train" if number < 350 else "test" for number in range(700)]
    moved = [float(number % 97) if number < 350 else 1e6 for number in range(700)]
    reference = write(tmp_path / "old", split=split, distance=moved)
    live = write(tmp_path / "new", distance=[float(number % 97) for number in range(700)])
    assert not measure(reference, live).drifted
    assert measure(reference, live, reference_split=None).drifted
    with pytest.raises(EmptyDataset, match="the reference"):
        measure(reference, live, reference_split="none")


def test_a_reference_without_scores_is_said(tmp_path: Path) -> None:
    found = measure(write(tmp_path / "old", score=None), write(tmp_path / "new"))
    assert found.report["score_measured"] is False
    assert "score" not in {one.column for one in found.measures}


@pytest.mark.parametrize("dead", [[math.nan] * 700, pa.nulls(700), pa.nulls(700, pa.float64())])
def test_a_dead_score_is_drift_and_no_crash(tmp_path: Path, dead: Any) -> None:
    found = measure(write(tmp_path / "old"), write(tmp_path / "new", score=dead))
    assert [one.column for one in found.measures if one.drifted] == ["score"]
    assert found.outcomes == 0


def test_infinite_values_are_drift(tmp_path: Path) -> None:
    found = measure(write(tmp_path / "old"), write(tmp_path / "new", distance=[math.inf] * 700))
    assert [one.column for one in found.measures if one.drifted] == ["distance"]


def test_one_row_is_no_evidence(tmp_path: Path) -> None:
    assert not measure(write(tmp_path / "old"), write(tmp_path / "new", 1)).drifted


@pytest.mark.parametrize(
    ("changed", "options", "error", "told"),
    [
        ({"distance": None}, {}, ColumnMissing, "not in the live rows: distance"),
        ({"late": None}, {}, ColumnMissing, "late"),
        ({"distance": ["far"] * 700}, {}, ConfigurationError, "distance changed its type"),
        ({"distance": [[1]] * 700}, {}, ConfigurationError, "Features are numbers"),
        ({"predict_at": ["today"] * 700}, {}, ConfigurationError, "predict_at is not a time"),
        ({"late": ["maybe"] * 700}, {}, ConfigurationError, "Score and outcome must be numbers"),
        ({}, {"features": []}, ConfigurationError, "No features"),
        ({}, {"features": ["elevation"]}, ColumnMissing, "not in the reference: elevation"),
    ],
)
def test_what_cannot_be_measured(
    tmp_path: Path, changed: dict[str, Any], options: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        measure(write(tmp_path / "old"), write(tmp_path / "new", **changed), **options)


def test_empty_and_unreadable_files(tmp_path: Path) -> None:
    good = write(tmp_path / "t")
    pq.write_table(pq.read_table(good).slice(0, 0), tmp_path / "empty")
    with pytest.raises(EmptyDataset, match="the live rows"):
        measure(good, tmp_path / "empty")
    (tmp_path / "broken").write_bytes(b"PAR1")
    with pytest.raises(ArtifactCorrupt, match="the reference"):
        measure(tmp_path / "broken", good)
