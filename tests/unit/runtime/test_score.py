"""Batch prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import Call, FunctionRef
from airflow_ml.core.features import FeatureSet
from airflow_ml.errors import ColumnMissing, EmptyDataset
from airflow_ml.runtime import score as score_module
from airflow_ml.runtime.codecs import load_value, store_value
from airflow_ml.runtime.context import CallContext, running
from airflow_ml.runtime.score import score
from airflow_ml.testing.feature_sets import flights, store_feature_set

FRAME = flights(200)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def model_of(store: FolderStore, feature: str = "stops") -> dict[str, Any]:
    model = LinearRegression().fit(pd.DataFrame({feature: [0.0, 1.0]}), [0.0, 1.0])
    entry = {"params": {}, "trial": "t", "value": 0.0, "rows": 1, "model": store_value(model, store).to_dict()}
    manifest = {"by": "origin", "features": [feature], "categories": {}, "members": {}, "pooled": entry}
    return store_value(manifest, store).to_dict()


def run(store: FolderStore, record: FeatureSet, **changes: Any) -> dict[str, Any]:
    ref = FunctionRef(kind="import", module="m", qualname="f", digest="d")
    call = Call(function=ref, arguments={}, seed=0, environment="e")
    arguments = {"model": model_of(store), "name": "flights", "version": "3", **changes}
    with running(CallContext(store=store, call=call, log=lambda line: None)):
        return score(record.to_dict(), **arguments)


@pytest.mark.parametrize("batch_rows", [7, 250_000])
def test_every_row_is_scored_and_says_by_whom(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    monkeypatch.setattr(score_module, "BATCH_ROWS", batch_rows)
    serving = FRAME.drop(columns="late").assign(split="serve")
    answer = run(store, store_feature_set(store, serving), variant="champion")
    artifact = Artifact.from_dict(answer["scores"])
    scores = load_value(artifact, store).to_pandas()
    assert [column.name for column in artifact.columns] == list(scores.columns)
    assert list(scores.columns) == ["flight_id", "predict_at", "score", "model", "version", "variant"]
    assert artifact.rows == len(scores) == 200
    assert scores["flight_id"].tolist() == FRAME["flight_id"].tolist()
    np.testing.assert_allclose(scores["score"], FRAME["stops"], atol=1e-12)
    assert scores[["model", "version", "variant"]].drop_duplicates().to_numpy().tolist() == [
        ["flights", "3", "champion"]
    ]
    assert answer["start_at"] == "2013-01-01T00:00:00Z"
    assert answer["end_at"] == "2013-01-17T14:00:00Z"


def test_the_same_rows_give_the_same_artifact(store: FolderStore) -> None:
    record = store_feature_set(store, FRAME)
    assert run(store, record) == run(store, record)
    assert load_value(Artifact.from_dict(run(store, record)["scores"]), store)["variant"].null_count == 200


def test_no_rows_is_an_error(store: FolderStore) -> None:
    with pytest.raises(EmptyDataset, match="no rows to score"):
        run(store, store_feature_set(store, FRAME.head(0)))


def test_a_missing_feature_is_named(store: FolderStore) -> None:
    with pytest.raises(ColumnMissing, match="altitude"):
        run(store, store_feature_set(store, FRAME), model=model_of(store, "altitude"))
