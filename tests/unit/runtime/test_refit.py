"""The winners of a sweep, fitted again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import Call
from airflow_ml.core.features import FeatureSet
from airflow_ml.errors import ConfigurationError, ModelNotServable, NoCodec
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.codecs import load_value
from airflow_ml.runtime.context import CallContext, running
from airflow_ml.runtime.data import Data
from airflow_ml.runtime.grouped_model import GroupedModel
from airflow_ml.runtime.refit import refit
from airflow_ml.testing.feature_sets import flights, store_feature_set

FRAME = flights()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small fits on a busy machine spend their time waiting for one another's threads."""
    with threadpool_limits(limits=1):
        yield


def train(data, params, trial, bins=255):  # type: ignore[no-untyped-def]
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import brier_score_loss

    model = HistGradientBoostingClassifier(
        **params, max_bins=bins, min_samples_leaf=5, early_stopping=False, random_state=trial.seed
    ).fit(*data.train.xy())
    return {"brier": brier_score_loss(data.validate.y, model.predict_proba(data.validate.X)[:, 1])}, model


def train_without_model(data, params):  # type: ignore[no-untyped-def]
    return {"brier": 0.1}


def train_without_predict(data, params):  # type: ignore[no-untyped-def]
    from sklearn.preprocessing import StandardScaler

    return 0.1, StandardScaler().fit(data.train.X[["distance"]])


def train_own_class(data, params):  # type: ignore[no-untyped-def]
    class Mean:
        def predict(self, X):  # type: ignore[no-untyped-def]
            return [0.5] * len(X)

    return 0.1, Mean()


def train_engineered(data, params):  # type: ignore[no-untyped-def]
    from sklearn.linear_model import LinearRegression

    X, y = data.train.xy()
    return 0.1, LinearRegression().fit(X[["distance"]].fillna(0).assign(squared=1.0), y)


def train_three_classes(data, params):  # type: ignore[no-untyped-def]
    from sklearn.dummy import DummyClassifier

    X, _ = data.train.xy()
    return 0.1, DummyClassifier().fit(X, ["abc"[row % 3] for row in range(len(X))])


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def record(store: FolderStore) -> FeatureSet:
    return store_feature_set(store, FRAME)


MEMBERS = [
    {"group": group, "params": {"max_iter": count}, "trial": f"t{count}", "value": 0.2, "seed": 7}
    for group, count in (("JFK", 4), ("EWR", 6), ("LGA", 5))
]


def run(
    store: FolderStore, record: FeatureSet, *, function: Callable[..., Any] = train, lines: Any = None, **changes: Any
) -> dict[str, Any]:
    ref = as_function_ref(capture(function), store)
    call = Call(function=ref, arguments={}, seed=3, environment="e")
    arguments: dict[str, Any] = {
        "function": ref.to_dict(),
        "features": record.to_dict(),
        "members": MEMBERS,
        "by": "origin",
        "mode": "train+validate",
        "constants": {"bins": 63} if function is train else {},
        **changes,
    }
    with running(CallContext(store=store, call=call, log=(lines if lines is not None else []).append)):
        return refit(**arguments)


def test_each_group_is_fitted_on_all_its_rows_and_the_pooled_model_on_all(
    store: FolderStore, record: FeatureSet
) -> None:
    lines: list[str] = []
    artifact = Artifact.from_dict(run(store, record, lines=lines))
    manifest = load_value(artifact, store)
    used = FRAME[FRAME["split"].isin(["train", "validate"])]
    assert {group: entry["rows"] for group, entry in manifest["members"].items()} == {
        group: int((used["origin"] == group).sum()) for group in ("EWR", "JFK", "LGA")
    }
    assert manifest["pooled"]["rows"] == len(used)
    # EWR has the most rows, so the pooled model has its parameters.
    assert manifest["pooled"]["params"] == {"max_iter": 6}
    assert manifest["members"]["LGA"]["params"] == {"max_iter": 5}
    assert manifest["members"]["LGA"]["trial"] == "t5"
    assert manifest["by"] == "origin"
    assert manifest["features"] == list(record.features)
    assert manifest["categories"] == {"carrier": ["AA", "B6", "UA"]}
    assert len(lines) == 4
    models = [load_value(Artifact.from_dict(e["model"]), store) for e in [*manifest["members"].values()]]
    assert [model.n_iter_ for model in models] == [6, 4, 5]
    assert {model.max_bins for model in models} == {63}
    assert {model.random_state for model in models} == {7}


