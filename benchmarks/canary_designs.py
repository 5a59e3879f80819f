"""A/A canaries of several challengers, of pairs of scores, and of missing units: a part of canary_statistics.py.

``challengers`` and ``pairs`` are array forms of core/arm_evidence.py and core/paired.py; the first run of each is
checked against them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from airflow_ml.core.aliases import CHALLENGER, CHAMPION
from airflow_ml.core.arm_evidence import judge_arms
from airflow_ml.core.arms import arm_names
from airflow_ml.core.mixture import two_sided_boundary
from airflow_ml.core.paired import PairedEffect, log_e_paired
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.sample_ratio import sample_ratio

LOOKS, PER_LOOK, TAU_REQUESTS, COUNT = 400, 50, 100.0, 3


def challengers(rng: np.random.Generator, runs: int, alpha: float, wrong_share: Any) -> Mapping[str, Any]:
    """Three challengers that are as good as the champion, with equal shares, looked at 400 times.

    ``holm`` is the product: any wrong call of any challenger at any look. ``uncorrected`` gives each the whole alpha.
    """
    n = np.arange(1, LOOKS + 1) * PER_LOOK
    weight = n / 2
    plan = parse_plan([20, 100], challengers=COUNT, alpha=alpha, tau_requests=TAU_REQUESTS)
    bounds = {
        "holm": np.array([two_sided_boundary(w / TAU_REQUESTS, alpha / COUNT) for w in weight]),
        "uncorrected": np.array([two_sided_boundary(w / TAU_REQUESTS, alpha) for w in weight]),
    }
    wrong = dict.fromkeys(bounds, 0)
    for run in range(runs):
        sums = rng.normal(0, math.sqrt(PER_LOOK), (COUNT + 1, LOOKS))
        squares = rng.chisquare(PER_LOOK - 1, (COUNT + 1, LOOKS)) + sums**2 / PER_LOOK
        total, total_squares = sums.cumsum(axis=1), squares.cumsum(axis=1)
        mean = total / n
        variance = (total_squares / n - mean**2) / (n - 1)
        own, gap = variance[1:] + variance[0], mean[1:] - mean[0]
        z = np.abs(gap / np.sqrt(np.maximum(own, 2 * ((n - 1) * own + gap**2 / 2) / (2 * n - 1))))
        for name, bound in bounds.items():
            wrong[name] += bool((z >= np.where(n >= plan.min_units, bound, math.inf)).any())
        if run == 0:
            last = [_sample(name, n[-1], total[i, -1], total_squares[i, -1]) for i, name in enumerate(_names())]
            reading = Reading(samples=tuple(last), watermark_at=None, assigned={})
            found = judge_arms(plan, {"brier": reading}, arms=arm_names(COUNT), kind="split")
            called = any(one.shown or one.worse for one in found)
            assert called == bool((z[:, -1] >= bounds["holm"][-1]).any())
    return {name: wrong_share(hits, runs) for name, hits in wrong.items()}


def _names() -> tuple[str, ...]:
    return ("champion", *arm_names(COUNT))


def _sample(variant: str, n: float, x: float, xx: float) -> Sample:
    return Sample(
        variant=variant,
        stratum="20/2013-05-01",
        units=int(n),
        requests=int(n),
        sum_x=float(x),
        sum_xx=float(xx),
        sum_nn=float(n),
        sum_xn=float(x),
    )


def pairs(rng: np.random.Generator, runs: int, alpha: float, wrong_share: Any) -> Mapping[str, Any]:
    """Two models that are alike, 60 days in shadow, looked at after each day.

    ``normal_days``: differences of a day's mean are normal. ``heavy_days``: Student's t with 4 degrees of freedom.
    """
    days = 60
    n = np.arange(2, days + 1)
    found = {}
    for name in ("normal_days", "heavy_days"):
        draws = rng.normal(0, 1, (runs, days)) if name == "normal_days" else rng.standard_t(4, (runs, days))
        mean = draws.cumsum(axis=1)[:, 1:] / n
        spread = (draws**2).cumsum(axis=1)[:, 1:] - n * mean**2
        variance = spread / (n - 1) / n
        t2 = mean**2 / variance
        log_e = -0.5 * np.log(1 + n) + n / 2 * (np.log1p(t2 / (n - 1)) - np.log1p(t2 / ((n - 1) * (1 + n))))
        last = PairedEffect(
            difference=float(mean[0, -1]), variance=float(variance[0, -1]), days=days, requests=days, units=days
        )
        assert math.isclose(log_e_paired(last), float(log_e[0, -1]), rel_tol=1e-9)
        found[name] = wrong_share(int((log_e >= -math.log(alpha)).any(axis=1).sum()), runs)
    return found


def missing_units(rng: np.random.Generator, runs: int, wrong_share: Any) -> Mapping[str, Any]:
    """A split in halves of 400 units a day for 20 days, checked after each; then without a tenth of the challenger's.

    ``false_alarms`` has the share of sound splits that are called broken, at 0.1 %. ``found_over_all_days`` and
    ``found_on_one_day`` are shares of the broken ones that are called so, with and without each unit counted once over
    all days.
    """
    days, units, alpha = 20, 400, 0.001
    alarms = dict.fromkeys(("false_alarms", "found_over_all_days", "found_on_one_day"), 0)
    for _ in range(runs):
        challenger = rng.binomial(units, 0.5, days)
        kept = rng.binomial(challenger, 0.9)
        alarms["false_alarms"] += _alarm(units - challenger, challenger, alpha, in_all=True)
        alarms["found_over_all_days"] += _alarm(units - challenger, kept, alpha, in_all=True)
        alarms["found_on_one_day"] += _alarm(units - challenger, kept, alpha, in_all=False)
    return {
        "false_alarms": wrong_share(alarms.pop("false_alarms"), runs),
        **{name: hits / runs for name, hits in alarms.items()},
    }


def _alarm(champion: np.ndarray, challenger: np.ndarray, alpha: float, *, in_all: bool) -> bool:
    """Whether any look calls the split broken, as core/rollout_soundness.py looks."""
    arms: dict[str, Any] = {"champion": CHAMPION, "challengers": (CHALLENGER,)}
    names = [f"50/{day:02}" for day in range(len(champion))]
    counts = {
        name: dict(zip(names, map(int, one), strict=True))
        for name, one in ((CHAMPION, champion), (CHALLENGER, challenger))
    }
    if sample_ratio(counts, dict.fromkeys(names, 0.5), alpha=alpha / 2, **arms).mismatch:
        return True
    totals = zip(champion.cumsum(), challenger.cumsum(), strict=True)
    return in_all and any(
        sample_ratio(
            {CHAMPION: {"50": int(c)}, CHALLENGER: {"50": int(t)}}, {"50": 0.5}, alpha=alpha / 2, **arms
        ).mismatch
        for c, t in totals
    )
