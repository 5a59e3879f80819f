from __future__ import annotations

import math
import random
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from airflow_ml.core import drift
from airflow_ml.core.drift import (
    Categories,
    Numbers,
    by_excess,
    decide_drift,
    error_by_week,
    histograms,
    ks,
    measure_column,
    psi,
    psi_threshold,
)
from airflow_ml.core.monitoring import DriftMeasure
from airflow_ml.errors import ConfigurationError, EmptyDataset

COUNTS = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=1, max_size=12).filter(
    lambda rows: sum(row[0] for row in rows) > 0 and sum(row[1] for row in rows) > 0
)
VALUES = st.lists(st.integers(-5, 5).map(float) | st.floats(-10, 10) | st.just(math.inf), min_size=1, max_size=60)
RAW = st.lists(st.none() | st.just(math.nan) | st.floats(-10, 10), max_size=60)


def normal(rows: int, mean: float = 0.0, seed: int = 0) -> Numbers:
    draw = random.Random(seed)
    return Numbers.of(draw.gauss(mean, 1) for _ in range(rows))


@settings(deadline=None)
@given(COUNTS)
def test_psi_is_symmetric_and_not_negative(rows: list[tuple[int, int]]) -> None:
    one, other = zip(*rows, strict=True)
    assert psi(one, other) >= 0
    assert psi(one, other) == pytest.approx(psi(other, one))
    assert psi(one, one) == pytest.approx(0)
    assert math.isfinite(psi(one, other))


def test_psi_of_a_textbook_case() -> None:
    before, after = [500_000, 300_000, 200_000], [400_000, 300_000, 300_000]
    by_hand = -0.1 * math.log(0.4 / 0.5) + 0.1 * math.log(0.3 / 0.2)
    assert psi(before, after) == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.parametrize(("one", "other"), [([], []), ([1], [1, 2]), ([-1, 2], [1, 1])])
def test_psi_refuses_what_is_no_histogram(one: list[float], other: list[float]) -> None:
    with pytest.raises(ConfigurationError, match="histograms"):
        psi(one, other)


def test_psi_refuses_empty_histograms() -> None:
    with pytest.raises(EmptyDataset):
        psi([0, 0], [1, 1])


@settings(deadline=None)
@given(VALUES, VALUES)
def test_ks_is_that_of_scipy(one: list[float], other: list[float]) -> None:
    one.sort()
    other.sort()
    assert ks(one, other) == pytest.approx(stats.ks_2samp(one, other, method="asymp").statistic)


def test_ks_refuses_an_empty_sample() -> None:
    with pytest.raises(EmptyDataset):
        ks([], [1.0])


@pytest.mark.parametrize("freedom", [2, 3, 9, 11, 52])
def test_quantile_of_chi_squared(freedom: int) -> None:
    assert drift._chi_squared(0.999, freedom) == pytest.approx(stats.chi2.ppf(0.999, freedom), rel=0.03)


def test_thresholds_rise_where_rows_are_few() -> None:
    assert psi_threshold(11, 20_000, 20_000) == 0.25
    assert psi_threshold(11, 20_000, 50) > 0.25
    assert drift.ks_threshold(20_000, 20_000) == 0.1
    assert drift.ks_threshold(20_000, 50) > 0.1
    assert drift.ks_threshold(1, 1) == 1.0


@pytest.mark.parametrize("live_rows", [30, 300, 3000])
def test_without_drift_there_is_no_alarm(live_rows: int) -> None:
    """60 worlds of a number and of a category with a long tail: pure chance stays under the threshold."""
    draw = random.Random(live_rows)
    reference = normal(5000)
    names = [f"D{min(int(draw.expovariate(0.1)), 90)}" for _ in range(5000)]
    alarms = 0
    for world in range(60):
        alarms += measure_column("x", reference, normal(live_rows, seed=world + 1)).drifted
        again = [f"D{min(int(draw.expovariate(0.1)), 90)}" for _ in range(live_rows)]
        one, other = (Categories({name: rows.count(name) for name in set(rows)}) for rows in (names, again))
        alarms += measure_column("c", one, other).drifted
    assert alarms <= 1


