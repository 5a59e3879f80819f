"""Wrong decisions, power and samples of sequential tests, side by side in one run; prints JSON.

    python benchmarks/canary_statistics.py [--runs 2000] [--seed 1]

Simulated canaries with 400 looks from 50 to 20,000 requests an arm. Three rules look at the same data:

- ``peeking``: a fixed-horizon z test at every look;
- ``published_msprt``: StatSig's documented mixture, whose variance ``tau = Z^2 (s_t^2 + s_c^2) / (N_t + N_c)`` follows
  the sample size, with ``ln(alpha / 2)``: a constant critical value, 3.585 at alpha 0.05 and equal arms;
- ``group_sequential``: O'Brien-Fleming bounds by alpha spending, for exactly these 400 looks;
- ``airflow_ml``: the mixture fixed by the plan for the planned effect, no decision below its 100 units an arm;
- ``airflow_ml_without_a_planned_effect``: the same with the default mixture.

``fixed_horizon`` is the number of requests an arm after which one single look has a power of 95 %.

A second part compares pooled arms with strata while weights rise and days differ, through ``effect_of`` itself. The
third is canary_replay.py: A/A canaries of real flights, and of ratios, heavy tails, small shares and delayed outcomes.
The fourth is canary_designs.py: several challengers, pairs of scores, and units that are missing.
``all_within_6_percent`` says whether the upper end of the interval of false decisions is at most 6 % for airflow_ml in
each of them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
from canary_designs import challengers, missing_units, pairs
from canary_replay import MIN_UNITS, delayed, group_sequential_bounds, replay, traffic

from airflow_ml.core.mixture import confidence_sequence, planned_tau, two_sided_boundary
from airflow_ml.core.ports import Sample
from airflow_ml.core.statistics import effect_of

ALPHA = 0.05
LOOKS = 400
PER_LOOK = 50
EFFECT = 0.05
METRICS = ("gaussian", "rate_1_percent", "heavy_tailed")
_LOGNORMAL_MEAN, _LOGNORMAL_SIGMA = math.exp(0.5), math.sqrt((math.e - 1) * math.e)
TAU_REQUESTS = {
    "airflow_ml": planned_tau(EFFECT, 1.0, alpha=ALPHA),
    "airflow_ml_without_a_planned_effect": 100.0,
}


def wilson_upper(hits: int, runs: int) -> float:
    """Return the upper end of the 95 % Wilson interval of a share."""
    z = NormalDist().inv_cdf(0.975)
    p = hits / runs
    return (p + z * z / (2 * runs) + z * math.sqrt(p * (1 - p) / runs + z * z / (4 * runs * runs))) / (1 + z * z / runs)


def wrong_share(hits: int, runs: int) -> dict[str, Any]:
    """Return the share of wrong runs, the upper end of its interval, and whether that is within the bound."""
    upper = wilson_upper(hits, runs)
    return {"false_decisions": hits / runs, "false_decisions_wilson_upper": upper, "within_6_percent": upper <= 0.06}


def fixed_horizon() -> float:
    """Return the requests per arm at which one look finds the effect with a power of 95 %."""
    normal = NormalDist()
    return 2 * ((normal.inv_cdf(1 - ALPHA / 2) + normal.inv_cdf(0.95)) / EFFECT) ** 2


def z_paths(rng: np.random.Generator, runs: int, effect: float, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return z of the difference at every look, shape (runs, looks), with the variance estimated from the data.

    First by each arm's own variance, then as the product has it: never below that of both arms together.
    """
    n = np.arange(1, LOOKS + 1) * PER_LOOK
    moments = []
    for shift in (0.0, effect):
        if metric == "gaussian":
            sums = rng.normal(shift * PER_LOOK, math.sqrt(PER_LOOK), (runs, LOOKS))
            squares = rng.chisquare(PER_LOOK - 1, (runs, LOOKS)) + sums**2 / PER_LOOK
        elif metric == "heavy_tailed":  # lognormal, standardized, kurtosis 114
            draws = (rng.lognormal(0, 1, (runs, LOOKS, PER_LOOK)) - _LOGNORMAL_MEAN) / _LOGNORMAL_SIGMA + shift
            sums, squares = draws.sum(axis=2), (draws * draws).sum(axis=2)
        else:  # a rate of 1 %, the effect in standard deviations of it
            rate = 0.01 + shift * math.sqrt(0.01 * 0.99)
            sums = rng.binomial(PER_LOOK, rate, (runs, LOOKS)).astype(float)
            squares = sums
        total, total_squares = sums.cumsum(axis=1), squares.cumsum(axis=1)
        mean = total / n
        moments.append((mean, np.maximum(total_squares / n - mean**2, 0) / (n - 1)))
    (mean_c, var_c), (mean_t, var_t) = moments
    own = var_c + var_t
    residual = n * ((n - 1) * own + (mean_t - mean_c) ** 2 / 2)  # of both arms, around their common mean
    found = []
    for variance in (own, np.maximum(own, residual / (2 * n - 1) * 2 / n)):
        spread = np.sqrt(variance)
        found.append(np.divide(mean_t - mean_c, spread, out=np.zeros_like(spread), where=spread > 0))
    return found[0], found[1]


