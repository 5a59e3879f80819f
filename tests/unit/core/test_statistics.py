"""Oracles: scipy, numerical integration, and simulation with fixed seeds."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate
from scipy import stats as scipy_stats

from airflow_ml.core.mixture import (
    LEAST_TAU,
    MOST_TAU,
    confidence_sequence,
    log_e_one_sided,
    log_e_two_sided,
    one_sided_boundary,
    planned_tau,
    requests_needed,
    two_sided_boundary,
)
from airflow_ml.core.ports import Sample
from airflow_ml.core.statistics import Effect, effect_of, mean_of

CHAMPION, CHALLENGER = "champion", "challenger"


def sample(variant: str, stratum: str, units: Sequence[Sequence[float]]) -> Sample:
    """Sum up units, each a list of its requests' losses."""
    x = [math.fsum(unit) for unit in units]
    n = [len(unit) for unit in units]
    return Sample(
        variant=variant,
        stratum=stratum,
        units=len(units),
        requests=sum(n),
        sum_x=math.fsum(x),
        sum_xx=math.fsum(v * v for v in x),
        sum_nn=float(sum(k * k for k in n)),
        sum_xn=math.fsum(v * k for v, k in zip(x, n, strict=True)),
    )


def test_one_request_a_unit_is_the_ordinary_mean_and_variance() -> None:
    values = [0.2, 0.9, 0.4, 0.1, 0.7, 0.35]
    mean = mean_of(sample(CHAMPION, "5/d", [[v] for v in values]))
    assert mean.value == pytest.approx(sum(values) / 6)
    assert mean.variance == pytest.approx(float(scipy_stats.sem(values)) ** 2)


def test_welch_in_one_stratum() -> None:
    rng = random.Random(1)
    a, b = [rng.gauss(1, 1) for _ in range(200)], [rng.gauss(1.3, 2) for _ in range(90)]
    found = effect_of(
        [sample(CHAMPION, "s", [[v] for v in a]), sample(CHALLENGER, "s", [[v] for v in b])],
        champion=CHAMPION,
        challenger=CHALLENGER,
    )
    assert found is not None
    assert found.z == pytest.approx(float(scipy_stats.ttest_ind(b, a, equal_var=False).statistic))
    assert found.weight == pytest.approx(200 * 90 / 290)


def test_clusters_are_seen_by_the_variance() -> None:
    """Units of 8 equal requests: the variance is that of the units, 8 times the one of independent requests."""
    rng = random.Random(2)
    draws = [rng.gauss(0, 1) for _ in range(400)]
    clustered = mean_of(sample(CHAMPION, "s", [[v] * 8 for v in draws]))
    independent = mean_of(sample(CHAMPION, "s", [[v] for v in draws for _ in range(8)]))
    assert clustered.variance / independent.variance == pytest.approx(8, rel=0.01)


def test_a_ratio_has_the_right_spread_when_sizes_differ() -> None:
    rng = random.Random(3)
    means, variances = [], []
    for _ in range(400):
        units = []
        for _ in range(60):
            level = rng.gauss(1, 0.5)
            units.append([level + rng.gauss(0, 1) for _ in range(rng.randint(1, 9))])
        mean = mean_of(sample(CHAMPION, "s", units))
        means.append(mean.value)
        variances.append(mean.variance)
    spread = float(scipy_stats.tvar(means))
    assert sum(variances) / len(variances) == pytest.approx(spread, rel=0.2)


def test_changing_weights_and_days_make_no_effect() -> None:
    """Bad days fall together with the small weight: pooled arms differ by far, strata do not."""
    rng = random.Random(4)
    samples, pooled = [], {CHAMPION: [0.0, 0], CHALLENGER: [0.0, 0]}
    for day, (level, share) in enumerate([(3.0, 0.05), (2.0, 0.25), (1.0, 0.5)] * 2):
        arms: dict[str, list[list[float]]] = {CHAMPION: [], CHALLENGER: []}
        for _ in range(2000):
            arms[CHALLENGER if rng.random() < share else CHAMPION].append([level + rng.gauss(0, 1)])
        for variant, units in arms.items():
            samples.append(sample(variant, f"{share * 100:g}/{day}", units))
            pooled[variant][0] += math.fsum(u[0] for u in units)
            pooled[variant][1] += len(units)
    found = effect_of(samples, champion=CHAMPION, challenger=CHALLENGER)
    assert found is not None
    assert abs(found.z) < 3
    naive = pooled[CHALLENGER][0] / pooled[CHALLENGER][1] - pooled[CHAMPION][0] / pooled[CHAMPION][1]
    assert abs(naive) > 20 * math.sqrt(found.variance)


