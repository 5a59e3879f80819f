from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from airflow_ml.core.sample_ratio import log_e_sample_ratio, sample_ratio

ARMS = {"champion": "champion", "challengers": ("challenger",)}


@given(st.lists(st.integers(0, 400), min_size=2, max_size=4), st.floats(5, 1000))
def test_the_evidence_is_the_ratio_of_two_multinomials(counts: list[int], concentration: float) -> None:
    shares = [1 / len(counts)] * len(counts)
    mixture = scipy_stats.dirichlet_multinomial(alpha=[concentration * s for s in shares], n=sum(counts)).logpmf(counts)
    plain = scipy_stats.multinomial(sum(counts), shares).logpmf(counts)
    found = log_e_sample_ratio(counts, shares, concentration=concentration)
    assert found == pytest.approx(float(mixture - plain), abs=1e-6)


def test_units_in_a_share_of_zero_are_impossible() -> None:
    assert log_e_sample_ratio([10, 1], [1.0, 0.0]) == math.inf
    assert log_e_sample_ratio([10, 0], [1.0, 0.0]) == pytest.approx(0.0)


def test_a_broken_split_is_found_and_named() -> None:
    assigned = {"champion": {"25/d1": 750, "25/d2": 900}, "challenger": {"25/d1": 250, "25/d2": 100}}
    found = sample_ratio(assigned, {"25/d1": 0.25, "25/d2": 0.25}, **ARMS)
    assert found.mismatch
    assert found.stratum == "25/d2"


def test_one_arm_only_is_a_mismatch() -> None:
    assert sample_ratio({"champion": {"50/d1": 60}}, {"50/d1": 0.5}, **ARMS).mismatch


def test_nothing_assigned_is_no_alarm() -> None:
    assert not sample_ratio({}, {}, **ARMS).mismatch
    assert not sample_ratio({}, {"5/d": 0.05}, **ARMS).mismatch


def test_the_same_units_on_many_days_raise_no_alarm() -> None:
    """A sticky split, uneven by chance (p = 0.004), repeats every day; only multiplying days would alarm."""
    assigned = {
        "champion": {f"50/{day:02}": 455 for day in range(21)},
        "challenger": {f"50/{day:02}": 545 for day in range(21)},
    }
    shares = {f"50/{day:02}": 0.5 for day in range(21)}
    assert not sample_ratio(assigned, shares, **ARMS).mismatch


def test_peeking_at_fair_splits_stays_under_alpha() -> None:
    rng = random.Random(7)
    runs, alarms = 200, 0
    for _ in range(runs):
        counts = [0, 0]
        for _ in range(1500):
            counts[rng.random() < 0.1] += 1
            if sum(counts) % 10 == 0 and log_e_sample_ratio(counts, (0.9, 0.1)) >= math.log(20):
                alarms += 1
                break
    assert alarms / runs <= 0.05
