"""Sequential tests of a rollout, valid at every look: the normal mixture.

See ``two_sided_boundary``. The mixture's variance is fixed by the plan as ``tau = sigma^2 / tau_requests``, so
``r = tau / V`` is ``sum w_k / tau_requests`` and independent of the metric's scale; weights and variance are those of
core/statistics.py.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from airflow_ml.core.statistics import Effect

#: Bounds of a planned ``tau_requests``; the lower one is the default of a plan that names no difference.
LEAST_TAU, MOST_TAU = 100.0, 1000.0
_NORMAL = NormalDist()


def log_e_two_sided(z: float, r: float) -> float:
    """Return the log of the normal mixture's evidence against "no difference".

    Under no difference ``exp(l S - l^2 Q / 2)`` is a martingale for every l (S the weighted sum, Q its variance).
    Averaged over ``l ~ N(0, rho)`` with ``r = rho Q`` it is ``(1 + r)^(-1/2) exp(r z^2 / (2 (1 + r)))`` and, by Ville,
    exceeds 1/alpha at any look with probability at most alpha (Robbins, Ann. Math. Stat. 41, 1970; Johari, Koomen,
    Pekelis, Walsh, "Always valid inference", Operations Research 70, 2022; with estimated variance: Waudby-Smith,
    Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory", Annals of Statistics 52, 2024).

    Args:
        z: Difference in standard errors.
        r: ``tau / V``: information so far in units of the plan's.
    """
    return 0.5 * (r / (1 + r) * z * z - math.log1p(r))


def log_e_one_sided(z: float, r: float) -> float:
    """Return the log of the evidence for a positive difference: the same mixture over l > 0 only.

    It is ``2 (1 + r)^(-1/2) exp(r z^2 / (2 (1 + r))) Phi(z sqrt(r / (1 + r)))`` (Howard, Ramdas, McAuliffe, Sekhon,
    "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49, 2021, proposition 6).
    """
    half = z * math.sqrt(r / (1 + r))
    # Below -30 the tail underflows; Mills: Phi(h) = phi(h) / |h| to within 1/h^2, and phi cancels the exponential.
    if half < -30:
        return math.log(2) - 0.5 * math.log1p(r) - 0.5 * math.log(2 * math.pi) - math.log(-half)
    return math.log(2) + log_e_two_sided(z, r) + math.log(0.5 * math.erfc(-half / math.sqrt(2)))


def two_sided_boundary(r: float, alpha: float) -> float:
    """Return the |z| from which a difference is shown: ``sqrt((1 + r)/r * (2 ln(1/alpha) + ln(1 + r)))``.

    With ``r = tau / V`` this is ``sqrt((V + tau)/tau * (-2 ln alpha + ln((V + tau)/V)))``; infinite where r is 0.
    """
    return math.sqrt((1 + r) / r * (-2 * math.log(alpha) + math.log1p(r))) if r > 0 else math.inf


def one_sided_boundary(r: float, alpha: float) -> float:
    """Return the z from which a positive difference is shown; it has no closed form and is found by bisection."""
    if r <= 0:
        return math.inf
    low, high = (
        0.0,
        two_sided_boundary(r, alpha) + 1.0,
    )  # log_e_one_sided grows with z and is larger than the other there
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if log_e_one_sided(middle, r) < -math.log(alpha) else (low, middle)
    return high


def confidence_sequence(effect: Effect, *, alpha: float, tau_requests: float) -> tuple[float, float]:
    """Return the interval that covers the true difference at all looks together with probability 1 - alpha."""
    if effect.variance <= 0:
        return -math.inf, math.inf
    half = two_sided_boundary(effect.weight / tau_requests, alpha) * math.sqrt(effect.variance)
    return effect.difference - half, effect.difference + half


def planned_tau(effect: float, sigma: float, *, alpha: float = 0.05, power: float = 0.95) -> float:
    """Return the ``tau_requests`` with which the test is tightest where a planned difference is to be shown.

    The boundary is lowest at the ``r`` with ``r = -2 ln alpha + ln(1 + r)``, 8.2 for alpha 0.05. That is put where a
    test at one fixed look would have the power: ``((z(1 - alpha/2) + z(power)) sigma / effect)^2`` effective requests.
    Kept between 100 and 1,000: below, the plan is as tight as it gets in the first days of a small step; above, it
    would be blind in them, and with ten times the data that 1,000 is made for it asks for 7 % wider intervals only.

    Args:
        effect: The planned difference, in the metric's unit, above 0.
        sigma: Standard deviation of the metric per request, clustering included.
        alpha: Of the test.
        power: Probability of finding it.
    """
    best = 8.0
    for _ in range(50):
        best = -2 * math.log(alpha) + math.log1p(best)
    weight = ((_NORMAL.inv_cdf(1 - alpha / 2) + _NORMAL.inv_cdf(power)) * sigma / effect) ** 2
    return min(max(weight / best, LEAST_TAU), MOST_TAU)


def requests_needed(
    effect: float,
    sigma: float,
    *,
    challenger_share: float,
    alpha: float = 0.05,
    power: float = 0.95,
    tau_requests: float,
    design_effect: float = 1.0,
) -> float:
    """Return the requests (both arms) after which a difference is shown with the given probability.

    A look at that point alone has the power; earlier looks only add to it, so this is an upper estimate, found by
    doubling and bisection on ``effect / standard error = boundary + z(power)``.

    Args:
        effect: The difference to be found, in the metric's unit.
        sigma: Standard deviation of the metric per request.
        challenger_share: Share of requests that the challenger answers, between 0 and 1.
        alpha: As in the plan.
        power: Probability of finding it.
        tau_requests: As in the plan.
        design_effect: Variance with clustering over variance without.

    Raises:
        ValueError: where no number of requests can do it: no effect, or a share of 0 or 1.
    """
    sizes = (abs(effect), sigma, tau_requests, design_effect)
    if not all(0 < size < math.inf for size in sizes) or abs(effect) / sigma < 1e-100 or not 0 < challenger_share < 1:
        raise ValueError(f"No sample size shows an effect of {effect} at a share of {challenger_share}, sigma {sigma}")
    quantile = _NORMAL.inv_cdf(power)

    def shown(weight: float) -> bool:
        return abs(effect) * math.sqrt(weight / design_effect) / sigma >= (
            two_sided_boundary(weight / tau_requests, alpha) + quantile
        )

    high = 1.0
    while not shown(high):
        high *= 2
    low = high / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high / (challenger_share * (1 - challenger_share))
