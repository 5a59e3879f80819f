from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.arms import arm_at, arm_names, challengers_of, effective_weight, in_shadow, is_paired, paired_name
from airflow_ml.core.ports import Traffic

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACES = st.floats(0, 1, exclude_max=True)


def test_names() -> None:
    assert arm_names(3) == ("challenger", "challenger-2", "challenger-3")
    assert [paired_name(arm) for arm in arm_names(2)] == ["paired", "paired challenger-2"]
    assert [is_paired(name) for name in ("paired", "paired challenger-2", "challenger", "pairedness")] == [
        True,
        True,
        False,
        False,
    ]


@given(PLACES, st.floats(0, 100))
def test_one_challenger_has_the_places_below_its_weight(place: float, weight: float) -> None:
    assert (arm_at(place, ("challenger",), weight) == "challenger") == (place * 100.0 < weight)


@given(PLACES, st.integers(1, 5), st.floats(0, 20), st.floats(0, 20))
def test_a_higher_weight_moves_units_from_the_champion_only(place: float, count: int, one: float, two: float) -> None:
    arms = arm_names(count)
    low, high = sorted((one, two))
    before, after = arm_at(place, arms, low), arm_at(place, arms, high)
    assert before in ("champion", after)


@pytest.mark.parametrize(("count", "weight"), [(1, 25.0), (2, 25.0), (3, 30.0), (4, 5.0)])
def test_each_challenger_has_its_share(count: int, weight: float) -> None:
    total = 20_000
    found = [arm_at(place / total, arm_names(count), weight) for place in range(total)]
    for arm in arm_names(count):
        assert found.count(arm) == pytest.approx(total * weight / 100, abs=2)


def test_nobody_outlives_the_expiry() -> None:
    traffic = Traffic(
        model="m",
        epoch=1,
        champion={"version": "1"},
        challenger={"version": "2"},
        weight_percent=5.0,
        expires_at=NOW,
        salt="s",
        others=({"version": "3"},),
    )
    before = NOW - timedelta(seconds=1)
    assert list(challengers_of(traffic)) == ["challenger", "challenger-2"]
    assert (effective_weight(traffic, before), effective_weight(traffic, NOW)) == (5.0, 0.0)
    shadow = Traffic(**{**{f: getattr(traffic, f) for f in Traffic.__slots__}, "shadow": True})  # type: ignore[attr-defined]
    assert (in_shadow(shadow, before), in_shadow(shadow, NOW), effective_weight(shadow, before)) == (True, False, 0.0)
    assert arm_at(0.0, (), 50.0) == "champion"
