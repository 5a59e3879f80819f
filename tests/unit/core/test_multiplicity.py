"""Oracle: statsmodels."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from airflow_ml.core.multiplicity import always_valid_p, benjamini_hochberg, holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@pytest.mark.parametrize(("ours", "method"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
@settings(max_examples=60, deadline=None)
@given(values=P_VALUES)
def test_as_statsmodels(ours: object, method: str, values: list[float]) -> None:
    named = {f"m{number:02}": value for number, value in enumerate(values)}
    found = ours(named)  # type: ignore[operator]
    expected = multipletests(values, method=method)[1]
    assert [found[name] for name in named] == pytest.approx(list(expected), abs=1e-12)


@given(values=P_VALUES)
def test_corrections_only_raise_and_keep_the_order(values: list[float]) -> None:
    named = {f"m{number:02}": value for number, value in enumerate(values)}
    for correct in (holm, benjamini_hochberg):
        found = correct(named)
        assert all(value <= found[name] * (1 + 1e-12) <= 1 + 1e-12 for name, value in named.items())
        ordered = sorted(named, key=lambda name: (named[name], found[name]))
        assert [found[name] for name in ordered] == sorted(found.values())


def test_nothing_is_corrected_to_nothing() -> None:
    assert holm({}) == benjamini_hochberg({}) == {}


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1])
def test_what_is_no_p_value_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="brier"):
        holm({"brier": value})


def test_evidence_as_a_p_value() -> None:
    assert always_valid_p(-5.0) == 1.0
    assert always_valid_p(math.log(20)) == pytest.approx(0.05)