DRIFTED: list[tuple[str, Any, Any]] = [
    ("mean", normal(2000), normal(2000, mean=1)),
    ("constant moved up", Numbers([1.0] * 500), Numbers([2.0] * 500)),
    ("constant moved down", Numbers([1.0] * 500), Numbers([0.0] * 500)),
    ("flag", Numbers([0.0] * 450 + [1.0] * 50), Numbers([0.0] * 200 + [1.0] * 300)),
    ("zeros turned negative", Numbers([0.0] * 400 + [5.0] * 100), Numbers([-3.0] * 400 + [5.0] * 100)),
    ("feed died", normal(500), Numbers([], 500)),
    ("feed came alive", Numbers([], 500), normal(500)),
    ("feed half died", normal(500), Numbers(normal(250).values, 250)),
    ("infinite", normal(500), Numbers(sorted([*normal(300).values, *[math.inf] * 200]))),
    ("category swapped", Categories({"a": 400, "b": 100}), Categories({"a": 100, "b": 400})),
    ("new category", Categories({"a": 500}), Categories({"a": 300, "z": 200})),
    ("category null", Categories({"a": 500}), Categories({"a": 300}, 200)),
]


@pytest.mark.parametrize(("reference", "live"), [row[1:] for row in DRIFTED], ids=[row[0] for row in DRIFTED])
def test_drift_is_seen(reference: Any, live: Any) -> None:
    found = measure_column("x", reference, live)
    assert found.drifted, found
    assert not measure_column("x", reference, reference).drifted


def test_ks_of_a_column() -> None:
    found = measure_column("score", normal(2000), normal(2000, mean=1, seed=1), statistic="ks")
    assert (found.statistic, found.drifted) == ("ks", True)
    assert found.value == pytest.approx(0.38, abs=0.05)


@settings(deadline=None)
@given(RAW, RAW)
def test_every_row_is_counted_once(one: list[float | None], other: list[float | None]) -> None:
    before, after = histograms("x", Numbers.of(one), Numbers.of(other))
    assert (sum(before), sum(after)) == (len(one), len(other))
    assert all(a or b for a, b in zip(before, after, strict=True))


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 200).map(str), st.integers(1, 9)), st.integers(0, 9))
def test_categories_beyond_the_top_are_counted_together(counts: dict[str, int], nulls: int) -> None:
    before, after = histograms("x", Categories(counts, nulls), Categories(counts, nulls))
    assert sum(before) == sum(counts.values()) + nulls
    assert before == after
    assert len(before) <= drift.TOP_CATEGORIES + 2


@pytest.mark.parametrize(
    ("reference", "live", "statistic", "error"),
    [
        (Numbers([1.0]), Categories({"a": 1}), "psi", ConfigurationError),
        (Categories({"a": 1}), Categories({"a": 1}), "ks", ConfigurationError),
        (Numbers([1.0]), Numbers([1.0]), "chi", ConfigurationError),
        (Numbers([]), Numbers([1.0]), "psi", EmptyDataset),
        (Categories({"a": 1}), Categories({}), "psi", EmptyDataset),
        (Numbers([1.0]), Numbers([], 5), "ks", EmptyDataset),
    ],
)
def test_what_cannot_be_measured(reference: Any, live: Any, statistic: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        measure_column("x", reference, live, statistic=statistic)


def test_decision_names_the_columns() -> None:
    quiet = DriftMeasure(column="a", statistic="psi", value=0.1, threshold=0.25, drifted=False)
    loud = DriftMeasure(column="b", statistic="ks", value=0.3, threshold=0.1, drifted=True)
    assert decide_drift([quiet, loud]) == (True, "1 of 2 measures drifted: b ks 0.3 over 0.1.")
    assert decide_drift([quiet]) == (
        False,
        "None of 1 measures drifted; the most: a psi 0.1, threshold 0.25.",
    )
    assert by_excess([quiet, loud]) == [loud, quiet]
    with pytest.raises(EmptyDataset, match="No drift was measured"):
        decide_drift([])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 800), st.floats(0, 1)), max_size=50))
def test_error_by_week_is_a_mean_over_rows(rows: list[tuple[int, float]]) -> None:
    days = [(date(2012, 12, 20) + timedelta(days=offset), error, 1) for offset, error in rows]
    found = error_by_week(days)
    assert list(found) == sorted(found)
    for name, value in found.items():
        errors = [error for day, error, _ in days if day.strftime("%G-W%V") == name]
        assert value == pytest.approx(sum(errors) / len(errors))
