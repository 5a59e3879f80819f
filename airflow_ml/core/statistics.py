"""Statistics of a rollout: valid at every look, stratified, clustered by randomization unit.

Notation. A sample holds the sufficient statistics of one arm in one stratum: over its ``U`` units, unit ``u`` has
``n_u`` requests whose metric adds up to ``x_u``. The arm's mean per request is ``R = sum x_u / sum n_u``.

- **Variance of R**: delta method over units, ``U/(U-1) * sum (x_u - R n_u)^2 / (sum n_u)^2`` (Deng, Knoblich, Lu,
  "Applying the delta method in metric analytics", KDD 2018, section 3): requests of one unit may depend on each other.
- **Combination**: ``d_k`` of stratum k is challenger minus champion. Strata are combined with weights
  ``w_k = n_c n_t / (n_c + n_t)`` in requests (Cochran, Biometrics 10, 1954). They know nothing of the outcomes:
  weights of estimated inverse variances favour strata that look quiet by chance, and a loss's mean and variance go
  together.
  Within a stratum ``w_k d_k`` grows as a random walk while data arrive, which the sequential test needs. Arms are never
  pooled over strata: when the split changes with time, the days' differences turn into a false effect (Simpson).
- **Sequential test**: normal mixture, see ``two_sided_boundary``. The mixture's variance is fixed by the plan as
  ``tau = sigma^2 / tau_requests``, so ``r = tau / V`` is ``sum w_k / tau_requests`` and independent of the metric's
  scale.

- **Units that return**: a unit is one cluster over all strata where the source gives the sum of squared unit scores
  (core/unit_scores.py); without it, it counts as a new cluster in each stratum, and an effect of the unit that lasts
  over data days makes the variance too small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from airflow_ml.core.cuped import Difference, adjusted, along
from airflow_ml.core.ports import Sample

#: Units that each arm needs in a stratum; below, the stratum's variance is mostly guessed and it is left out.
MIN_STRATUM_UNITS = 5
#: Sums of squares lose about 1e-16 of their size to rounding; a residual below this share of them is no variance.
_ROUNDING = 1e-12
#: Bounds of a planned ``tau_requests``; the lower one is the default of a plan that names no difference.
LEAST_TAU, MOST_TAU = 100.0, 1000.0
#: Above this design effect requests cannot be taken as independent: intervals would be more than a fifth too short.
MOST_DESIGN_EFFECT = 1.5
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean per request and the variance of that mean."""

    value: float
    variance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Challenger minus champion over all usable strata, in the metric's own unit and sign."""

    difference: float
    #: Variance of ``difference``; 0 where nothing varies, which decides nothing.
    variance: float
    #: Sum of the strata's weights: effective requests, ``n_c n_t / (n_c + n_t)``.
    weight: float
    #: Strata that count, and strata left out because an arm has too few units there.
    strata: int
    strata_left_out: int
    #: Units (one per unit and stratum) and requests of each arm in the strata that count.
    champion_units: int
    challenger_units: int
    champion_requests: int
    challenger_requests: int

    @property
    def z(self) -> float:
        """The difference in standard errors; 0 where there is no variance."""
        return self.difference / math.sqrt(self.variance) if self.variance > 0 else 0.0


def mean_of(sample: Sample) -> Mean:
    """Return an arm's mean per request in one stratum, with its clustered variance.

    Raises:
        ValueError: for numbers that no data can have (not finite, negative counts, fewer than 2 units, no requests).
    """
    sums = (sample.sum_x, sample.sum_xx, sample.sum_nn, sample.sum_xn)
    if not all(math.isfinite(value) for value in sums):
        raise ValueError(f"A sum of {sample.variant} in stratum {sample.stratum} is not a finite number: {sums}")
    if sample.units < 2 or sample.requests < sample.units or sample.sum_xx < 0 or sample.sum_nn <= 0:
        raise ValueError(f"Impossible counts of {sample.variant} in stratum {sample.stratum}: {sample}")
    mean = sample.sum_x / sample.requests
    parts = (sample.sum_xx, -2 * mean * sample.sum_xn, mean * mean * sample.sum_nn)
    residual = math.fsum(parts)
    rounding = _ROUNDING * max(abs(part) for part in parts)
    if residual < -rounding:
        raise ValueError(f"The sums of {sample.variant} in stratum {sample.stratum} contradict each other: {sums}")
    if residual <= rounding:
        residual = 0.0
    return Mean(value=mean, variance=residual * sample.units / (sample.units - 1) / sample.requests**2)


