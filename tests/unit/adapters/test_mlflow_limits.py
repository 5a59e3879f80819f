"""Whatever a user logs fits into MLflow, judged by MLflow's own validation."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Metric, Param, RunTag
from mlflow.utils.validation import (
    MAX_BATCH_LOG_REQUEST_SIZE,
    _validate_batch_log_data,
    _validate_batch_log_limits,
    _validate_model_version_tag,
)

from airflow_ml.adapters.mlflow_limits import (
    MAX_METRICS,
    MAX_PARAMS_OR_TAGS,
    MAX_VERSION_TAG_CHARS,
    batches,
    check_plain,
    fit_key,
    fit_metrics,
    fit_params,
    fit_tags,
    fit_text,
)
from airflow_ml.errors import ConfigurationError

NAMES = st.one_of(
    st.text(max_size=20), st.text(min_size=200, max_size=400), st.sampled_from(["a/../b", "/x", "a//b", "."])
)
TEXTS = st.one_of(st.text(), st.integers(5_000, 200_000).map(lambda n: "é" * n))
VALUES = st.one_of(TEXTS, st.none(), st.booleans(), st.integers(), st.lists(st.integers()), st.just({"a": [1]}))
NUMBERS = st.floats() | st.integers(-(10**6), 10**6)


@pytest.mark.fault("M6")
@given(
    params=st.dictionaries(NAMES, VALUES, max_size=8),
    metrics=st.dictionaries(NAMES, NUMBERS, max_size=8),
    tags=st.dictionaries(NAMES, TEXTS, max_size=8),
)
def test_mlflow_takes_everything(params: dict[str, object], metrics: dict[str, float], tags: dict[str, str]) -> None:
    fitted_params = fit_params(params)  # type: ignore[arg-type]
    fitted_metrics, left_out = fit_metrics(metrics)
    fitted_tags = fit_tags(tags)
    assert (len(fitted_params), len(fitted_tags)) == (len(params), len(tags))
    assert len(fitted_metrics) + len(left_out) == len(metrics)
    assert all(math.isfinite(value) for value in fitted_metrics.values())
    _validate_batch_log_data(
        [Metric(name, value, 0, 0) for name, value in fitted_metrics.items()],
        [Param(name, value) for name, value in fitted_params.items()],
        [RunTag(name, value) for name, value in fitted_tags.items()],
    )
    for name, value in fit_tags(tags, MAX_VERSION_TAG_CHARS).items():
        _validate_model_version_tag(name, value)


@given(
    sizes=st.lists(st.integers(0, 6000), max_size=250),
    limit=st.sampled_from([MAX_PARAMS_OR_TAGS, MAX_METRICS]),
)
def test_batches_hold_everything_once_within_the_limits(sizes: list[int], limit: int) -> None:
    items = {f"k{position}": "é" * size for position, size in enumerate(sizes)}
    found: dict[str, str] = {}
    for batch in batches(items, count=limit):
        assert 0 < len(batch) <= limit
        assert not set(batch) & set(found)
        found |= batch
        body = json.dumps([{"key": name, "value": value} for name, value in batch.items()], ensure_ascii=False)
        assert len(body.encode()) < MAX_BATCH_LOG_REQUEST_SIZE
        if limit == MAX_PARAMS_OR_TAGS:
            _validate_batch_log_limits([], [Param(name, "") for name in batch], [])
    assert found == items


@given(one=NAMES, two=NAMES)
def test_two_names_never_become_one(one: str, two: str) -> None:
    assert (fit_key(one) == fit_key(two)) == (one == two)


def test_a_long_text_keeps_its_head_and_names_the_whole() -> None:
    fitted = fit_text("abc" + "x" * 10_000, 6000)
    assert len(fitted) == 6000
    assert fitted.startswith("abcx")
    assert fitted.endswith("(10003 characters)")
    assert fitted != fit_text("abc" + "x" * 9_999 + "y", 6000)
    assert fit_text({"b": 1, "a": [None]}, 100) == '{"a":[null],"b":1}'


@pytest.mark.parametrize("bad", ["", "it's", 'say "x"', "`x`", "a\nb", " a", "x" * 251, "ä"])
def test_names_that_need_quoting_are_refused(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="Not a key"):
        check_plain("key", bad)
    assert check_plain("key", "sha256:ab/t01") == "sha256:ab/t01"
