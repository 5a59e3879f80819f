"""The paired design: both models score every request, the challenger's answer is not served.

It is offered where an outcome does not depend on the prediction. Each request then gives a difference of two losses, in
which what makes a request hard cancels. Differences of one day are alike, so a day is one cluster: its mean difference
is one number, and the test is a t test over days that is valid after each of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_ml.core.ports import Sample

#: The variant of a sample whose ``sum_x`` is over differences, challenger minus champion.
PAIRED = "paired"
#: Fixes the mixture: its variance is that of one day's mean difference over this number. Tight after a week or two.
TAU_DAYS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedEffect:
    """The mean over days of the daily mean difference, challenger minus champion."""

    difference: float
    #: Variance of ``difference``.
    variance: float
    days: int
    requests: int
    #: Units of the day that had most; a unit that returns is one, and its days are clusters of their own anyway.
    units: int = 0


def paired_effect(samples: Sequence[Sample], *, variant: str = PAIRED) -> PairedEffect | None:
    """Return the effect over the days of a paired reading; None below two days or without any variation.

    Args:
        samples: Strata of one day, ``shadow/2013-05-02`` and ``shadow/2013-05-02/7``, are one day.
        variant: Whose differences.

    Raises:
        ValueError: for sums that no data can have.
    """
    mine = [one for one in samples if one.variant == variant and one.requests > 0 and not one.slice_name]
    if any(not math.isfinite(one.sum_x) for one in mine):
        raise ValueError("A sum of differences is not a finite number")
    by_day: dict[str, list[Sample]] = {}
    for one in mine:
        by_day.setdefault("".join(one.stratum.split("/")[1:2]), []).append(one)
    days = [math.fsum(s.sum_x for s in day) / sum(s.requests for s in day) for day in by_day.values()]
    if len(days) < 2:
        return None
    mean = math.fsum(days) / len(days)
    spread = math.fsum((day - mean) ** 2 for day in days)
    if spread <= 1e-24 * max(day * day for day in days):
        return None
    return PairedEffect(
        difference=mean,
        variance=spread / (len(days) - 1) / len(days),
        days=len(days),
        requests=sum(one.requests for one in mine),
        units=max(one.units for one in mine),
    )


def log_e_paired(effect: PairedEffect, *, tau_days: float = TAU_DAYS) -> float:
    """Return the log of the evidence against "no difference": the t test's Bayes factor with a g-prior.

    With n days, ``v = n - 1``, ``c = 1 + n / tau_days`` and t of the one-sample test it is
    ``-1/2 ln c + n/2 ln((1 + t^2/v) / (1 + t^2/(v c)))``. With the right Haar prior on the variance it is an e-process,
    exactly for normal days: at any day above 1/alpha with probability at most alpha (Perez-Ortiz, Lardy, de Heide,
    Grünwald, "E-statistics, group invariance and anytime-valid testing", Annals of Statistics 52, 2024; the factor is
    that of Gönen, Johnson, Lu, Westfall, American Statistician 59, 2005).
    """
    n, v = effect.days, effect.days - 1
    c = 1 + n / tau_days
    t2 = effect.difference**2 / effect.variance
    return -0.5 * math.log(c) + n / 2 * (math.log1p(t2 / v) - math.log1p(t2 / (v * c)))


def paired_interval(effect: PairedEffect, *, alpha: float, tau_days: float = TAU_DAYS) -> tuple[float, float]:
    """Return the interval that covers the true difference after all days together with probability 1 - alpha.

    It is unbounded while even a perfect t could not show anything, with ``tau_days`` 1 up to the third day.
    """
    n, v = effect.days, effect.days - 1
    c = 1 + n / tau_days
    k = (math.sqrt(c) / alpha) ** (2 / n)
    if k >= c:
        return -math.inf, math.inf
    half = math.sqrt(v * (k - 1) / (1 - k / c) * effect.variance)
    return effect.difference - half, effect.difference + half
