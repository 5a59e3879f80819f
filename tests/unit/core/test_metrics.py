from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from airflow_ml.core.metrics import METRICS, auc, metric
from airflow_ml.errors import ConfigurationError, EmptyDataset

#: Few distinct scores, so that ties are common.
ROWS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])), min_size=2)
BOTH = ROWS.filter(lambda rows: len({label for label, _ in rows}) == 2)
NUMBERS = st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=1)


@settings(deadline=None)
@given(BOTH)
def test_binary_metrics_are_those_of_sklearn(rows: list[tuple[int, float]]) -> None:
    label, prediction = zip(*rows, strict=True)
    assert metric("auc")(label, prediction) == pytest.approx(oracle.roc_auc_score(label, prediction))
    assert metric("brier")(label, prediction) == pytest.approx(oracle.brier_score_loss(label, prediction))
    assert metric("log_loss")(label, prediction) == pytest.approx(oracle.log_loss(label, prediction))
    called = [int(value >= 0.5) for value in prediction]
    assert metric("accuracy")(label, prediction) == pytest.approx(oracle.accuracy_score(label, called))


@settings(deadline=None)
@given(NUMBERS)
def test_errors_of_numbers_are_those_of_sklearn(rows: list[tuple[float, float]]) -> None:
    label, prediction = zip(*rows, strict=True)
    assert metric("mse")(label, prediction) == pytest.approx(oracle.mean_squared_error(label, prediction))
    assert metric("rmse")(label, prediction) == pytest.approx(oracle.root_mean_squared_error(label, prediction))
    assert metric("mae")(label, prediction) == pytest.approx(oracle.mean_absolute_error(label, prediction))


@settings(deadline=None)
@given(BOTH)
def test_turning_the_ranking_turns_auc(rows: list[tuple[int, float]]) -> None:
    label, prediction = zip(*rows, strict=True)
    assert auc(label, prediction) + auc(label, [-value for value in prediction]) == pytest.approx(1)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf, None])
def test_poison_is_refused(name: str, poison: Any) -> None:
    with pytest.raises(ConfigurationError, match="1 of 2"):
        metric(name)([0, 1], [0.5, poison])
    with pytest.raises(ConfigurationError, match="1 of 2"):
        metric(name)([0, poison], [0.5, 0.5])


@pytest.mark.parametrize("name", METRICS)
def test_no_rows_and_ragged_rows_are_refused(name: str) -> None:
    with pytest.raises(EmptyDataset, match=name):
        metric(name)([], [])
    with pytest.raises(ConfigurationError, match="1 predictions, 2 labels"):
        metric(name)([0, 1], [0.5])


@pytest.mark.parametrize("name", [name for name, one in METRICS.items() if one.binary])
def test_binary_metrics_refuse_other_numbers(name: str) -> None:
    with pytest.raises(ConfigurationError, match="labels of 0 and 1"):
        metric(name)([0, 2], [0.5, 0.5])
    with pytest.raises(ConfigurationError, match="probabilit"):
        metric(name)([0, 1], [0.5, 1.5])


def test_one_class_has_no_auc() -> None:
    with pytest.raises(ConfigurationError, match="2 positive and 0 negative"):
        metric("auc")([1, 1], [0.5, 0.6])


def test_unknown_metric_lists_the_known() -> None:
    with pytest.raises(ConfigurationError, match=r"Did you mean brier\? Known are accuracy, auc, brier"):
        metric("briar")


def test_directions() -> None:
    assert {name: one.direction for name, one in METRICS.items()} == {
        "brier": "minimize",
        "log_loss": "minimize",
        "auc": "maximize",
        "accuracy": "maximize",
        "mse": "minimize",
        "rmse": "minimize",
        "mae": "minimize",
    }
