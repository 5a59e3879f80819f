"""Oracles: regression by statsmodels, the jackknife, and simulation with fixed seeds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm

from airflow_ml.core.cuped import along
from airflow_ml.core.ports import CovariateSums, Sample
from airflow_ml.core.statistics import effect_of


def sample(variant: str, stratum: str, x: np.ndarray, n: np.ndarray, c: np.ndarray) -> Sample:
    return Sample(
        variant=variant,
        stratum=stratum,
        units=len(x),
        requests=int(n.sum()),
        sum_x=float(x.sum()),
        sum_xx=float((x * x).sum()),
        sum_nn=float((n * n).sum()),
        sum_xn=float((x * n).sum()),
        covariate=CovariateSums(
            sum_c=float(c.sum()), sum_cc=float((c * c).sum()), sum_xc=float((x * c).sum()), sum_nc=float((n * c).sum())
        ),
    )


def draw(rng: np.random.Generator, units: int, rho: float, effect: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Units of 1 to 4 requests whose level correlates with a covariate."""
    c = rng.normal(0, 1, units)
    n = rng.integers(1, 5, units).astype(float)
    level = rho * c + math.sqrt(1 - rho * rho) * rng.normal(0, 1, units) + effect
    return n * level, n, c


def effect(rng: np.random.Generator, rho: float, shift: float = 0.0, *, adjust: bool = True) -> tuple[float, float]:
    samples = []
    for day in range(3):
        for variant, units, move in (("champion", 300, 0.0), ("challenger", 150, shift)):
            x, n, c = draw(rng, units, rho, move)
            made = sample(variant, f"25/{day}", x, n, c + day)
            samples.append(made if adjust else _without(made))
    found = effect_of(samples, champion="champion", challenger="challenger")
    assert found is not None
    return found.difference, found.variance


def _without(one: Sample) -> Sample:
    from dataclasses import replace

    return replace(one, covariate=None)


def test_one_request_a_unit_is_the_regression_with_a_slope() -> None:
    rng = np.random.default_rng(1)
    arms = {}
    for variant, shift in (("champion", 0.0), ("challenger", 0.3)):
        c = rng.normal(5, 2, 400)
        arms[variant] = (0.8 * c + rng.normal(0, 1, 400) + shift, np.ones(400), c)
    found = effect_of([sample(v, "50/d", *a) for v, a in arms.items()], champion="champion", challenger="challenger")
    assert found is not None
    y = np.concatenate([arms["champion"][0], arms["challenger"][0]])
    design = np.column_stack(
        [np.ones(800), np.repeat([0.0, 1.0], 400), np.concatenate([arms["champion"][2], arms["challenger"][2]])]
    )
    fit = sm.OLS(y, design).fit()
    assert found.difference == pytest.approx(fit.params[1], rel=1e-3)
    assert math.sqrt(found.variance) == pytest.approx(fit.bse[1], rel=0.02)


def test_the_covariance_is_the_jackknifes() -> None:
    rng = np.random.default_rng(2)
    x, n, c = draw(rng, 60, 0.7, 0.2)
    keep = ~np.eye(60, dtype=bool)
    ratios = np.array([x[k].sum() / n[k].sum() for k in keep])
    means = np.array([c[k].mean() for k in keep])
    expected = 59 / 60 * float(((ratios - ratios.mean()) * (means - means.mean())).sum())
    assert along(sample("champion", "s", x, n, c)).covariance == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_the_variance_shrinks_by_what_is_explained_and_tells_the_truth(rho: float) -> None:
    rng = np.random.default_rng(3)
    found = np.array([effect(rng, rho, 0.1) for _ in range(1000)])
    plain = np.array([effect(rng, rho, 0.1, adjust=False) for _ in range(100)])
    assert found[:, 0].mean() == pytest.approx(0.1, abs=4 * found[:, 0].std() / math.sqrt(1000))
    assert found[:, 1].mean() == pytest.approx(found[:, 0].var(), rel=0.15)
    # Sizes of 1 to 4 make the metric's variance E(n^2) / E(n)^2 = 1.2 times that of equal sizes, the covariate's not.
    assert found[:, 1].mean() / plain[:, 1].mean() == pytest.approx(1 - rho * rho / 1.2, abs=0.02)


def test_without_a_covariate_in_every_sample_nothing_is_adjusted() -> None:
    rng = np.random.default_rng(4)
    x, n, c = draw(rng, 100, 0.9, 0.0)
    first, second = sample("champion", "s", x, n, c), sample("challenger", "s", x + 0.1, n, c + 1)
    mixed = effect_of([_without(first), second], champion="champion", challenger="challenger")
    assert mixed == effect_of([_without(first), _without(second)], champion="champion", challenger="challenger")


def test_a_covariate_that_never_varies_changes_nothing() -> None:
    rng = np.random.default_rng(5)
    x, n, _ = draw(rng, 100, 0.5, 0.0)
    same = np.full(100, 3.0)
    made = [sample("champion", "s", x, n, same), sample("challenger", "s", x[::-1] * 1.1, n[::-1], same)]
    plain = effect_of([_without(one) for one in made], champion="champion", challenger="challenger")
    found = effect_of(made, champion="champion", challenger="challenger")
    assert found is not None
    assert plain is not None
    assert found.difference == pytest.approx(plain.difference)
    assert found.variance == pytest.approx(plain.variance)


def test_sums_that_cannot_be_true_are_refused() -> None:
    good = sample("champion", "s", np.ones(10), np.ones(10), np.arange(10.0))
    assert good.covariate is not None
    from dataclasses import replace

    for bad in (replace(good.covariate, sum_cc=1.0), replace(good.covariate, sum_xc=math.nan)):
        with pytest.raises(ValueError, match="cannot be true"):
            along(replace(good, covariate=bad))
    with pytest.raises(ValueError, match="no covariate"):
        along(_without(good))
