from __future__ import annotations

import importlib.util
import math
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.features import FeatureSet
from airflow_ml.errors import (
    ColumnMissing,
    ConfigurationError,
    DataTooLarge,
    EmptyDataset,
    HoldoutSealed,
    MissingDependency,
)
from airflow_ml.runtime.data import Data, frame_for_model, open_holdout

START = datetime(2013, 1, 1, tzinfo=UTC)
SIZES = {"train": 900, "validate": 60, "test": 40}


def artifact(name: str) -> Artifact:
    return Artifact(digest="sha256:" + "0" * 64, format=name, size_bytes=1, uri="memory")


RECORD = FeatureSet(
    view="v",
    view_digest="sha256:" + "1" * 64,
    definition=artifact("json"),
    artifact=artifact("parquet"),
    key="k",
    predict_at="at",
    label="y",
    features=("x", "n", "flag", "carrier"),
    carried=("origin",),
    split_rows=SIZES,
    spine=artifact("parquet"),
    engine="duckdb",
    as_of=START + timedelta(days=60),
)


def make_table() -> pa.Table:
    splits = [name for name, rows in SIZES.items() for _ in range(rows)]
    rows = len(splits)
    carriers = ["AA", "B6", None, "UA"]
    return pa.table(
        {
            "k": pa.array(range(rows), pa.int64()),
            "at": pa.array([START + timedelta(minutes=n) for n in range(rows)], pa.timestamp("us", tz="UTC")),
            "y": pa.array([n % 3 == 0 for n in range(rows)], pa.bool_()),
            "split": pa.array(splits, pa.string()),
            "origin": pa.array(["EWR" if n % 4 else "JFK" for n in range(rows)], pa.string()),
            "x": pa.array([n / 8 if n % 10 else None for n in range(rows)], pa.float64()),
            "n": pa.array([n if n % 11 else None for n in range(rows)], pa.int64()),
            "flag": pa.array([n % 2 == 0 for n in range(rows)], pa.bool_()),
            # DL never flies in training; WN only from JFK
            "carrier": pa.array(
                ["DL" if n == 950 else "WN" if n == 400 else carriers[n % 4] for n in range(rows)], pa.string()
            ),
        }
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "features.parquet"
    pq.write_table(make_table(), file, row_group_size=128)
    return file


def test_x_and_y_fit_a_model_as_they_are(path: Path) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier

    data = Data(path, RECORD)
    model = HistGradientBoostingClassifier(max_iter=3, random_state=0).fit(*data.train.xy())
    assert model.is_categorical_.tolist() == [False, False, False, True]
    assert model.predict_proba(data.validate.X).shape == (60, 2)


def test_types_are_the_same_with_and_without_nulls(path: Path) -> None:
    data = Data(path, RECORD)
    X, y = data.train.xy()
    assert list(X.columns) == list(RECORD.features)
    assert [str(kind) for kind in X.dtypes] == ["float64", "float64", "float64", "category"]
    assert (X.shape, y.shape, y.dtype) == ((900, 4), (900,), np.int64)
    assert math.isnan(X["n"][0])
    assert X["flag"][:3].tolist() == [1.0, 0.0, 1.0]
    assert y[:4].tolist() == [1, 0, 0, 1]
    assert X["carrier"].isna().sum() == 225


def test_categories_come_from_the_whole_training_split(path: Path) -> None:
    everything, one = Data(path, RECORD), Data(path, RECORD, group=("origin", "EWR"), max_train_rows=10)
    assert everything.categories == one.categories == {"carrier": ["AA", "B6", "UA", "WN"]}
    assert list(one.train.X["carrier"].cat.categories) == ["AA", "B6", "UA", "WN"]
    assert one.train.X["carrier"].dtype == everything.validate.X["carrier"].dtype
    unseen = everything.validate.frame
    assert unseen.loc[unseen["k"] == 950, "carrier"].isna().all()


def test_a_group_sees_its_own_rows(path: Path) -> None:
    data = Data(path, RECORD, group=("origin", "JFK"))
    assert (data.train.rows, data.validate.rows) == (225, 15)
    assert set(data.train.frame["origin"]) == {"JFK"}
    assert data.train.dataset.to_table().num_rows == 225
    number = Data(path, RECORD, group=("k", "17"))
    assert number.train.frame["k"].tolist() == [17]


def test_the_frame_keeps_the_carried_columns(path: Path) -> None:
    frame = Data(path, RECORD).validate.frame
    assert list(frame.columns) == ["k", "at", "y", "split", "origin", *RECORD.features]
    pd.testing.assert_frame_equal(frame[list(RECORD.features)], Data(path, RECORD).validate.X)


def test_the_holdout_is_sealed(path: Path) -> None:
    with pytest.raises(HoldoutSealed, match="gate_model"):
        _ = Data(path, RECORD).test
    opened = open_holdout(path, RECORD, group=("origin", "JFK"))
    assert opened.test.frame["k"].tolist() == list(range(960, 1000, 4))


def test_no_part_shows_a_row_of_another(path: Path) -> None:
    data = open_holdout(path, RECORD)
    seen = [part.frame["k"].tolist() for part in (data.train, data.validate, data.test)]
    assert [len(keys) for keys in seen] == [900, 60, 40]
    assert sorted(key for keys in seen for key in keys) == list(range(1000))
    refit = Data(path, RECORD, train_splits=("train", "validate"))
    assert refit.train.frame["k"].tolist() == list(range(960))


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(1, 1000), seed=st.integers(0, 2**32 - 1))
def test_a_sample_is_repeatable_and_a_subset(path: Path, rows: int, seed: int) -> None:
    one = Data(path, RECORD, max_train_rows=rows, seed=seed).train
    keys = one.frame["k"].tolist()
    assert len(keys) == one.rows == min(rows, 900)
    assert keys == sorted(set(keys))
    assert Data(path, RECORD, max_train_rows=rows, seed=seed).train.frame["k"].tolist() == keys
    assert Data(path, RECORD, max_train_rows=rows, seed=seed).validate.rows == 60


