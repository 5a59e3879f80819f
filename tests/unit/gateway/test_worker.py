"""What a model process answers does not depend on the way its values took."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.gateway.models import _pack
from airflow_ml.gateway.worker import predict
from airflow_ml.runtime.grouped_model import GroupedModel
from airflow_ml.testing.served_models import store_models

ROWS: dict[str, list[Any]] = {"x": [1, 2.5, True, -4], "z": [0.5, 3, 1e300, False], "g": ["a", "b", None, 7]}


def of(slope: float) -> Any:
    frame = pd.DataFrame({"x": [0.0, 1.0, 2.0], "z": [1.0, 0.0, 2.0]})
    return LinearRegression().fit(frame, slope * frame["x"] - frame["z"])


@pytest.mark.parametrize("by", [None, "g", "x"])
def test_numbers_packed_or_listed_score_the_same(tmp_path: Path, by: str | None) -> None:
    store = FolderStore(tmp_path)
    members = {"a": of(2.0), "7": of(3.0), "true": of(4.0)} if by else None
    model = GroupedModel.load(store, store_models(store, of(1.0), ["x", "z"], by=by, members=members))
    listed = model.predict(pd.DataFrame({name: ROWS[name] for name in model.columns}))
    packed = [name for name in model.features if name != by]
    numbers = bytearray().join(array("d", ROWS[name]).tobytes() for name in packed)
    columns = {name: ROWS[name] for name in model.columns if name not in packed}
    answered = predict(model, {"rows": 4, "numbers": packed, "columns": columns}, numbers)
    # Not to the last bit: a sum over numbers that lie otherwise in memory is taken in another order.
    assert answered.tolist() == pytest.approx(listed.tolist(), rel=1e-12)


def test_what_is_no_finite_number_is_nan(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    model = GroupedModel.load(store, store_models(store, of(1e200), ["x", "z"]))
    question = {"rows": 2, "numbers": ["x", "z"], "columns": {}}
    first, second = predict(model, question, bytearray(array("d", [1e200, 1.0, 0.0, 0.0]).tobytes()))
    assert (first != first, second == second) == (True, True)


@pytest.mark.parametrize(
    ("values", "numbers"),
    [([1, True, None, 0.5], 4), ([1, "2"], None), ([10**400], None), ([[1]], None), ([], 0), ([None, "x"], None)],
)
def test_only_numbers_are_packed(values: list[Any], numbers: int | None) -> None:
    packed = _pack(values)
    assert (packed if packed is None else len(packed) // 8) == numbers
