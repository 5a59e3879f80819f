"""The sealed holdout, scored."""

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
from airflow_ml.errors import ColumnMissing, ConfigurationError, EmptyDataset, FeatureViewMismatch
from airflow_ml.runtime.call import parse_argument
from airflow_ml.runtime.codecs import load_value, store_value
from airflow_ml.runtime.context import CallContext, running
from airflow_ml.runtime.evaluate import score_holdout
from airflow_ml.runtime.holdout import read_holdout
from airflow_ml.testing.feature_sets import flights, store_feature_set

FRAME = flights()
TEST = FRAME[FRAME["split"] == "test"]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def record(store: FolderStore) -> FeatureSet:
    return store_feature_set(store, FRAME)


def stops_times(store: FolderStore, factor: float) -> Artifact:
    """The manifest of a model whose score is the number of stops times a factor."""
    model = LinearRegression().fit(pd.DataFrame({"stops": [0.0, 1.0]}), [0.0, factor])
    entry = {"params": {}, "trial": "t", "value": 0.0, "rows": 1, "model": store_value(model, store).to_dict()}
    manifest = {"by": "origin", "features": ["stops"], "categories": {}, "members": {"EWR": entry}, "pooled": entry}
    return store_value(manifest, store)


def run(store: FolderStore, record: FeatureSet, **changes: Any) -> pd.DataFrame:
    wire: dict[str, Any] = {
        "features": record.to_dict(),
        "candidate": stops_times(store, 1.0).to_dict(),
        "champion": None,
        "champion_features": None,
        "slices": ["origin"],
        **changes,
    }
    ref = FunctionRef(kind="import", module="m", qualname="f", digest="d")
    call = Call(function=ref, arguments={}, seed=0, environment="e")
    # As the runner passes them: records parsed, artifacts as their values.
    arguments = {name: parse_argument(value, store) for name, value in wire.items()}
    with running(CallContext(store=store, call=call, log=lambda line: None)):
        artifact = Artifact.from_dict(score_holdout(**arguments))
    read = read_holdout(store.path(artifact), slices=wire["slices"])
    assert (read.champion is None) == (changes.get("champion") is None)
    frame: pd.DataFrame = load_value(artifact, store)
    return frame


def test_a_label_of_text_is_named(store: FolderStore) -> None:
    """A classifier learns from text, but no metric of a gate is of text."""
    import dataclasses

    record = dataclasses.replace(store_feature_set(store, FRAME), label="tailnum")
    with pytest.raises(ConfigurationError, match=r"The label tailnum is no number: string.*0 and 1"):
        run(store, record)


def test_only_the_test_split_is_scored_in_its_order(store: FolderStore, record: FeatureSet) -> None:
    scored = run(store, record)
    assert list(scored.columns) == ["flight_id", "day", "label", "candidate", "baseline", "origin"]
    assert scored["flight_id"].tolist() == TEST["flight_id"].tolist()
    np.testing.assert_array_equal(scored["label"], TEST["late"].astype(float))
    np.testing.assert_allclose(scored["candidate"], TEST["stops"], atol=1e-12)
    assert scored["origin"].tolist() == TEST["origin"].tolist()
    assert scored["day"].tolist() == [f"{moment:%Y-%m-%d}" for moment in TEST["predict_at"]]
    assert scored["baseline"].unique() == pytest.approx([FRAME.loc[FRAME["split"] == "train", "late"].mean()])


def test_a_champion_of_the_same_view_is_scored_on_the_same_rows(store: FolderStore, record: FeatureSet) -> None:
    scored = run(store, record, champion=stops_times(store, 2.0).to_dict())
    np.testing.assert_allclose(scored["champion"], 2 * TEST["stops"], atol=1e-12)


def other_view(store: FolderStore, frame: pd.DataFrame, **changes: Any) -> dict[str, Any]:
    """Another view over the same spine, as a build that serves leaves it: shuffled, with other values."""
    shuffled = frame.sample(frac=1.0, random_state=0).assign(split="serve", stops=frame["stops"] + 10)
    return store_feature_set(store, shuffled, view="older", **changes).to_dict()


def test_a_champion_of_another_view_is_joined_by_key(store: FolderStore, record: FeatureSet) -> None:
    scored = run(
        store,
        record,
        champion=stops_times(store, 1.0).to_dict(),
        champion_features=other_view(store, FRAME.drop(columns="late")),
    )
    np.testing.assert_allclose(scored["champion"], scored["candidate"] + 10, atol=1e-9)


def test_a_champion_without_some_of_the_rows_is_refused(store: FolderStore, record: FeatureSet) -> None:
    champion = stops_times(store, 1.0).to_dict()
    with pytest.raises(FeatureViewMismatch, match=f"5 of {len(TEST)}"):
        run(store, record, champion=champion, champion_features=other_view(store, FRAME.iloc[:-5]))
    twice = pd.concat([FRAME, FRAME.iloc[-1:]], ignore_index=True)
    with pytest.raises(FeatureViewMismatch, match="a key twice"):
        run(store, record, champion=champion, champion_features=other_view(store, twice))


@pytest.mark.parametrize(
    ("slices", "error", "said"),
    [
        (["origin", "gate"], ColumnMissing, "gate"),
        (["label"], ColumnMissing, "label"),
        (["flight_id"], ConfigurationError, "flight_id"),
    ],
)
def test_slices_that_cannot_be(
    store: FolderStore, record: FeatureSet, slices: list[str], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(store, record, slices=slices)


def test_a_reserved_slice_name_is_refused(store: FolderStore) -> None:
    record = store_feature_set(store, FRAME, carried=("tailnum", "origin"), label="weekend", features=("stops",))
    with pytest.raises(ConfigurationError, match="cannot have this name"):
        run(store, record, slices=["flight_id"])


def test_no_test_rows_is_an_error(store: FolderStore) -> None:
    record = store_feature_set(store, FRAME[FRAME["split"] != "test"])
    with pytest.raises(EmptyDataset, match="test split"):
        run(store, record)


def test_a_feature_that_the_data_lacks_is_named(store: FolderStore) -> None:
    record = store_feature_set(store, FRAME.drop(columns="stops"), features=("carrier", "distance", "weekend"))
    with pytest.raises(ColumnMissing, match="stops"):
        run(store, record)
