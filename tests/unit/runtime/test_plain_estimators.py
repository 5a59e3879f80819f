"""The double over arrays says what the model says of a frame, to the last bit; where that is not sure there is none."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RANSACRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor
from threadpoolctl import threadpool_limits

from airflow_ml.runtime.plain_estimators import plain_estimator

DRAW = np.random.default_rng(5)
FRAME = pd.DataFrame(DRAW.normal(size=(60, 3)), columns=["a", "b", "c"])
LABEL = FRAME["a"] > 0
NAMES = ("a", "b", "c")


class Own(LogisticRegression):
    """Somebody's estimator, which may look at anything."""


def trees(**more: Any) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=3, **more)


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        Ridge(),
        make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(), make_pipeline("passthrough", Ridge())),
        trees(),
        RandomForestClassifier(3, random_state=1),
        DecisionTreeRegressor(random_state=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_double_says_the_same_without_a_warning(model: Any) -> None:
    with threadpool_limits(1):
        model = copy.deepcopy(model).fit(FRAME, LABEL)
        plain = plain_estimator(model, NAMES)
        # As a model's process gets them: one feature after the other.
        values = np.ascontiguousarray(FRAME.to_numpy().T).T
        ask = "predict_proba" if hasattr(model, "predict_proba") else "predict"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for rows in (1, 7, 60):
                answered = getattr(plain, ask)(values[:rows])
                assert np.array_equal(answered, getattr(model, ask)(FRAME.head(rows)))
    assert list(model.feature_names_in_) == list(NAMES), "the model itself still knows its names"


@pytest.mark.parametrize(
    "model",
    [
        Own(),
        make_pipeline(StandardScaler(), Own()),
        make_pipeline(StandardScaler().set_output(transform="pandas"), Ridge()),
        make_pipeline(ColumnTransformer([("one", StandardScaler(), ["b"])]), Ridge()),
        make_pipeline(FunctionTransformer(lambda frame: frame), Ridge()),
        VotingClassifier([("one", LogisticRegression())]),
        RANSACRegressor(LinearRegression()),
        trees(categorical_features=["b"]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_what_may_look_at_names_has_no_double(model: Any) -> None:
    frame = FRAME.assign(b=FRAME["b"].round().clip(0, 2))
    with threadpool_limits(1):
        fitted = copy.deepcopy(model).fit(frame, FRAME["a"] if isinstance(model, RANSACRegressor) else LABEL)
    assert plain_estimator(fitted, NAMES) is None


def test_a_model_of_other_columns_or_another_order_has_no_double() -> None:
    model = Ridge().fit(FRAME, FRAME["a"])
    assert plain_estimator(model, ("b", "a", "c")) is None
    assert plain_estimator(Ridge().fit(FRAME.to_numpy(), FRAME["a"]), NAMES) is None
    assert plain_estimator(object(), NAMES) is None
