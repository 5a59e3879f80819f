"""Oracles: scipy's t, numerical integration of the marginal likelihood, and simulation with fixed seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from airflow_ml.core.paired import PAIRED, PairedEffect, log_e_paired, paired_effect, paired_interval
from airflow_ml.core.ports import Sample


def day(number: int, total: float, requests: int = 100, variant: str = PAIRED) -> Sample:
    return Sample(
        variant=variant,
        stratum=f"0/2013-05-{number:02}",
        units=requests,
        requests=requests,
        sum_x=total,
        sum_xx=0.0,
        sum_nn=float(requests),
        sum_xn=total,
    )


def of(days: list[float]) -> PairedEffect:
    found = paired_effect([day(number, value * 100) for number, value in enumerate(days, start=1)])
    assert found is not None
    return found


DAYS = [0.02, -0.01, 0.05, 0.03, 0.00, 0.04, 0.01]


def test_the_t_is_scipys() -> None:
    found = of(DAYS)
    assert found.difference / math.sqrt(found.variance) == pytest.approx(float(stats.ttest_1samp(DAYS, 0).statistic))


def test_days_count_alike_however_many_requests_they_have() -> None:
    found = paired_effect([day(1, 10.0, 100), day(2, 300.0, 1000)])
    assert found is not None
    assert (found.difference, found.requests) == (pytest.approx(0.2), 1100)


@pytest.mark.parametrize("tau_days", [0.5, 1.0, 10.0])
def test_the_evidence_is_the_ratio_of_marginal_likelihoods(tau_days: float) -> None:
    """Noncentral t under an effect drawn from N(0, 1 / tau_days) in standard deviations, over the central t."""
    found = of(DAYS)
    n, t = found.days, found.difference / math.sqrt(found.variance)
    marginal, _ = integrate.quad(
        lambda d: stats.nct.pdf(t, n - 1, d * math.sqrt(n)) * stats.norm.pdf(d, scale=1 / math.sqrt(tau_days)), -12, 12
    )
    expected = math.log(marginal / stats.t.pdf(t, n - 1))
    assert log_e_paired(found, tau_days=tau_days) == pytest.approx(expected, rel=1e-5)


def test_the_interval_ends_where_the_evidence_does() -> None:
    found = of(DAYS)
    low, high = paired_interval(found, alpha=0.05)
    for bound in (low, high):
        moved = PairedEffect(
            difference=found.difference - bound, variance=found.variance, days=found.days, requests=found.requests
        )
        assert log_e_paired(moved) == pytest.approx(math.log(20), rel=1e-6)


def test_too_few_days_show_nothing() -> None:
    assert paired_effect([day(1, 1.0)]) is None
    assert paired_effect([day(1, 1.0), day(2, 1.0)]) is None, "nothing varies"
    assert paired_effect([day(1, 1.0, variant="champion"), day(2, 2.0, variant="champion")]) is None
    assert paired_interval(of([0.02, 0.01]), alpha=0.05) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="finite"):
        paired_effect([day(1, math.nan), day(2, 1.0)])


@pytest.mark.parametrize("heavy", [False, True])
def test_looking_each_day_is_wrong_in_at_most_five_percent(heavy: bool) -> None:
    rng = np.random.default_rng(1)
    runs, length = 2000, 40
    draws = rng.standard_t(4, (runs, length)) if heavy else rng.normal(0, 1, (runs, length))
    n = np.arange(1, length + 1)
    means = draws.cumsum(axis=1) / n
    spread = (draws**2).cumsum(axis=1) - n * means**2
    wrong = np.zeros(runs, dtype=bool)
    for last in range(2, length):
        for run in np.flatnonzero(~wrong):
            found = PairedEffect(
                difference=float(means[run, last]),
                variance=float(spread[run, last] / last / (last + 1)),
                days=last + 1,
                requests=1,
            )
            wrong[run] = log_e_paired(found) >= math.log(20)
    assert wrong.mean() <= 0.06
    assert wrong.mean() > 0.005, "the test has power to be wrong at all"
