"""Statistics of a rollout: the effect and its variance, stratified, clustered by randomization unit.

What the effect proves, at whatever look, says core/mixture.py.

Notation. A sample holds the sufficient statistics of one arm in one stratum: over its ``U`` units, unit ``u`` has
``n_u`` requests whose metric adds up to ``x_u``. The arm's mean per request is ``R = sum x_u / sum n_u``.

- **Variance of R**: delta method over units, ``U/(U-1) * sum (x_u - R n_u)^2 / (sum n_u)^2`` (Deng, Knoblich, Lu,
  "Applying the delta method in metric analytics", KDD 2018, section 3): requests of one unit may depend on each other.
- **Variance of a difference**: the sum of the arms' variances, and never below what it would be if the arms were
  alike: that of both arms' units together, around their common mean, divided by each arm's units (the variance of a
  score test; Miettinen and Nurminen, Statistics in Medicine 4, 1985). Where large losses are rare, a small arm without
  any has a low mean and next to no variance at once: with 5 % of units and a rate of 1 %, arms that are alike were
  called different in a third of the rollouts. The second variance knows the rare losses from the other arm.
- **Combination**: ``d_k`` of stratum k is challenger minus champion. Strata are combined with weights
  ``w_k = n_c n_t / (n_c + n_t)`` in requests (Cochran, Biometrics 10, 1954). They know nothing of the outcomes:
  weights of estimated inverse variances favour strata that look quiet by chance, and a loss's mean and variance go
  together.
  Within a stratum ``w_k d_k`` grows as a random walk while data arrive, which the sequential test needs. Arms are never
  pooled over strata: when the split changes with time, the days' differences turn into a false effect (Simpson).
- **Units that return**: a unit is one cluster over all strata where the source gives the sum of squared unit scores
  (core/unit_scores.py); without it, it counts as a new cluster in each stratum, and an effect of the unit that lasts
  over data days makes the variance too small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from airflow_ml.core.cuped import Difference, adjusted, along
from airflow_ml.core.ports import Sample

#: Units that each arm needs in a stratum; below, the stratum's variance is mostly guessed and it is left out.
MIN_STRATUM_UNITS = 5
#: Sums of squares lose about 1e-16 of their size to rounding; a residual below this share of them is no variance.
_ROUNDING = 1e-12
#: Above this design effect requests cannot be taken as independent: intervals would be more than a fifth too short.
MOST_DESIGN_EFFECT = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean per request and the variance of that mean."""

    value: float
    variance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Challenger minus champion over all usable strata, in the metric's own unit and sign."""

    difference: float
    #: Variance of ``difference``; 0 where nothing varies, not even between the arms, which decides nothing.
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
    #: Whether the metric is the same for all units of an arm in each stratum. If such arms differ, ``variance`` is what
    #: the split could do by chance; it is harm if the challenger is worse, and no proof of an improvement.
    constant: bool = False

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
    spread = _residual(sample, mean) * sample.units / (sample.units - 1)
    return Mean(value=mean, variance=spread / sample.requests**2)


def variance_if_alike(arm: Sample, other: Sample, *, one_mean: bool) -> float:
    """Return the variance of an arm's mean in one stratum if its units spread as those of both arms together do.

    Args:
        arm: The one.
        other: The other.
        one_mean: Around the mean of both arms together, or (False) each around its own.

    Raises:
        ValueError: see ``mean_of``.
    """
    shared = (arm.sum_x + other.sum_x) / (arm.requests + other.requests)
    residual = math.fsum(_residual(one, shared if one_mean else one.sum_x / one.requests) for one in (arm, other))
    of_a_unit = residual / (arm.units + other.units - (1 if one_mean else 2))
    return of_a_unit * arm.units / arm.requests**2


def _residual(sample: Sample, mean: float) -> float:
    """Return the sum over units of ``(x_u - mean n_u)^2``."""
    parts = (sample.sum_xx, -2 * mean * sample.sum_xn, mean * mean * sample.sum_nn)
    residual = math.fsum(parts)
    rounding = _ROUNDING * max(abs(part) for part in parts)
    if residual < -rounding:
        sums = (sample.sum_x, sample.sum_xx, sample.sum_nn, sample.sum_xn)
        raise ValueError(f"The sums of {sample.variant} in stratum {sample.stratum} contradict each other: {sums}")
    return residual if residual > rounding else 0.0


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
    apart = math.fsum(w * w * part.variance for w, part in zip(weights, plain, strict=True))
    alike = math.fsum(
        w * w * (variance_if_alike(c, t, one_mean=True) + variance_if_alike(t, c, one_mean=True))
        for w, (c, t) in zip(weights, pairs, strict=True)
    )
    clustered = (unit_squares or {}).get(challenger, 0.0)
    # What a covariate explains is taken out of all of them.
    if apart > 0:
        variance *= max(1.0, alike / apart) * max(1.0, clustered / apart)
    else:
        variance = alike / total**2
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
        constant=apart <= 0,
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
