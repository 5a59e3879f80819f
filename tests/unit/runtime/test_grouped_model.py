"""Many models behind one predict, and as an MLflow model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.errors import ArtifactCorrupt, ColumnMissing, EmptyDataset, ModelNotServable, NotARecord
from airflow_ml.runtime.codecs import store_value
from airflow_ml.runtime.data import Data, frame_for_model
from airflow_ml.runtime.grouped_model import GroupedModel, group_name, write_model_dir
from airflow_ml.testing.feature_sets import FEATURES, flights, store_feature_set

FRAME = flights()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small fits on a busy machine spend their time waiting for one another's threads."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    return FolderStore(tmp_path_factory.mktemp("store"))


def constant(value: float) -> Any:
    """A model that answers every row with the same number, so that a test sees which model answered."""
    return LinearRegression().fit(pd.DataFrame({"x": [0.0, 1.0]}), [value, value])


def manifest_of(
    store: FolderStore,
    members: dict[str, Any],
    pooled: Any,
    *,
    by: str | None = "g",
    features: tuple[str, ...] = ("x",),
    categories: dict[str, list[str]] | None = None,
) -> dict[str, Any]:
    def entry(model: Any) -> dict[str, Any]:
        return {"params": {}, "trial": "t", "value": 0.1, "rows": 1, "model": store_value(model, store).to_dict()}

    return {
        "by": by,
        "features": list(features),
        "categories": categories or {},
        "members": {group: entry(model) for group, model in members.items()},
        "pooled": None if pooled is None else entry(pooled),
    }


def build(store: FolderStore, *args: Any, **kwargs: Any) -> GroupedModel:
    return GroupedModel.of(manifest_of(store, *args, **kwargs), store)


@pytest.fixture(scope="module")
def constants(store: FolderStore) -> GroupedModel:
    return build(store, {"a": constant(1.0), "b": constant(2.0)}, constant(9.0))


@given(groups=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_row_is_answered_by_its_group_in_its_place(constants: GroupedModel, groups: list[str | None]) -> None:
    frame = pd.DataFrame({"g": pd.Series(groups, dtype=object), "x": np.zeros(len(groups))})
    frame.index = pd.Index(range(100, 100 + len(groups)))[::-1]
    expected = [{"a": 1.0, "b": 2.0}.get(str(group), 9.0) for group in groups]
    np.testing.assert_allclose(constants.predict(frame), expected)


@pytest.mark.parametrize(
    ("column", "groups"),
    [
        (pd.Series([1, 2, 3]), ["1", "2"]),
        (pd.Series([1.0, 2.0, None]), ["1", "2"]),
        (pd.Series([True, False, None], dtype=object), ["true", "false"]),
        (pd.Series(["1", "2", "3"], dtype="category"), ["1", "2"]),
        (pd.Series([1, 2, None], dtype="Int64"), ["1", "2"]),
    ],
    ids=["int", "float", "bool", "category", "nullable"],
)
def test_groups_of_any_type_find_their_member(store: FolderStore, column: pd.Series[Any], groups: list[str]) -> None:
    model = build(store, {groups[0]: constant(1.0), groups[1]: constant(2.0)}, constant(9.0))
    np.testing.assert_allclose(model.predict(pd.DataFrame({"g": column, "x": 0.0})), [1.0, 2.0, 9.0])


def test_group_names_are_those_of_arrow() -> None:
    import pyarrow as pa

    for values in (pa.array([1, -2]), pa.array([True, False]), pa.array(["x", "1.0"])):
        assert [group_name(value) for value in values.to_pandas()] == values.cast(pa.string()).to_pylist()


def test_without_a_pooled_model_an_unseen_group_is_an_error(store: FolderStore) -> None:
    model = build(store, {"a": constant(1.0)}, None)
    np.testing.assert_allclose(model.predict(pd.DataFrame({"g": ["a"], "x": [0.0]})), [1.0])
    with pytest.raises(ModelNotServable, match="no pooled model: 'z'"):
        model.predict(pd.DataFrame({"g": ["a", "z"], "x": [0.0, 0.0]}))


def test_without_groups_the_one_model_answers(store: FolderStore) -> None:
    for pooled in (None, constant(3.0)):
        model = build(store, {"all": constant(3.0)}, pooled, by=None)
        assert model.columns == ("x",)
        np.testing.assert_allclose(model.predict(pd.DataFrame({"x": [0.0, 5.0]})), [3.0, 3.0])


def test_a_model_is_given_the_columns_that_it_was_fitted_on(store: FolderStore) -> None:
    """A training function may drop features, or change their order, before it fits."""
    rows = pd.DataFrame({"x": [0.0, 1.0, 2.0], "y": [5.0, 5.0, 6.0], "z": [1.0, 3.0, 2.0]})
    fitted = LinearRegression().fit(rows[["z", "x"]], [1.0, 4.0, 2.0])
    model = build(store, {}, fitted, by=None, features=("x", "y", "z"))
    expected = fitted.predict(rows[["z", "x"]])
    assert model.predict(rows).tolist() == expected.tolist()
    assert model.predict_numbers(rows.to_numpy()).tolist() == expected.tolist()


def test_no_rows_give_no_scores(constants: GroupedModel) -> None:
    assert constants.predict(pd.DataFrame({"g": [], "x": []})).shape == (0,)


@pytest.mark.parametrize("lacking", ["g", "x"])
def test_a_missing_column_is_named(constants: GroupedModel, lacking: str) -> None:
    with pytest.raises(ColumnMissing, match=lacking):
        constants.predict(pd.DataFrame({"g": ["a"], "x": [0.0]}).drop(columns=lacking))


def test_probability_where_there_is_one(store: FolderStore) -> None:
    frame = pd.DataFrame({"x": np.arange(20.0), "g": "a"})
    classifier = HistGradientBoostingClassifier(max_iter=5, min_samples_leaf=2).fit(frame[["x"]], frame["x"] > 9)
    scores = build(store, {"a": classifier}, None).predict(frame)
    np.testing.assert_array_equal(scores, classifier.predict_proba(frame[["x"]])[:, 1])
    assert 0 < scores.min() < scores.max() < 1


@pytest.mark.parametrize(("label", "score"), [(0, 0.0), (1, 1.0), (False, 0.0), (True, 1.0)])
def test_a_group_with_one_label_is_sure_of_it(store: FolderStore, label: object, score: float) -> None:
    model = DummyClassifier().fit([[0.0]] * 3, [label] * 3)
    np.testing.assert_array_equal(
        build(store, {"a": model}, None).predict(pd.DataFrame({"g": ["a"], "x": [0.0]})), score
    )


def test_more_than_two_classes_are_refused(store: FolderStore) -> None:
    model = DummyClassifier().fit([[0.0]] * 3, [0, 1, 2])
    with pytest.raises(ModelNotServable, match=r"of several classes .*: DummyClassifier of 3 classes"):
        build(store, {"a": model}, None).predict(pd.DataFrame({"g": ["a"], "x": [0.0]}))


def test_a_model_without_predict_is_refused_when_loaded(store: FolderStore) -> None:
    with pytest.raises(ModelNotServable, match=r"A model without predict: .*StandardScaler"):
        build(store, {"a": StandardScaler().fit([[0.0]])}, None)


def test_a_manifest_that_is_none_is_refused(store: FolderStore) -> None:
    with pytest.raises(NotARecord, match="members"):
        GroupedModel.of({"by": None}, store)
    with pytest.raises(ModelNotServable, match="holds no model"):
        build(store, {}, None)


@pytest.fixture(scope="module")
def trained(store: FolderStore) -> tuple[Artifact, GroupedModel, Any]:
    """Real models with categories and nulls, by origin, which is no feature."""
    record = store_feature_set(store, FRAME)
    path = store.path(record.artifact)

    def fit(group: str | None) -> Any:
        data = Data(path, record, group=("origin", group) if group else None)
        return HistGradientBoostingClassifier(
            max_iter=8, min_samples_leaf=5, random_state=0, categorical_features="from_dtype"
        ).fit(*data.train.xy())

    members = {group: fit(group) for group in ("EWR", "JFK", "LGA")}
    manifest = manifest_of(
        store, members, fit(None), by="origin", features=FEATURES, categories=Data(path, record).categories
    )
    artifact = store_value(manifest, store)
    return artifact, GroupedModel.load(store, artifact), record


def test_raw_rows_are_scored_as_in_training(store: FolderStore, trained: tuple[Any, GroupedModel, Any]) -> None:
    _, model, record = trained
    frame = FRAME[FRAME["origin"] == "JFK"]
    member = model._members["JFK"].model
    data = Data(store.path(record.artifact), record, group=("origin", "JFK"))
    expected = member.predict_proba(data.train.X)[:, 1]
    np.testing.assert_array_equal(model.predict(frame[frame["split"] == "train"]), expected)
    prepared = frame_for_model(frame, FEATURES, model.categories)
    np.testing.assert_array_equal(model.predict(frame), member.predict_proba(prepared)[:, 1])


def test_mlflow_answers_as_the_model_does(
    store: FolderStore, trained: tuple[Artifact, GroupedModel, Any], tmp_path: Path
) -> None:
    import mlflow.pyfunc

    artifact, model, record = trained
    # As register_model passes it: features of the validate split, as categories and floats, without the group.
    example = Data(store.path(record.artifact), record).validate.X.head(5)
    directory = write_model_dir(store, artifact, record, tmp_path / "model", example)
    # Self-contained: another store, or none, is enough.
    loaded = mlflow.pyfunc.load_model(str(directory))
    rows = FRAME[["origin", *FEATURES]].astype({"stops": "float64", "weekend": "float64"})
    rows = rows.astype({"origin": object, "carrier": object})
    np.testing.assert_array_equal(loaded.predict(rows), model.predict(FRAME))
    signature = loaded.metadata.signature
    assert signature.inputs.input_names() == [*FEATURES, "origin"]
    assert not any(column.required for column in signature.inputs.inputs)
    assert loaded.metadata.metadata["view_digest"] == record.view_digest
    needed = (directory / "requirements.txt").read_text()
    assert "airflow-ml==" in needed
    assert "scikit-learn==" in needed
    # Nothing but our own loader: a flavour that unpickles is not there, nor code that travels along.
    text = (directory / "MLmodel").read_text()
    assert "loader_module: airflow_ml.runtime.grouped_model" in text
    assert "cloudpickle" not in text
    assert not list(directory.rglob("*.pkl"))


def test_mlflow_is_told_which_other_library_a_model_needs(store: FolderStore, tmp_path: Path) -> None:
    import lightgbm
    import mlflow.pyfunc

    record = store_feature_set(store, FRAME)
    rows = FRAME[["distance", "stops"]].astype("float64").fillna(0.0)
    fitted = lightgbm.LGBMClassifier(n_estimators=2, verbose=-1).fit(rows, FRAME["late"])
    manifest = store_value(manifest_of(store, {}, fitted, by=None, features=("distance", "stops")), store)
    directory = write_model_dir(store, manifest, record, tmp_path / "model", rows.head(3))
    assert f"lightgbm=={lightgbm.__version__}" in (directory / "requirements.txt").read_text()
    answers = mlflow.pyfunc.load_model(str(directory)).predict(rows)
    np.testing.assert_array_equal(answers, fitted.predict_proba(rows)[:, 1])


def test_the_input_example_can_be_scored(
    store: FolderStore, trained: tuple[Artifact, GroupedModel, Any], tmp_path: Path
) -> None:
    import mlflow.pyfunc

    artifact, _, record = trained
    directory = write_model_dir(store, artifact, record, tmp_path / "model", FRAME.head(50))
    loaded = mlflow.pyfunc.load_model(str(directory))
    example = loaded.metadata.load_input_example(str(directory))
    assert len(example) == 20
    assert loaded.predict(example).shape == (20,)
    served = pd.DataFrame(**json.loads((directory / "serving_input_example.json").read_text())["dataframe_split"])
    assert loaded.predict(served).shape == (20,)


def test_nothing_but_absent_values_can_be_scored(
    store: FolderStore, trained: tuple[Artifact, GroupedModel, Any]
) -> None:
    _, model, _ = trained
    empty = pd.DataFrame({name: [None, None] for name in ("origin", *FEATURES)})
    assert np.isfinite(model.predict(empty)).all()


def test_a_changed_model_file_is_not_loaded(
    store: FolderStore, trained: tuple[Artifact, GroupedModel, Any], tmp_path: Path
) -> None:
    import mlflow.pyfunc

    artifact, _, record = trained
    directory = write_model_dir(store, artifact, record, tmp_path / "model", FRAME.head(3))
    victim = sorted((directory / "data").rglob("*.skops"))[0]
    victim.chmod(0o644)
    victim.write_bytes(victim.read_bytes() + b"\x00")
    with pytest.raises(ArtifactCorrupt, match=r"\.skops"):
        mlflow.pyfunc.load_model(str(directory))


def test_writing_the_directory_loads_no_model(
    store: FolderStore, trained: tuple[Artifact, GroupedModel, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It happens in a task with connections; loading a model runs its author's code."""

    def refuse(*arguments: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("airflow_ml.runtime.grouped_model.read_file", refuse)
    artifact, _, record = trained
    write_model_dir(store, artifact, record, tmp_path / "model", FRAME.head(3))


def test_an_example_without_rows_is_refused(
    store: FolderStore, trained: tuple[Artifact, GroupedModel, Any], tmp_path: Path
) -> None:
    artifact, _, record = trained
    with pytest.raises(EmptyDataset, match="input example"):
        write_model_dir(store, artifact, record, tmp_path / "model", FRAME.head(0))