def test_another_seed_is_another_sample(path: Path) -> None:
    samples = {tuple(Data(path, RECORD, max_train_rows=20, seed=seed).train.frame["k"]) for seed in range(5)}
    assert len(samples) == 5


@settings(max_examples=20, deadline=None)
@given(n_rows=st.integers(1, 1100), sample=st.sampled_from([None, 1, 77, 899]))
def test_batches_are_the_rows_in_order(path: Path, n_rows: int, sample: int | None) -> None:
    train = Data(path, RECORD, max_train_rows=sample, seed=3).train
    batches = list(train.batches(n_rows))
    assert [len(y) for _, y in batches[:-1]] == [n_rows] * (len(batches) - 1)
    assert 0 < len(batches[-1][1]) <= n_rows
    pd.testing.assert_frame_equal(pd.concat([X for X, _ in batches], ignore_index=True), train.X)
    assert np.concatenate([y for _, y in batches]).tolist() == train.y.tolist()


def test_what_a_user_changes_is_their_own(path: Path) -> None:
    train = Data(path, RECORD).train
    X, y = train.xy()
    X["x"] = 0.0
    X.loc[0, "n"] = 9.0
    y[:] = 7
    assert train.X["x"].nunique() > 1
    assert math.isnan(train.X["n"][0])
    assert set(train.y) == {0, 1}


def test_too_many_rows_are_refused_and_can_still_be_read(path: Path) -> None:
    data = Data(path, RECORD, max_memory_rows=100)
    for read in (lambda: data.train.X, lambda: data.train.y, data.train.xy, lambda: data.train.frame):
        with pytest.raises(DataTooLarge, match=r"900.*\.batches"):
            read()
    assert sum(len(y) for _, y in data.train.batches(64)) == 900
    assert Data(path, RECORD, max_memory_rows=100, max_train_rows=100).train.X.shape == (100, 4)


def test_a_group_without_rows_says_so(path: Path) -> None:
    part = Data(path, RECORD, group=("origin", "LGA")).train
    assert part.rows == 0
    assert list(part.batches(10)) == []
    with pytest.raises(EmptyDataset, match="LGA"):
        _ = part.X


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"train_splits": ("train", "test")}, ConfigurationError),
        ({"train_splits": ()}, ConfigurationError),
        ({"max_train_rows": 0}, ConfigurationError),
    ],
)
def test_senseless_options_are_refused(path: Path, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Data(path, RECORD, **options)


def test_other_bad_requests(path: Path) -> None:
    with pytest.raises(ColumnMissing, match="region"):
        _ = Data(path, RECORD, group=("region", "x")).train.rows
    with pytest.raises(ConfigurationError):
        list(Data(path, RECORD).train.batches(0))


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_torch_is_asked_for_by_name(path: Path) -> None:
    with pytest.raises(MissingDependency, match="torch"):
        Data(path, RECORD).train.torch(32)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.filterwarnings("error")
def test_torch_gets_tensors_that_training_may_change(path: Path) -> None:
    batches = list(Data(path, RECORD).train.torch(400))
    batches[0][1].mul_(0)
    assert [tuple(X.shape) for X, _ in batches] == [(400, 4), (400, 4), (100, 4)]
    assert batches[0][0][2, 3] == -1.0


def test_a_forked_worker_reads_after_its_parent_has_read(path: Path) -> None:
    data = Data(path, RECORD)
    expected = data.train.X["x"].sum()
    for _ in range(2):
        pid = os.fork()
        if pid == 0:  # the child tells its verdict by its exit code, and never returns to pytest
            code = 3
            try:
                fresh = Data(path, RECORD, group=("origin", "JFK"))
                code = 0 if data.train.X["x"].sum() == expected and len(fresh.validate.X) == 15 else 4
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_rows_of_a_request_look_like_training_rows(path: Path) -> None:
    data = Data(path, RECORD)
    X = data.validate.X
    raw = make_table().slice(900, 60).to_pandas()
    pd.testing.assert_frame_equal(frame_for_model(raw, RECORD.features, data.categories), X)
    request = pd.DataFrame([{"carrier": "ZZ", "flag": True, "n": 3, "x": None, "surplus": 1}], index=[42])
    shown = frame_for_model(request, RECORD.features, data.categories)
    assert list(shown.columns) == list(RECORD.features)
    assert [str(kind) for kind in shown.dtypes] == [str(kind) for kind in X.dtypes]
    assert shown.index.tolist() == [42]
    assert shown["flag"].tolist() == [1.0]
    assert shown["n"].tolist() == [3.0]
    assert shown[["x", "carrier"]].isna().all(axis=None)


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ColumnMissing, match="n, flag"):
        frame_for_model(pd.DataFrame({"x": [1.0]}), ["x", "n", "flag"], None)
    with pytest.raises(ConfigurationError, match="x is a number"):
        frame_for_model(pd.DataFrame({"x": ["fast"]}), ["x"], None)
    empty = frame_for_model(pd.DataFrame({"x": [], "c": []}), ["x", "c"], {"c": ["a"]})
    assert empty.shape == (0, 2)
