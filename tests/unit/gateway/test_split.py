from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.arms import arm_names
from airflow_ml.core.ports import Traffic
from airflow_ml.gateway.split import CHALLENGER, CHAMPION, assign, assign_all, effective_weight, step_label

weights = st.floats(0, 100)
salts = st.text(max_size=20)
units = st.text(min_size=1, max_size=20)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@given(salts, units, weights)
def test_a_unit_keeps_its_variant(salt: str, unit: str, weight: float) -> None:
    assert assign(salt, unit, weight) == assign(salt, unit, weight)


@given(salts, st.lists(units, max_size=20), weights, st.integers(0, 3).map(arm_names))
def test_many_at_once_are_assigned_as_each_alone(
    salt: str, many: list[str], weight: float, arms: tuple[str, ...]
) -> None:
    assert assign_all(salt, many, weight, arms) == [assign(salt, unit, weight, arms) for unit in many]


@given(salts, units, weights, weights)
def test_raising_the_weight_moves_units_to_the_challenger_only(salt: str, unit: str, one: float, two: float) -> None:
    low, high = sorted((one, two))
    if assign(salt, unit, low) == CHALLENGER:
        assert assign(salt, unit, high) == CHALLENGER


@given(salts, units)
def test_the_ends_are_exact(salt: str, unit: str) -> None:
    assert assign(salt, unit, 0.0) == CHAMPION
    assert assign(salt, unit, 100.0) == CHALLENGER


@given(salts, st.floats(1, 99))
def test_the_share_of_units_is_close_to_the_weight(salt: str, weight: float) -> None:
    count = 2000
    challengers = sum(assign(salt, f"N{number}", weight) == CHALLENGER for number in range(count))
    share = weight / 100
    # Six standard deviations: one false alarm in 5e8 draws, and hypothesis draws some hundreds.
    assert abs(challengers / count - share) < 6 * math.sqrt(share * (1 - share) / count)


def test_another_salt_splits_anew() -> None:
    both = [(assign("one", f"N{number}", 50.0), assign("two", f"N{number}", 50.0)) for number in range(2000)]
    assert 400 < sum(pair == (CHALLENGER, CHALLENGER) for pair in both) < 600


@pytest.fixture
def traffic() -> Traffic:
    return Traffic(
        model="m",
        epoch=1,
        champion={"version": "1"},
        challenger={"version": "2"},
        weight_percent=25.0,
        expires_at=NOW,
        salt="s",
    )


def test_the_weight_ends_at_the_expiry(traffic: Traffic) -> None:
    assert effective_weight(traffic, NOW - timedelta(microseconds=1)) == 25.0
    assert effective_weight(traffic, NOW) == 0.0
    assert effective_weight(replace(traffic, expires_at=None), NOW + timedelta(days=999)) == 25.0


def test_without_a_challenger_there_is_no_weight(traffic: Traffic) -> None:
    assert effective_weight(replace(traffic, challenger=None, expires_at=None), NOW) == 0.0


@given(weights)
def test_a_step_label_reads_back_as_its_weight(weight: float) -> None:
    assert float(step_label(weight)) == pytest.approx(weight, rel=1e-9)
    assert "/" not in step_label(weight)


def test_labels_of_whole_weights_are_short() -> None:
    assert [step_label(weight) for weight in (0.0, 5.0, 12.5, 100.0)] == ["0", "5", "12.5", "100"]