def test_strata_without_enough_units_are_left_out() -> None:
    small = [sample(CHAMPION, "a", [[1.0]] * 50), sample(CHALLENGER, "a", [[1.0]] * 4)]
    assert effect_of(small, champion=CHAMPION, challenger=CHALLENGER) is None
    large = [sample(v, "b", [[float(i)] for i in range(9)]) for v in (CHAMPION, CHALLENGER)]
    found = effect_of([*small, *large], champion=CHAMPION, challenger=CHALLENGER)
    assert found is not None
    assert (found.strata, found.strata_left_out, found.champion_units) == (1, 1, 9)


def test_arms_that_are_alike_are_as_good_as_pooled_and_never_better() -> None:
    """Oracle: the score test of two proportions, of which statsmodels' z test is the form with n instead of n - 1."""
    from statsmodels.stats.proportion import proportions_ztest

    rare = [sample(CHAMPION, "a", [[1.0]] * 19 + [[0.0]] * 1881), sample(CHALLENGER, "a", [[0.0]] * 100)]
    found = effect_of(rare, champion=CHAMPION, challenger=CHALLENGER)
    assert found is not None
    score, _ = proportions_ztest([0, 19], [100, 1900])
    assert found.z == pytest.approx(float(score), rel=1e-3)


def test_arms_of_which_each_is_constant_differ_by_what_the_split_could_not_do() -> None:
    """Every request of one arm fails, and none of the other: no variance in either, and no doubt."""
    samples = [sample(CHAMPION, "a", [[0.0]] * 1900), sample(CHALLENGER, "a", [[1.0]] * 100)]
    found = effect_of(samples, champion=CHAMPION, challenger=CHALLENGER)
    assert found is not None
    low, _ = confidence_sequence(found, alpha=0.05, tau_requests=100)
    assert low > 0.5


@pytest.mark.parametrize(("rate", "share"), [(0.01, 0.05), (0.001, 0.02)])
def test_peeking_keeps_alpha_where_losses_are_rare_and_an_arm_is_small(rate: float, share: float) -> None:
    """150 A/A rollouts of 40 days with 400 units; without the pooled variance a third and more of them were wrong."""
    random_, runs, wrong = np.random.default_rng(20134), 150, 0
    for _ in range(runs):
        samples: list[Sample] = []
        for day in range(40):
            small = int(random_.binomial(400, share))
            for variant, units in ((CHAMPION, 400 - small), (CHALLENGER, small)):
                events = int(random_.binomial(units, rate))
                samples.append(rates(variant, f"{share * 100:g}/{day:02}", units, events))
            if day % 4 != 3:
                continue
            found = effect_of(samples, champion=CHAMPION, challenger=CHALLENGER)
            if found is None or found.challenger_units < 100:
                continue
            low, high = confidence_sequence(found, alpha=0.05, tau_requests=100)
            if low > 0 or high < 0:
                wrong += 1
                break
    # 150 of 5 %: 7.5 expected at most; 16 is its 99.8 % quantile.
    assert wrong <= 16


def rates(variant: str, stratum: str, units: int, events: int) -> Sample:
    return Sample(
        variant=variant,
        stratum=stratum,
        units=units,
        requests=units,
        sum_x=float(events),
        sum_xx=float(events),
        sum_nn=float(units),
        sum_xn=float(events),
    )


