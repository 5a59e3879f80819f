"""How far has a column moved from its reference? The population stability index and the Kolmogorov-Smirnov distance.

Both work on a column reduced to what they need (``Numbers``, ``Categories``), so that whoever reads the data may sort
and count with a fast library; nothing else is left to it.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist

from airflow_ml.core.monitoring import DriftMeasure
from airflow_ml.errors import ConfigurationError, EmptyDataset

#: A PSI of 0.1 to 0.25 is by common practice some change, above 0.25 a major one (Siddiqi, "Credit Risk Scorecards",
#: 2006).
PSI_MAJOR = 0.25

#: A tenth of the rows lies on the other side of some value. As with PSI, the least change worth a person's look.
KS_MAJOR = 0.1

#: How often pure chance may exceed the threshold, for one column. Small, for many columns are looked at every day.
FALSE_ALARM = 0.001

#: Categories told apart; the rest is counted together, so that rare values do not make noise of their own.
TOP_CATEGORIES = 50

#: Bins of a number, by the reference's deciles: each then holds a tenth of the reference. 0.25 is meant for about ten.
NUMBER_BINS = 10


@dataclass(frozen=True, slots=True)
class Numbers:
    """A numeric column: its values in ascending order without nulls and NaN, and how many of those there were."""

    values: Sequence[float]
    nulls: int = 0

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Numbers:
        """Reduce raw values; None and NaN count as nulls, infinities are values."""
        raw = list(values)
        kept = sorted(float(value) for value in raw if value is not None and not math.isnan(value))
        return cls(kept, len(raw) - len(kept))

    @property
    def rows(self) -> int:
        """Rows, nulls included."""
        return len(self.values) + self.nulls


@dataclass(frozen=True, slots=True)
class Categories:
    """A column of names: how often each occurs, and the number of nulls."""

    counts: Mapping[str, int]
    nulls: int = 0

    @property
    def rows(self) -> int:
        """Rows, nulls included."""
        return sum(self.counts.values()) + self.nulls


def psi(reference: Sequence[float], live: Sequence[float]) -> float:
    """Return the population stability index of two histograms over the same bins.

    It is the sum of ``(q - p) * ln(q / p)`` over the bins, for shares p of the reference and q of the live rows: a
    symmetric Kullback-Leibler divergence. Half a row is added to every bin (Jeffreys' prior), so that a bin that is
    empty on one side gives a large number and no division by zero.

    Raises:
        ConfigurationError: for histograms of different lengths or with a negative count.
        EmptyDataset: if one of them holds no rows.
    """
    if len(reference) != len(live) or not len(reference) or min(*reference, *live) < 0:
        raise ConfigurationError(
            "Not two histograms over the same bins", f"{len(reference)} and {len(live)} bins", "Count both alike."
        )
    before, after = math.fsum(reference), math.fsum(live)
    if not before or not after:
        raise EmptyDataset("A histogram without rows", f"{before:g} and {after:g}", "Drift needs rows on both sides.")
    extra = 0.5 * len(reference)
    total = 0.0
    for expected, seen in zip(reference, live, strict=True):
        p, q = (expected + 0.5) / (before + extra), (seen + 0.5) / (after + extra)
        total += (q - p) * math.log(q / p)
    return total


def psi_threshold(bins: int, reference_rows: int, live_rows: int) -> float:
    """Return 0.25, or more where so few rows would exceed that by chance.

    Without drift PSI is distributed as ``(1/n + 1/m)`` times chi-squared with ``bins - 1`` degrees of freedom (Yurdakul
    and Naranjo, "Statistical properties of the population stability index", 2020).
    """
    return max(PSI_MAJOR, _chi_squared(1 - FALSE_ALARM, bins - 1) * (1 / reference_rows + 1 / live_rows))


def ks(reference: Sequence[float], live: Sequence[float]) -> float:
    """Return the greatest distance between the distribution functions of two samples, each in ascending order.

    Raises:
        EmptyDataset: if one of them is empty.
    """
    if not len(reference) or not len(live):
        raise EmptyDataset(
            "A sample without values", f"{len(reference)} and {len(live)}", "Drift needs rows on both sides."
        )
    # Past the last value of one sample the distance only shrinks.
    farthest = 0.0
    here = there = 0
    n, m = len(reference), len(live)
    while here < n and there < m:
        value = reference[here] if reference[here] <= live[there] else live[there]
        while here < n and reference[here] == value:
            here += 1
        while there < m and live[there] == value:
            there += 1
        farthest = max(farthest, abs(here / n - there / m))
    return farthest


def ks_threshold(reference_rows: int, live_rows: int) -> float:
    """Return 0.1, or more where so few rows would exceed that by chance (Smirnov's asymptotic bound)."""
    chance = math.sqrt(-math.log(FALSE_ALARM / 2) / 2 * (1 / reference_rows + 1 / live_rows))
    return min(max(KS_MAJOR, chance), 1.0)


def measure_column(
    column: str, reference: Numbers | Categories, live: Numbers | Categories, *, statistic: str = "psi"
) -> DriftMeasure:
    """Measure one column.

    Null is a bin of its own for PSI, since a feed that stops delivering is the most common drift of all; KS looks at
    the values only.

    Args:
        column: Its name, for the result.
        reference: The column as the model learned it.
        live: The column as it is now.
        statistic: ``psi``, or ``ks`` for numbers.

    Raises:
        ConfigurationError: for an unknown statistic, or a column that is numbers on one side and names on the other.
        EmptyDataset: without rows (for ``ks``: without values) on one side.
    """
    if not reference.rows or not live.rows:
        raise EmptyDataset(
            f"No rows to measure the drift of {column}",
            f"{reference.rows} before, {live.rows} now",
            "Wait for scored rows, or check the reference.",
        )
    if statistic == "ks" and isinstance(reference, Numbers) and isinstance(live, Numbers):
        value = ks(reference.values, live.values)
        threshold = ks_threshold(len(reference.values), len(live.values))
    elif statistic == "psi":
        before, after = histograms(column, reference, live)
        value, threshold = psi(before, after), psi_threshold(len(before), reference.rows, live.rows)
    else:
        raise ConfigurationError(f"Cannot measure {column} by", statistic, "Use psi, or ks for numbers.")
    return DriftMeasure(column=column, statistic=statistic, value=value, threshold=threshold, drifted=value > threshold)


def histograms(
    column: str, reference: Numbers | Categories, live: Numbers | Categories
) -> tuple[list[float], list[float]]:
    """Count both sides over bins that the reference alone defines; the last bin counts nulls.

    Bins that no row of either side falls into are left out.

    Raises:
        ConfigurationError: for numbers on one side and names on the other.
    """
    if isinstance(reference, Numbers) and isinstance(live, Numbers):
        cuts = quantile_cuts(reference.values)
        before, after = _count_numbers(cuts, reference), _count_numbers(cuts, live)
    elif isinstance(reference, Categories) and isinstance(live, Categories):
        top = sorted(reference.counts, key=lambda name: (-reference.counts[name], name))[:TOP_CATEGORIES]
        before, after = _count_categories(top, reference), _count_categories(top, live)
    else:
        kinds = f"{type(reference).__name__.lower()} before, {type(live).__name__.lower()} now"
        raise ConfigurationError(f"{column} changed its type", kinds, "Write the column with the type it had.")
    used = [index for index in range(len(before)) if before[index] or after[index]]
    return [before[index] for index in used], [after[index] for index in used]


def quantile_cuts(values: Sequence[float]) -> list[tuple[float, bool]]:
    """Return where a sorted reference is cut into bins: a value, and whether the cut lies after it (else before).

    A value on which two deciles fall (zeros, the two values of a flag, a constant) gets a bin of its own, so that
    nothing on either side of it can hide in its bin.
    """
    if not len(values):
        return []
    deciles = [float(values[min(len(values) - 1, step * len(values) // NUMBER_BINS)]) for step in range(1, NUMBER_BINS)]
    cuts: set[tuple[float, bool]] = set()
    for value in deciles:
        cuts.add((value, True))
        if deciles.count(value) > 1:
            cuts.add((value, False))
    return sorted(cuts)


def _count_numbers(cuts: Sequence[tuple[float, bool]], column: Numbers) -> list[float]:
    values = column.values
    places = [bisect.bisect_right(values, value) if after else bisect.bisect_left(values, value)
              for value, after in cuts]  # fmt: skip
    edges = [0, *places, len(values)]
    return [float(edges[i + 1] - edges[i]) for i in range(len(edges) - 1)] + [float(column.nulls)]


def _count_categories(top: Sequence[str], column: Categories) -> list[float]:
    known = [float(column.counts.get(name, 0)) for name in top]
    return [*known, sum(column.counts.values()) - sum(known), float(column.nulls)]


def decide_drift(measures: Sequence[DriftMeasure]) -> tuple[bool, str]:
    """Say whether any measure exceeds its threshold, and which, in words.

    Raises:
        EmptyDataset: without measures; "not measured" is not "no drift".
    """
    if not measures:
        raise EmptyDataset("No drift was measured", "0 columns", "Name the features, and pass rows of both sides.")
    ordered = sorted(measures, key=_excess, reverse=True)
    shown = "; ".join(
        f"{one.column} {one.statistic} {one.value:.3g} over {one.threshold:.3g}" for one in ordered[:3] if one.drifted
    )
    drifted = sum(1 for one in measures if one.drifted)
    if drifted:
        return True, f"{drifted} of {len(measures)} measures drifted: {shown}."
    most = ordered[0]
    return False, (
        f"None of {len(measures)} measures drifted; the most: "
        f"{most.column} {most.statistic} {most.value:.3g}, threshold {most.threshold:.3g}."
    )


def by_excess(measures: Iterable[DriftMeasure]) -> list[DriftMeasure]:
    """Return the measures, the one that exceeds its threshold most first."""
    return sorted(measures, key=_excess, reverse=True)


def _excess(measure: DriftMeasure) -> float:
    return measure.value / measure.threshold


def error_by_week(days: Iterable[tuple[date, float, int]]) -> dict[str, float]:
    """Return the mean error by ISO week, ``2013-W18``, in order.

    Args:
        days: For any number of days: the day, the sum of the rows' errors, the number of rows.
    """
    sums: dict[str, tuple[float, int]] = {}
    for day, error, rows in days:
        year, week, _ = day.isocalendar()
        name = f"{year:04}-W{week:02}"
        had = sums.get(name, (0.0, 0))
        sums[name] = (had[0] + error, had[1] + rows)
    return {name: error / rows for name, (error, rows) in sorted(sums.items()) if rows}


def _chi_squared(probability: float, freedom: int) -> float:
    """Return a quantile of chi-squared by Wilson and Hilferty (1931): within 3 % from 2 degrees of freedom on."""
    if freedom < 1:
        return 0.0
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + NormalDist().inv_cdf(probability) * math.sqrt(spread)) ** 3)
