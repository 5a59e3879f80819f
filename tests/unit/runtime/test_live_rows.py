"""Features, scores and outcomes meet row by row, and a row is never counted twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_ml.errors import ColumnMissing, ConfigurationError
from airflow_ml.runtime.live_rows import join_live

MAY, JUNE = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)


def written(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def joined(tmp_path: Path, outcomes: dict[str, Any] | None, **columns: Any) -> list[dict[str, Any]]:
    given = {"id": [1, 2], "at": [MAY, MAY], "x": [0.5, None], "score": [0.1, 0.2], **columns}
    features = written(tmp_path / "features.parquet", **{k: given[k] for k in given if k != "score"})
    scores = written(tmp_path / "scores.parquet", **{k: given[k] for k in ("id", "at", "score")})
    known = None if outcomes is None else written(tmp_path / "outcomes.parquet", **outcomes)
    into = tmp_path / "live.parquet"
    count = join_live(features, scores, known, key="id", predict_at="at", label="y", into=into)
    rows = sorted(pq.read_table(into).to_pylist(), key=lambda row: (row["id"], row["at"]))
    assert count == len(rows)
    return rows


def test_an_outcome_that_is_not_known_yet_is_null(tmp_path: Path) -> None:
    rows = joined(tmp_path, {"id": pa.array([2, 9], pa.int32()), "y": [True, False]})
    assert [(row["id"], row["x"], row["score"], row["y"]) for row in rows] == [
        (1, 0.5, 0.1, None),
        (2, None, 0.2, True),
    ]


def test_the_label_of_the_features_is_not_an_outcome(tmp_path: Path) -> None:
    rows = joined(tmp_path, {"id": [1], "y": [True]}, y=[False, False])
    assert [row["y"] for row in rows] == [True, None]


def test_a_key_that_comes_back_is_a_row_of_its_own(tmp_path: Path) -> None:
    """A customer every month: key and moment name the row, so two rows stay two and keep their own score."""
    rows = joined(tmp_path, None, id=[1, 1], at=[MAY, JUNE])
    assert [(row["at"], row["score"]) for row in rows] == [(MAY, 0.1), (JUNE, 0.2)]


def test_outcomes_that_name_a_key_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"1 of 3 rows.*Select each id once"):
        joined(tmp_path, {"id": [1, 2, 2], "y": [True, False, True]})


def test_outcomes_without_the_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ColumnMissing, match="y"):
        joined(tmp_path, {"id": [1], "late": [True]})