def boundaries() -> dict[str, np.ndarray]:
    """Return each rule's boundary of |z| at every look."""
    n = np.arange(1, LOOKS + 1) * PER_LOOK
    z = NormalDist().inv_cdf(1 - ALPHA / 2)
    r = z * z / 2  # tau / V with N_t = N_c
    found = {
        "peeking": np.full(LOOKS, z),
        "published_msprt": np.full(LOOKS, two_sided_boundary(r, ALPHA / 2)),
    }
    found["published_msprt_with_ln_alpha"] = np.full(LOOKS, two_sided_boundary(r, ALPHA))
    found["group_sequential"] = group_sequential_bounds(LOOKS, ALPHA)
    for name, tau_requests in TAU_REQUESTS.items():
        bound = np.array([two_sided_boundary(k / 2 / tau_requests, ALPHA) for k in n])
        found[name] = np.where(n >= MIN_UNITS, bound, math.inf)
    return found


def compare(rng: np.random.Generator, runs: int, metric: str) -> dict[str, Any]:
    """Run A/A and A/B canaries of one metric under every rule."""
    null, alternative = z_paths(rng, runs, 0.0, metric), z_paths(rng, runs, EFFECT, metric)
    n = np.arange(1, LOOKS + 1) * PER_LOOK
    found: dict[str, Any] = {}
    for name, boundary in boundaries().items():
        mine = 1 if name in TAU_REQUESTS else 0
        wrong = int((np.abs(null[mine]) >= boundary).any(axis=1).sum())
        shown = np.abs(alternative[mine]) >= boundary
        decided = shown.any(axis=1)
        at = np.where(decided, n[shown.argmax(axis=1)], n[-1])
        found[name] = {
            **wrong_share(wrong, runs),
            "power": float(decided.mean()),
            "mean_requests_per_arm": float(at.mean()),
        }
    return found


