"""How far a step is: its own strata only, the data clock, the arm with fewest units."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.rollout_plan import Step
from airflow_ml.core.step_progress import days_since, fewest_units, is_in_step, is_measured

DAY = datetime(2013, 5, 1, tzinfo=UTC)
FIVE, SHADOW = Step(weight_percent=5.0), Step(weight_percent=0.0, kind="shadow")


def reading(*rows: tuple[str, str, int], days: float | None = 3.0) -> Reading:
    samples = tuple(
        Sample(variant=arm, stratum=stratum, units=n, requests=n, sum_x=0.0, sum_xx=0.0, sum_nn=float(n), sum_xn=0.0)
        for arm, stratum, n in rows
    )
    assigned: dict[str, dict[str, int]] = {}
    for arm, stratum, n in rows:
        assigned.setdefault(arm, {})[stratum] = n
    return Reading(
        samples=samples, watermark_at=None if days is None else DAY + timedelta(days=days), assigned=assigned
    )


def test_strata_belong_to_the_step_of_their_weight_or_to_the_shadow() -> None:
    assert is_in_step("5/2013-05-01", FIVE)
    assert is_in_step("5/2013-05-01/7", FIVE)
    assert is_in_step("shadow/2013-05-01", SHADOW)
    assert is_in_step("anything", None)
    assert not is_in_step("50/2013-05-01", FIVE)
    assert not is_in_step("0/2013-05-01", SHADOW)


def test_a_step_is_measured_once_a_challenger_has_an_outcome_in_it() -> None:
    others = reading(("champion", "5/2013-05-01", 9), ("challenger", "50/2013-05-01", 9), ("challenger", "5/x", 0))
    assert not is_measured({"brier": others}, FIVE)
    assert is_measured({"brier": reading(("challenger", "5/2013-05-01", 1))}, FIVE)


def test_of_the_arms_the_one_with_fewest_units_counts_over_all_days_of_the_step() -> None:
    whole = reading(
        ("champion", "5/2013-05-01", 90), ("challenger", "5/2013-05-01", 4), ("challenger", "5/2013-05-02", 3),
        ("challenger-2", "5/2013-05-01", 8), ("challenger-2", "50/2013-05-03", 50),
    )  # fmt: skip
    assert fewest_units({"brier": whole, "mae": whole}, "brier", ["challenger", "challenger-2"], FIVE) == 7
    assert fewest_units({"brier": whole}, "brier", ["challenger", "challenger-3"], FIVE) == 0
    pairs = {"brier paired": reading(("paired", "shadow/2013-05-01", 6)), "brier": whole}
    assert fewest_units(pairs, "brier", ["challenger"], SHADOW) == 6


@pytest.mark.parametrize(
    ("first_day", "days"), [("2013-05-01", 3.0), ("2013-05-03", 1.0), ("2013-05-09", -5.0), ("no day", 3.0)]
)
def test_days_count_from_the_first_traffic_of_a_challenger(first_day: str, days: float) -> None:
    one = reading(("champion", "5/2013-04-01", 5), ("challenger", f"5/{first_day}", 5))
    assert days_since(DAY, one, {"brier": one}, step=FIVE) == days


def test_without_a_watermark_no_day_has_passed() -> None:
    one = reading(("challenger", "5/2013-05-01", 5), days=None)
    assert days_since(DAY, one, {"brier": one}) == 0.0
