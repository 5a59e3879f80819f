"""An arm's own mean: what it is, against numbers from the units themselves, and how often a limit is judged wrongly."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.guardrail import Guardrail
from airflow_ml.core.guardrail_look import judge
from airflow_ml.core.level import level_of
from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.statistics import mean_of


def sample(x: Any, n: Any, *, variant: str = "challenger", stratum: str = "50/2013-05-01", **changes: Any) -> Sample:
    """Sums over units whose requests' metrics add up to ``x`` over ``n`` requests."""
    x, n = np.asarray(x, dtype=float), np.asarray(n, dtype=float)
    fields: dict[str, Any] = {
        "variant": variant,
        "stratum": stratum,
        "units": len(x),
        "requests": int(n.sum()),
        "sum_x": float(x.sum()),
        "sum_xx": float((x * x).sum()),
        "sum_nn": float((n * n).sum()),
        "sum_xn": float((x * n).sum()),
    }
    return Sample(**{**fields, **changes})


UNITS = st.lists(st.tuples(st.floats(-5, 5), st.integers(1, 4)), min_size=5, max_size=30)


@given(days=st.lists(UNITS, min_size=1, max_size=4))
def test_it_is_the_mean_of_all_requests_and_its_variance_that_of_the_days(days: list[list[tuple[float, int]]]) -> None:
    parts = [sample(*zip(*units, strict=True), stratum=f"5/2013-05-{day:02}") for day, units in enumerate(days, 1)]
    found = level_of(parts, arm="challenger")
    assert found is not None
    total = sum(part.requests for part in parts)
    assert found.value == pytest.approx(sum(x for units in days for x, _ in units) / total, abs=1e-12)
    assert found.variance == pytest.approx(
        sum((part.requests / total) ** 2 * mean_of(part).variance for part in parts), rel=1e-9, abs=1e-15
    )
    assert (found.units, found.requests) == (sum(map(len, days)), total)


def test_other_arms_slices_and_days_of_few_units_do_not_count() -> None:
    mine = sample([1.0, 2.0, 3.0, 4.0, 5.0], [1] * 5)
    others = (
        sample([9.0] * 9, [1] * 9, variant="champion"),
        sample([9.0] * 9, [1] * 9, slice_name="JFK"),
        sample([9.0] * 4, [1] * 4, stratum="50/2013-05-02"),
    )
    assert level_of([mine, *others], arm="challenger") == level_of([mine], arm="challenger")
    assert level_of(others, arm="challenger") is None


def test_units_that_return_make_the_variance_larger_and_never_smaller() -> None:
    mine = [sample([1.0, 2.0, 3.0, 4.0, 5.0], [1] * 5)]
    plain, more, less = (level_of(mine, arm="challenger", inflation=factor) for factor in (1.0, 3.0, 0.2))
    assert plain is not None
    assert more is not None
    assert more.variance == pytest.approx(3 * plain.variance)
    assert less == plain


def test_sums_that_no_data_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        level_of([sample([math.nan] * 5, [1] * 5)], arm="challenger")


@pytest.mark.parametrize(("first", "wrong"), [(-0.3, "broken"), (0.3, "held")])
def test_at_the_limit_itself_a_guardrail_is_wrong_no_more_often_than_alpha(first: float, wrong: str) -> None:
    """150 rollouts of 20 looks. Days differ, so that the mean so far is at the limit or on one side of it."""
    random, count = np.random.default_rng(11), 0
    rail = Guardrail(metric="m", limit=0.5)
    for _ in range(150):
        samples: list[Sample] = []
        for day in range(20):
            x = random.normal(0.5 + first * (-1) ** day, 1.0, 40)
            samples.append(sample(x, np.ones(40), stratum=f"50/{day}"))
            samples.append(sample(random.normal(9.0, 1.0, 40), np.ones(40), variant="champion", stratum=f"50/{day}"))
        readings = (Reading(samples=tuple(samples[:end]), watermark_at=None, assigned={}) for end in range(2, 41, 2))
        looks = (judge(rail, one, alpha=0.05, tau_requests=100.0, min_units=80) for one in readings)
        count += any(getattr(look, wrong) for look in looks)
    # 150 of 5 %: 7.5 expected at most; 16 is its 99.8 % quantile.
    assert count <= 16


def test_an_arm_all_of_whose_requests_fail_breaks_a_limit_and_one_that_never_fails_holds_none() -> None:
    rail = Guardrail(metric="m", limit=0.01)
    for mine, theirs, broken in ((1.0, 0.0, True), (0.0, 1.0, False), (0.0, 0.0, False)):
        parts = (
            sample([mine] * 200, [1] * 200),
            sample([theirs] * 3800, [1] * 3800, variant="champion"),
        )
        reading = Reading(samples=parts, watermark_at=None, assigned={})
        found = judge(rail, reading, alpha=0.05, tau_requests=100.0, min_units=100)
        assert (found.broken, found.held) == (broken, False)


@pytest.mark.parametrize(("direction", "wrong"), [("minimize", "held"), ("maximize", "broken")])
def test_a_small_arm_that_had_hardly_any_rare_event_proves_nothing(direction: str, wrong: str) -> None:
    """One event of 400 where four were to be expected: one arm of eleven has so few. By itself it varies little."""
    rail = Guardrail(metric="m", limit=0.01, direction=direction)
    small = sample([1.0] + [0.0] * 399, [1] * 400)
    champion = sample([1.0] * 76 + [0.0] * 7524, [1] * 7600, variant="champion")
    reading = Reading(samples=(small, champion), watermark_at=None, assigned={})
    assert not getattr(judge(rail, reading, alpha=0.05, tau_requests=100.0, min_units=100), wrong)
    alone, beside = level_of([small, champion], arm="challenger"), level_of([small], arm="challenger")
    assert alone == beside
    found = level_of([small, champion], arm="challenger", beside="champion")
    assert found is not None
    assert found.variance == pytest.approx(77 / 8000 / 400, rel=0.02)