def test_a_constant_metric_has_no_variance_and_no_bound() -> None:
    samples = [sample(CHAMPION, "a", [[0.3] * 3] * 40), sample(CHALLENGER, "a", [[0.3] * 3] * 40)]
    found = effect_of(samples, champion=CHAMPION, challenger=CHALLENGER)
    assert found is not None
    assert found.variance == 0
    assert found.z == 0
    assert confidence_sequence(found, alpha=0.05, tau_requests=2000) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    "change",
    [{"sum_x": math.nan}, {"sum_xx": math.inf}, {"sum_xx": -1.0}, {"units": -1}, {"requests": 1}, {"sum_nn": -2.0}],
)
def test_impossible_sums_are_refused_by_name(change: dict[str, float]) -> None:
    import dataclasses

    good = sample(CHAMPION, "5/2013-05-01", [[0.1], [0.4], [0.2], [0.2], [0.9]])
    with pytest.raises(ValueError, match="champion in stratum 5/2013-05-01"):
        effect_of([dataclasses.replace(good, **change)], champion=CHAMPION, challenger=CHALLENGER)  # type: ignore[arg-type]


def test_the_same_stratum_twice_is_refused() -> None:
    one = sample(CHAMPION, "a", [[1.0], [2.0]])
    with pytest.raises(ValueError, match="Two samples"):
        effect_of([one, one], champion=CHAMPION, challenger=CHALLENGER)


@settings(max_examples=30, deadline=None)
@given(st.floats(-8, 8), st.floats(0.01, 50))
def test_mixtures_are_what_integration_says(z: float, r: float) -> None:
    """The mixture over l ~ N(0, r) of exp(l z - l^2 / 2), in units where Q = 1."""
    spread = math.sqrt(r)

    def term(value: float) -> float:
        return math.exp(value * z - value * value / 2) * float(scipy_stats.norm.pdf(value, scale=spread))

    # The integrand's peak, so that the quadrature does not miss it.
    peak = z * r / (1 + r)
    above = sum(integrate.quad(term, a, b)[0] for a, b in _pieces(0.0, max(peak, 0.0), 60.0))
    below = sum(integrate.quad(term, -b, -a)[0] for a, b in _pieces(0.0, max(-peak, 0.0), 60.0))
    assert math.log(above + below) == pytest.approx(log_e_two_sided(z, r), abs=1e-5)
    assert math.log(2 * above) == pytest.approx(log_e_one_sided(z, r), abs=1e-5)


def _pieces(low: float, peak: float, high: float) -> list[tuple[float, float]]:
    cuts = sorted({low, *(max(low, min(high, peak + d)) for d in (-4, -1, 0, 1, 4)), high})
    return list(itertools.pairwise(cuts))


@given(st.floats(0.001, 1000), st.floats(0.0005, 0.2))
def test_boundaries_are_where_the_evidence_is_one_over_alpha(r: float, alpha: float) -> None:
    assert log_e_two_sided(two_sided_boundary(r, alpha), r) == pytest.approx(-math.log(alpha), abs=1e-9)
    assert log_e_one_sided(one_sided_boundary(r, alpha), r) == pytest.approx(-math.log(alpha), abs=1e-6)
    assert one_sided_boundary(r, alpha) <= two_sided_boundary(r, alpha)


def test_the_published_form_of_the_boundary() -> None:
    tau, v, alpha = 0.0004, 0.001, 0.05
    published = math.sqrt((v + tau) / tau * (-2 * math.log(alpha) - math.log(v / (v + tau))))
    assert two_sided_boundary(tau / v, alpha) == pytest.approx(published)


def test_one_sided_evidence_far_on_the_wrong_side_is_finite_and_falling() -> None:
    values = [log_e_one_sided(z, 5.0) for z in (-20, -32, -33, -34, -50, -1000)]
    assert all(math.isfinite(value) for value in values)
    assert values == sorted(values, reverse=True)


def _wilson_upper(hits: int, runs: int) -> float:
    return float(scipy_stats.binomtest(hits, runs).proportion_ci(0.95, method="wilson").high)


