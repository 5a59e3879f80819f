from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.rollout_readings import day_of, merged, weight_of

MARK = datetime(2013, 5, 2, tzinfo=UTC)


def reading(stratum: str, units: int, watermark_at: datetime | None = MARK) -> Reading:
    sample = Sample(
        variant="champion", stratum=stratum, units=units, requests=units, sum_x=1, sum_xx=1, sum_nn=units, sum_xn=1
    )
    return Reading(samples=(sample,), watermark_at=watermark_at, assigned={"champion": {stratum: units}})


@pytest.mark.parametrize(
    ("stratum", "weight", "day"),
    [
        ("25/2013-05-02", 25.0, MARK),
        ("0.5/2013-05-02/7", 0.5, MARK),
        ("x/2013-05-02", None, MARK),
        ("25", 25.0, None),
        ("inf/2013", None, None),
        ("", None, None),
    ],
)
def test_names_of_strata(stratum: str, weight: float | None, day: datetime | None) -> None:
    assert (weight_of(stratum), day_of(stratum)) == (weight, day)


def test_one_reading_is_left_as_it_is() -> None:
    one = reading("25/2013-05-02", 10)
    assert merged([(1, one)]) is one


def test_a_day_that_two_epochs_saw_is_two_strata() -> None:
    both = merged([(1, reading("25/2013-05-02", 10)), (3, reading("25/2013-05-02", 20, watermark_at=None))])
    assert [sample.stratum for sample in both.samples] == ["25/2013-05-02", "25/2013-05-02/3"]
    assert both.assigned == {"champion": {"25/2013-05-02": 10, "25/2013-05-02/3": 20}}
    assert both.watermark_at == MARK


def test_nothing_is_no_reading() -> None:
    with pytest.raises(ValueError, match="No reading"):
        merged([])


def test_units_that_changed_arms_add_up_over_epochs() -> None:
    one, two, none = (replace(reading("5/2013-05-02", 10), crossed=counts) for counts in ((1, 10), (2, 5), ()))
    assert merged([(1, one), (3, none), (5, two)]).crossed == (3, 15)
    assert merged([(1, none), (3, none)]).crossed == ()
