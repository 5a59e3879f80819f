"""Oracles: statsmodels' clustered regression, and simulation with fixed seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm

from airflow_ml.core.ports import Sample
from airflow_ml.core.statistics import effect_of
from airflow_ml.core.unit_scores import Cell, unit_squares

NAMES = {"champion": "champion", "challenger": "challenger"}


def draw(rng: np.random.Generator, days: int, units: int, lasting: float) -> list[Cell]:
    """Units that come every day, with a level of their own that lasts; the weight rises from 20 to 50 % half-way."""
    level, place = rng.normal(0, lasting, units), rng.random(units)
    cells = []
    for day in range(days):
        share = 0.2 if day < days // 2 else 0.5
        for unit in range(units):
            cells.append(
                Cell(
                    unit=f"u{unit}",
                    variant="challenger" if place[unit] < share else "champion",
                    stratum=f"{share * 100:g}/{day:02}",
                    sum_x=float(level[unit] + rng.normal(0, 1) + day),
                    requests=1,
                )
            )
    return cells


def samples_of(cells: list[Cell]) -> list[Sample]:
    made = []
    for variant, stratum in sorted({(cell.variant, cell.stratum) for cell in cells}):
        x = [cell.sum_x for cell in cells if (cell.variant, cell.stratum) == (variant, stratum)]
        made.append(
            Sample(
                variant=variant,
                stratum=stratum,
                units=len(x),
                requests=len(x),
                sum_x=math.fsum(x),
                sum_xx=math.fsum(v * v for v in x),
                sum_nn=float(len(x)),
                sum_xn=math.fsum(x),
            )
        )
    return made


def z_of(cells: list[Cell], *, clustered: bool) -> float:
    squares = {"challenger": unit_squares(cells, **NAMES)} if clustered else None
    effect = effect_of(samples_of(cells), **NAMES, unit_squares=squares)
    assert effect is not None
    return effect.z


def test_it_is_the_clustered_variance_of_a_regression() -> None:
    cells = draw(np.random.default_rng(1), days=6, units=120, lasting=1.0)
    effect = effect_of(samples_of(cells), **NAMES)
    assert effect is not None
    strata = sorted({cell.stratum for cell in cells})
    design = np.array(
        [[float(cell.variant == "challenger"), *(float(cell.stratum == name) for name in strata)] for cell in cells]
    )
    groups = np.array([int(cell.unit[1:]) for cell in cells])
    fit = sm.OLS([cell.sum_x for cell in cells], design).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": False}
    )
    assert effect.difference == pytest.approx(fit.params[0])
    # The regression's residuals are around each arm's own mean, the scores around the common one: alike near no effect.
    assert math.sqrt(unit_squares(cells, **NAMES)) / effect.weight == pytest.approx(fit.bse[0], rel=0.05)


def test_units_that_last_are_seen_and_units_that_do_not_cost_nothing() -> None:
    rng = np.random.default_rng(2)
    lasting = [draw(rng, days=8, units=60, lasting=1.0) for _ in range(150)]
    assert np.std([z_of(cells, clustered=False) for cells in lasting]) > 1.6
    assert np.std([z_of(cells, clustered=True) for cells in lasting]) == pytest.approx(1.0, abs=0.15)
    passing = [draw(rng, days=8, units=60, lasting=0.0) for _ in range(60)]
    ratios = [z_of(cells, clustered=True) / z_of(cells, clustered=False) for cells in passing]
    assert min(ratios) > 0.75
    assert max(ratios) <= 1.0 + 1e-12, "never less than the variance that counts units anew"


def test_strata_that_the_effect_leaves_out_do_not_count() -> None:
    cells = draw(np.random.default_rng(3), days=2, units=60, lasting=1.0)
    few = [Cell(unit="x", variant="challenger", stratum="5/99", sum_x=100.0, requests=1)]
    assert unit_squares([*cells, *few], **NAMES) == unit_squares(cells, **NAMES)
    empty = [Cell(unit="y", variant="champion", stratum=cells[0].stratum, sum_x=0.0, requests=0)]
    assert unit_squares([*cells, *empty], **NAMES) == unit_squares(cells, **NAMES)


def test_nothing_has_no_squares() -> None:
    assert unit_squares([], **NAMES) == 0.0