def rising_weights(rng: np.random.Generator, runs: int) -> dict[str, Any]:
    """A/A canaries of 20 days at 5, 25 and 50 percent, each day with a level of its own, units of 1 to 4 requests."""
    wrong = {"pooled_with_the_same_test": 0, "stratified": 0}
    for _ in range(runs):
        open_rules = set(wrong)
        strata: list[Sample] = []
        pooled: dict[str, np.ndarray] = {}
        for day in range(20):
            share, level = (0.05, 0.25, 0.5)[min(day // 4, 2)], 1 + 0.5 * math.sin(day)
            requests = rng.integers(1, 5, 300)
            loss = requests * (level + rng.normal(0, 0.7, 300)) + rng.normal(0, 1, 300) * np.sqrt(requests)
            chosen = rng.random(300) < share
            for variant, mask in (("champion", ~chosen), ("challenger", chosen)):
                x, k = loss[mask], requests[mask].astype(float)
                sums = np.array([mask.sum(), k.sum(), x.sum(), (x * x).sum(), (k * k).sum(), (x * k).sum()])
                pooled[variant] = pooled.get(variant, 0) + sums
                strata.append(_sample(variant, f"{share * 100:g}/{day:02}", sums))
            whole = [_sample(variant, "all", sums) for variant, sums in pooled.items()]
            for name, samples in (("stratified", strata), ("pooled_with_the_same_test", whole)):
                effect = effect_of(samples, champion="champion", challenger="challenger")
                if name not in open_rules or effect is None or effect.challenger_units < 100:
                    continue
                low, high = confidence_sequence(effect, alpha=ALPHA, tau_requests=100.0)
                if low > 0 or high < 0:
                    wrong[name] += 1
                    open_rules.discard(name)
    return {name: wrong_share(hits, runs) for name, hits in wrong.items()}


def _sample(variant: str, stratum: str, sums: np.ndarray) -> Sample:
    units, requests, *rest = (float(value) for value in sums)
    sum_x, sum_xx, sum_nn, sum_xn = rest
    return Sample(
        variant=variant,
        stratum=stratum,
        units=int(units),
        requests=int(requests),
        sum_x=sum_x,
        sum_xx=sum_xx,
        sum_nn=sum_nn,
        sum_xn=sum_xn,
    )


def of_the_product(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the share of wrong runs of each scenario, by what the product does."""
    found = {f"equal_split {name}": part["airflow_ml"] for name, part in result["equal_split"].items()}
    found["rising_weights"] = result["rising_weights_aa"]["stratified"]
    found["flights"] = result["flights_aa"]["airflow_ml"]
    found["delayed_outcomes"] = result["delayed_outcomes_aa"]["below_the_watermark"]
    found["three_challengers"] = result["three_challengers_aa"]["holm"]
    found |= {f"paired_shadow {name}": part for name, part in result["paired_shadow_aa"].items()}
    return found | {f"traffic {name}": part["airflow_ml"] for name, part in result["traffic_aa"].items()}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    began = time.perf_counter()
    result: dict[str, Any] = {
        "alpha": ALPHA,
        "looks": LOOKS,
        "runs": arguments.runs,
        "seed": arguments.seed,
        "effect_in_standard_deviations": EFFECT,
        "fixed_horizon_requests_per_arm": fixed_horizon(),
        "equal_split": {metric: compare(rng, arguments.runs, metric) for metric in METRICS},
        "tau_requests": TAU_REQUESTS,
        "rising_weights_aa": rising_weights(rng, arguments.runs),
        "flights_aa": replay(rng, arguments.runs, ALPHA, wrong_share),
        "delayed_outcomes_aa": delayed(rng, arguments.runs, ALPHA, wrong_share),
        "three_challengers_aa": challengers(rng, arguments.runs, ALPHA, wrong_share),
        "paired_shadow_aa": pairs(rng, arguments.runs, ALPHA, wrong_share),
        "traffic_aa": {
            kind: traffic(rng, arguments.runs, ALPHA, kind, wrong_share)
            for metric in ("gaussian", "ratio", "heavy_tailed", "rate_1_percent", "unequal_units")
            for kind in (metric, f"{metric}_at_2_percent")
        },
    }
    result["missing_units"] = missing_units(np.random.default_rng(arguments.seed), arguments.runs, wrong_share)
    result["all_within_6_percent"] = {name: one["within_6_percent"] for name, one in of_the_product(result).items()}
    result["least_power"] = min(part["airflow_ml"]["power"] for part in result["equal_split"].values())
    result["seconds"] = round(time.perf_counter() - began, 1)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
