"""The rows that a function is given instead of a frame."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from airflow_ml.core.artifact import Artifact
from airflow_ml.errors import ColumnMissing
from airflow_ml.runtime.rows import Rows


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    pq.write_table(pa.table({"bmi": [21.5, 30.1], "ward": ["A", "B"]}), tmp_path / "rows.parquet")
    artifact = Artifact(digest="sha256:" + "0" * 64, format="parquet", size_bytes=1, uri="", rows=2)
    return Rows(artifact, lambda: tmp_path / "rows.parquet")


def test_columns_are_chosen_by_name(rows: Rows) -> None:
    assert list(rows.frame()) == ["bmi", "ward"]
    assert list(rows.frame(["ward"])) == list(rows.frame("ward")) == ["ward"]
    assert [list(batch) for batch in rows.batches(1, ["bmi"])] == [["bmi"], ["bmi"]]


def test_a_column_that_is_not_there_is_named(rows: Rows) -> None:
    said = r"no such columns: bmj. Did you mean bmi\? There are bmi, ward"
    with pytest.raises(ColumnMissing, match=said):
        rows.frame(["bmj"])
    with pytest.raises(ColumnMissing, match=said):
        next(rows.batches(1, ["bmj"]))
