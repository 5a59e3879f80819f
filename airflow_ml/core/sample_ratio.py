"""The sample-ratio check of a rollout: did each variant get the units that its weight promised?

A split that is not the intended one means that units were lost or moved, and not by chance: all evidence is void.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


def log_e_sample_ratio(counts: Sequence[int], shares: Sequence[float], *, concentration: float = 50.0) -> float:
    """Return the log of the evidence that units were not assigned with the given shares.

    The Bayes factor of a Dirichlet mixture around the shares against the shares themselves; at any look above 1/alpha
    with probability at most alpha (Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS
    2022).

    Args:
        counts: Units per variant.
        shares: Intended share of each, adding up to 1.
        concentration: Weight of the mixture around the shares; 50 finds gross faults within a
            hundred units and costs little with more.
    """
    if any(count > 0 and share <= 0 for count, share in zip(counts, shares, strict=True)):
        return math.inf
    value = math.lgamma(concentration) - math.lgamma(concentration + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        if share > 0:
            prior = concentration * share
            value += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRatio:
    """The sample-ratio check: whether each variant got the units that its weight promised."""

    mismatch: bool
    #: The stratum with the strongest evidence, and its log evidence less what it must exceed.
    stratum: str | None
    excess: float


def sample_ratio(
    assigned: Mapping[str, Mapping[str, int]],
    challenger_shares: Mapping[str, float],
    *,
    champion: str,
    challengers: Sequence[str],
    alpha: float = 0.001,
) -> SampleRatio:
    """Test every stratum's split against the weight it was made with.

    Units are sticky, so the strata of one rollout hold many of the same units and their evidence must not be
    multiplied. Stratum number k (in the order of ``challenger_shares``) is tested at ``alpha * 6 / (pi k)^2``, which
    adds up to alpha over any number of strata whatever their dependence; within one the test is valid at every look.

    Args:
        assigned: ``{variant: {stratum: units}}``.
        challenger_shares: Each challenger's share (0 to 1) in each stratum, oldest stratum first.
        champion: Name of the baseline variant.
        challengers: Names of the others.
        alpha: Chance of a false alarm over the whole rollout; 0.001 because an alarm voids all evidence.
    """
    worst: str | None = None
    excess = -math.inf
    for number, (stratum, share) in enumerate(challenger_shares.items(), start=1):
        counts = [int(assigned.get(variant, {}).get(stratum, 0)) for variant in (champion, *challengers)]
        bar = -math.log(alpha * 6 / (math.pi * number) ** 2)
        evidence = log_e_sample_ratio(counts, (1 - share * len(challengers), *(share for _ in challengers))) - bar
        if evidence > excess:
            worst, excess = stratum, evidence
    return SampleRatio(mismatch=excess >= 0, stratum=worst, excess=excess)