def test_peeking_keeps_alpha_with_changing_weights_clusters_and_days() -> None:
    """300 A/A rollouts, 15 looks each, weights 5 to 50 percent, units of 1 to 4 dependent requests, drifting days."""
    rng = random.Random(20131)
    runs, wrong, alpha = 300, 0, 0.05
    for _ in range(runs):
        samples: list[Sample] = []
        for day in range(15):
            share = (0.05, 0.25, 0.5)[min(day // 3, 2)]
            level = 1 + 0.5 * math.sin(day)
            arms: dict[str, list[list[float]]] = {CHAMPION: [], CHALLENGER: []}
            for _ in range(100):
                unit = level + rng.gauss(0, 0.7)
                requests = [unit + rng.gauss(0, 1) for _ in range(rng.randint(1, 4))]
                arms[CHALLENGER if rng.random() < share else CHAMPION].append(requests)
            samples += [sample(v, f"{share * 100:g}/{day:02}", units) for v, units in arms.items()]
            found = effect_of(samples, champion=CHAMPION, challenger=CHALLENGER)
            if found is None or found.challenger_units < 30:
                continue
            low, high = confidence_sequence(found, alpha=alpha, tau_requests=100)
            if low > 0 or high < 0:
                wrong += 1
                break
    assert _wilson_upper(wrong, runs) <= 0.06


def test_a_planned_effect_is_found_and_the_interval_covers_it() -> None:
    rng = random.Random(20132)
    effect, found_in, covered, runs = 0.15, 0, 0, 60
    needed = requests_needed(effect, 1.0, challenger_share=0.5, tau_requests=2000, power=0.95)
    per_day = math.ceil(needed / 10)
    for _ in range(runs):
        samples: list[Sample] = []
        shown, inside = False, True
        for day in range(10):
            for variant, shift in ((CHAMPION, 0.0), (CHALLENGER, effect)):
                units = [[rng.gauss(shift, 1)] for _ in range(per_day // 2)]
                samples.append(sample(variant, f"50/{day}", units))
            found = effect_of(samples, champion=CHAMPION, challenger=CHALLENGER)
            assert found is not None
            low, high = confidence_sequence(found, alpha=0.05, tau_requests=2000)
            shown = shown or low > 0
            inside = inside and low <= effect <= high
        found_in += shown
        covered += inside
    assert found_in >= 54
    assert covered >= 54


def test_requests_needed_refuses_what_cannot_be() -> None:
    for effect, share in ((0.0, 0.5), (0.1, 0.0), (0.1, 1.0)):
        with pytest.raises(ValueError, match="No sample size"):
            requests_needed(effect, 1.0, challenger_share=share, tau_requests=2000)


def test_the_interval_is_centred_on_the_difference() -> None:
    effect = Effect(
        difference=-0.01,
        variance=1e-6,
        weight=5000.0,
        strata=3,
        strata_left_out=0,
        champion_units=900,
        challenger_units=900,
        champion_requests=10_000,
        challenger_requests=10_000,
    )
    low, high = confidence_sequence(effect, alpha=0.05, tau_requests=2000)
    assert (low + high) / 2 == pytest.approx(-0.01)
    assert high < 0


@given(st.floats(0.001, 0.2), st.floats(0.1, 10))
def test_the_planned_mixture_is_tightest_where_the_effect_is_to_be_shown(alpha: float, sigma: float) -> None:
    normal = NormalDist()
    effect = 0.03 * sigma  # between the bounds
    tau = planned_tau(effect, sigma, alpha=alpha)
    if not LEAST_TAU < tau < MOST_TAU:
        return
    weight = ((normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(0.95)) * sigma / effect) ** 2
    best = two_sided_boundary(weight / tau, alpha)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert best < two_sided_boundary(weight / (tau * factor), alpha)


def test_a_planned_mixture_stays_within_its_bounds() -> None:
    assert planned_tau(10.0, 1.0) == LEAST_TAU
    assert planned_tau(0.0001, 1.0) == MOST_TAU
    # What the docstring says of ten times the data.
    far = two_sided_boundary(10 * 8.2, 0.05) / two_sided_boundary(8.2, 0.05)
    assert far == pytest.approx(1.07, abs=0.005)


@pytest.mark.parametrize(("effect", "sigma"), [(math.nan, 1.0), (0.1, math.nan), (0.1, math.inf), (1e-200, 1.0)])
def test_what_no_sample_shows_is_refused_and_not_looked_for(effect: float, sigma: float) -> None:
    with pytest.raises(ValueError, match="No sample size"):
        requests_needed(effect, sigma, challenger_share=0.5, tau_requests=100.0)