def check(samples: Sequence[Sample]) -> None:
    """Refuse samples that no data can have, before anything is computed from them.

    Raises:
        ValueError: naming the first bad sample: not finite, negative, or the same (variant, stratum) twice.
    """
    seen: set[tuple[str, str, str]] = set()
    for sample in samples:
        sums = (sample.sum_x, sample.sum_xx, sample.sum_nn, sample.sum_xn, sample.units, sample.requests)
        name = f"{sample.variant} in stratum {sample.stratum}"
        if not all(math.isfinite(value) for value in sums):
            raise ValueError(f"A sum of {name} is not a finite number: {sums}")
        if sample.units < 0 or sample.requests < sample.units or sample.sum_xx < 0 or sample.sum_nn < 0:
            raise ValueError(f"Impossible counts of {name}: {sums}")
        if (sample.variant, sample.stratum, sample.slice_name) in seen:
            raise ValueError(f"Two samples of {name}")
        seen.add((sample.variant, sample.stratum, sample.slice_name))


def effect_of(
    samples: Sequence[Sample],
    *,
    champion: str,
    challenger: str,
    unit_squares: Mapping[str, float] | None = None,
) -> Effect | None:
    """Return the effect combined over strata, or None where no stratum has enough units of both arms.

    Where every sample has a covariate the effect is adjusted for it, see core/cuped.py.

    Args:
        samples: One per (variant, stratum); other variants are ignored.
        champion: The name of the baseline variant.
        challenger: The name of the other one.
        unit_squares: By challenger, as in a reading: the variance is then clustered by unit over all strata. Never
            below the one that counts a unit anew in each stratum.

    Raises:
        ValueError: see ``check``.
    """
    check(samples)
    arms: dict[str, dict[str, Sample]] = {champion: {}, challenger: {}}
    for sample in samples:
        if sample.variant in arms and not sample.slice_name:
            arms[sample.variant][sample.stratum] = sample
    strata = sorted({*arms[champion], *arms[challenger]})
    pairs = [
        (arms[champion][stratum], arms[challenger][stratum])
        for stratum in strata
        if _usable(arms[champion].get(stratum)) and _usable(arms[challenger].get(stratum))
    ]
    if not pairs:
        return None
    weights = [c.requests * t.requests / (c.requests + t.requests) for c, t in pairs]
    means = [(mean_of(c), mean_of(t)) for c, t in pairs]
    total = math.fsum(weights)
    plain = [Difference(t.value - c.value, t.variance + c.variance) for c, t in means]
    parts = plain
    if all(c.covariate is not None and t.covariate is not None for c, t in pairs):
        parts = adjusted(plain, [(along(c), along(t)) for c, t in pairs], weights)
    difference = math.fsum(w * part.value for w, part in zip(weights, parts, strict=True)) / total
    variance = math.fsum(w * w * part.variance for w, part in zip(weights, parts, strict=True)) / total**2
    clustered = (unit_squares or {}).get(challenger)
    if clustered is not None:
        apart = math.fsum(w * w * part.variance for w, part in zip(weights, plain, strict=True))
        # What a covariate explains is taken out of both alike.
        variance *= max(1.0, clustered / apart) if apart > 0 else 1.0
    return Effect(
        difference=difference,
        variance=variance,
        weight=total,
        strata=len(pairs),
        strata_left_out=len(strata) - len(pairs),
        champion_units=sum(c.units for c, _ in pairs),
        challenger_units=sum(t.units for _, t in pairs),
        champion_requests=sum(c.requests for c, _ in pairs),
        challenger_requests=sum(t.requests for _, t in pairs),
    )


def as_requests(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return samples in which every request is a unit of its own, for a plan that takes requests as independent.

    Raises:
        ValueError: the source does not give the sum of squares over requests.
    """
    found = []
    for sample in samples:
        if sample.sum_squares is None:
            raise ValueError(f"{sample.variant} in stratum {sample.stratum} has no sum of squares over requests")
        found.append(
            replace(
                sample,
                units=sample.requests,
                sum_xx=sample.sum_squares,
                sum_nn=float(sample.requests),
                sum_xn=sample.sum_x,
                covariate=None,
            )
        )
    return tuple(found)


def design_effect(samples: Sequence[Sample]) -> float | None:
    """Return the variance with requests clustered by unit over that of as many independent ones, within strata.

    None where the source does not give the sums of squares over requests, or nothing varies.

    Raises:
        ValueError: for sums that no data can have.
    """
    clustered = independent = 0.0
    for sample in samples:
        if sample.units < MIN_STRATUM_UNITS or sample.slice_name:
            continue
        if sample.sum_squares is None:
            return None
        n, mean = sample.requests, mean_of(sample)
        clustered += mean.variance * n * n
        independent += max(sample.sum_squares - n * mean.value**2, 0.0) * n / max(n - 1, 1)
    return clustered / independent if independent > 0 and clustered > 0 else None


def _usable(sample: Sample | None) -> bool:
    return sample is not None and sample.units >= MIN_STRATUM_UNITS and sample.requests > 0


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
