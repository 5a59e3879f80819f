"""Stage 7, canary: an arm's own mean, for what is limited by itself and not in comparison with the champion.

Over strata the mean is that of all requests: ``sum x / sum n``. Its variance is that of the strata's means around what
each of them truly was, so a test of it is about the mean of the time so far, at every look, as that of means that vary
in time (Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory", Annals of Statistics 52,
2024). Which requests came on which day is not a chance event here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_ml.core.ports import Sample
from airflow_ml.core.statistics import MIN_STRATUM_UNITS, check, mean_of, variance_if_alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The mean of one arm per request, in the metric's own unit."""

    value: float
    #: Variance of ``value``; 0 where nothing varies, which decides nothing.
    variance: float
    #: In the strata that count: units (one per unit and stratum), and requests.
    units: int
    requests: int


def level_of(samples: Sequence[Sample], *, arm: str, beside: str = "", inflation: float = 1.0) -> Level | None:
    """Return an arm's mean over all strata, or None where no stratum has enough units of it.

    Args:
        samples: One per (variant, stratum); other variants, and slices, are ignored.
        arm: The variant.
        beside: A variant whose units are of the same kind. The variance is never below what it would be if the arm's
            units spread as those of both do: a small arm that has had hardly any rare loss knows nothing of them.
        inflation: What the variance is multiplied by, at least 1: how much larger units that return make it.

    Raises:
        ValueError: for sums that no data can have.
    """
    check(samples)
    usable = [one for one in samples if not one.slice_name and one.units >= MIN_STRATUM_UNITS and one.requests > 0]
    mine = [one for one in usable if one.variant == arm]
    if not mine:
        return None
    requests = sum(one.requests for one in mine)
    others = {one.stratum: one for one in usable if one.variant == beside}
    own = [mean_of(one).variance for one in mine]

    def alike(*, one_mean: bool) -> list[float]:
        return [
            variance_if_alike(one, others[one.stratum], one_mean=one_mean) if one.stratum in others else known
            for one, known in zip(mine, own, strict=True)
        ]

    def combined(variances: Sequence[float]) -> float:
        return math.fsum(one.requests**2 * variance for one, variance in zip(mine, variances, strict=True))

    # Where all requests of either arm are the same, only the difference of the arms says how requests vary.
    variance = max(combined(own), combined(alike(one_mean=False))) or combined(alike(one_mean=True))
    return Level(
        value=math.fsum(one.sum_x for one in mine) / requests,
        variance=max(inflation, 1.0) * variance / requests**2,
        units=sum(one.units for one in mine),
        requests=requests,
    )
