"""Less variance from what was known of each unit before: CUPED from sufficient statistics.

A covariate ``c_u`` that a unit had before it met the rollout cannot depend on its variant, so the arms' means of it
differ by chance alone. The part of the effect that this chance explains is taken out:
``d - theta (C_t - C_c)`` with ``theta`` chosen to leave the least variance (Deng, Xu, Kohavi, Walker, "Improving the
sensitivity of online controlled experiments by utilizing pre-experiment data", WSDM 2013). The metric is a ratio
``R = sum x / sum n``, the covariate's mean is per unit, and by the delta method over units

    cov(R, C) = U/(U-1) * sum (x_u - R n_u) (c_u - C) / (sum n * U) = U/(U-1) * (sum xc - R sum nc) / (sum n * U).

One theta serves all strata. It is estimated from the same data, which changes the variance by a part of order 1/U.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_ml.core.ports import Sample


@dataclass(frozen=True, slots=True)
class Difference:
    """Challenger minus champion in one stratum, and its variance."""

    value: float
    variance: float


@dataclass(frozen=True, slots=True)
class Along:
    """An arm's mean covariate in one stratum, its variance, and its covariance with the arm's mean metric."""

    mean: float
    variance: float
    covariance: float


def along(sample: Sample) -> Along:
    """Return what a sample says of its covariate.

    Raises:
        ValueError: it has none, or sums that no data can have.
    """
    sums, units, requests = sample.covariate, sample.units, sample.requests
    if sums is None or units < 2 or requests < 1:
        raise ValueError(f"{sample.variant} in stratum {sample.stratum} has no covariate to adjust by")
    values = (sums.sum_c, sums.sum_cc, sums.sum_xc, sums.sum_nc)
    spread = sums.sum_cc - sums.sum_c**2 / units
    if not all(math.isfinite(value) for value in values) or spread < -1e-9 * max(sums.sum_cc, 1.0):
        raise ValueError(f"The covariate's sums of {sample.variant} in stratum {sample.stratum} cannot be true: {sums}")
    correction = units / (units - 1)
    return Along(
        mean=sums.sum_c / units,
        variance=correction * max(spread, 0.0) / units**2,
        covariance=correction * (sums.sum_xc - sample.sum_x / requests * sums.sum_nc) / (requests * units),
    )


def adjusted(
    parts: Sequence[Difference], covariates: Sequence[tuple[Along, Along]], weights: Sequence[float]
) -> list[Difference]:
    """Return the differences of the strata without what the covariate explains.

    Args:
        parts: One per stratum.
        covariates: Champion's and challenger's, in the same order.
        weights: The strata's weights in the combined effect; theta leaves the least variance of that.
    """
    squares = [weight * weight for weight in weights]
    spread = math.fsum(w * (c.variance + t.variance) for w, (c, t) in zip(squares, covariates, strict=True))
    if spread <= 0:
        return list(parts)
    shared = math.fsum(w * (c.covariance + t.covariance) for w, (c, t) in zip(squares, covariates, strict=True))
    theta = shared / spread
    return [
        Difference(
            part.value - theta * (t.mean - c.mean),
            # Rounding may leave a hair below zero where the covariate explains everything.
            max(
                part.variance - 2 * theta * (c.covariance + t.covariance) + theta * theta * (c.variance + t.variance),
                0.0,
            ),
        )
        for part, (c, t) in zip(parts, covariates, strict=True)
    ]