def test_the_models_answer_like_the_functions_own(store: FolderStore, record: FeatureSet) -> None:
    model = GroupedModel.load(store, Artifact.from_dict(run(store, record, mode="train")))
    data = Data(store.path(record.artifact), record, group=("origin", "JFK"))

    class Seven:
        seed = 7

    _, expected = train(data, {"max_iter": 4}, Seven(), bins=63)
    test = FRAME[(FRAME["split"] == "validate") & (FRAME["origin"] == "JFK")]
    np.testing.assert_array_equal(model.predict(test), expected.predict_proba(data.validate.X)[:, 1])


def test_the_same_call_gives_the_same_manifest(store: FolderStore, record: FeatureSet) -> None:
    assert run(store, record) == run(store, record, members=MEMBERS[::-1])


def test_without_groups_one_model_is_member_and_pool(store: FolderStore, record: FeatureSet) -> None:
    lines: list[str] = []
    members = [{**MEMBERS[0], "group": "all"}]
    manifest = load_value(Artifact.from_dict(run(store, record, by=None, members=members, lines=lines)), store)
    assert manifest["members"] == {"all": manifest["pooled"]}
    assert len(lines) == 1


@pytest.mark.parametrize(("mode", "limit", "rows"), [("none", 50, 50), ("train", 50, 420), ("train+validate", 50, 510)])
def test_the_mode_says_which_rows(store: FolderStore, record: FeatureSet, mode: str, limit: int, rows: int) -> None:
    manifest = load_value(Artifact.from_dict(run(store, record, mode=mode, max_train_rows=limit)), store)
    assert manifest["pooled"]["rows"] == rows


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        (train_without_model, ModelNotServable, "returns no model: it returned a dict. Return"),
        (train_without_predict, ModelNotServable, "StandardScaler"),
        (train_own_class, NoCodec, "Mean"),
        (train_engineered, ModelNotServable, "features carrier.*: ValueError.*squared.*Pipeline"),
        (train_three_classes, ModelNotServable, "DummyClassifier of 3 classes"),
    ],
)
def test_what_cannot_serve_is_refused(
    store: FolderStore, record: FeatureSet, function: Callable[..., Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=f"(?s){said}"):
        run(store, record, function=function)


def test_bad_arguments_are_refused(store: FolderStore, record: FeatureSet) -> None:
    with pytest.raises(ConfigurationError, match="mode"):
        run(store, record, mode="test")
    with pytest.raises(ConfigurationError, match="no winner"):
        run(store, record, members=[])


@pytest.mark.integration
def test_it_runs_in_the_runner(store: FolderStore, record: FeatureSet) -> None:
    from airflow_ml.runtime.environment import environment_digest
    from airflow_ml.runtime.runner import run_call

    ref = as_function_ref(capture(train), store)
    call = Call(
        function=as_function_ref(capture(refit), store),
        arguments={
            "function": ref.to_dict(),
            "features": record.to_dict(),
            "members": MEMBERS,  # type: ignore[dict-item]
            "by": "origin",
            "mode": "train",
            "constants": {},
        },
        seed=3,
        environment=environment_digest(),
    )
    result = run_call(call, store_uri=store.uri, timeout_seconds=120, log=print)
    assert result.status == "succeeded", result.error + result.traceback
    model = GroupedModel.load(store, Artifact.from_dict(result.value))  # type: ignore[arg-type]
    assert np.isfinite(model.predict(FRAME)).all()
