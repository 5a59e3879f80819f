"""Tables of several libraries come back as what they were."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.errors import NoCodec
from airflow_ml.runtime.codecs import load_value, store_value


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def frame() -> pl.DataFrame:
    return pl.DataFrame({"n": [1, None, 3], "carrier": ["AA", "B6", None]}).with_columns(
        pl.col("carrier").cast(pl.Categorical)
    )


def test_a_polars_frame(store: FolderStore) -> None:
    artifact = store_value(frame(), store)
    assert (artifact.format, artifact.rows, [column.name for column in artifact.columns]) == (
        "parquet",
        3,
        ["n", "carrier"],
    )
    assert_frame_equal(load_value(artifact, store), frame())
    assert store_value(frame(), store).digest == artifact.digest, "the same rows are the same bytes"


def test_a_lazy_polars_frame_comes_back_lazy(store: FolderStore) -> None:
    loaded = load_value(store_value(frame().lazy().filter(pl.col("n") > 1), store), store)
    assert isinstance(loaded, pl.LazyFrame)
    assert loaded.collect()["n"].to_list() == [3]


def test_a_polars_column_of_objects_is_refused(store: FolderStore) -> None:
    with pytest.raises(NoCodec, match="not table data"):
        store_value(pl.DataFrame({"a": pl.Series([object()], dtype=pl.Object)}), store)


def test_an_arrow_dataset_of_many_files_becomes_one(store: FolderStore, tmp_path: Path) -> None:
    os.mkdir(tmp_path / "parts")
    for number in range(3):
        pq.write_table(pa.table({"n": [number] * 1000}), tmp_path / "parts" / f"{number}.parquet")
    artifact = store_value(ds.dataset(tmp_path / "parts"), store)
    loaded = load_value(artifact, store)
    assert artifact.rows == 3000
    assert isinstance(loaded, ds.Dataset)
    assert loaded.to_table(filter=ds.field("n") == 2).num_rows == 1000
