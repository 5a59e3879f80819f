"""Several challengers against one champion: which are better, which are worse, and which is the best of them.

Each challenger has its own test against the champion, valid at every look; over the challengers Holm's correction
holds for any dependence, and they share the champion's data, so they do depend on each other. The chance that any
challenger is called better or worse wrongly is at most alpha over the whole test.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_ml.core.guardrail import MINIMIZE
from airflow_ml.core.multiplicity import always_valid_p, holm
from airflow_ml.core.ports import Sample
from airflow_ml.core.statistics import Effect, confidence_sequence, effect_of, log_e_two_sided


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One challenger against the champion."""

    variant: str
    #: Challenger minus champion in the metric's unit; None where nothing could be estimated.
    effect: float | None
    #: Covers the true difference of all arms together with probability 1 - alpha at all looks; empty while unbounded.
    interval: tuple[float, ...]
    #: Holm's adjusted p-value of this look.
    p_value: float
    better: bool
    worse: bool
    units: int


def compare_arms(
    samples: Sequence[Sample],
    *,
    champion: str,
    challengers: Sequence[str],
    direction: str = MINIMIZE,
    alpha: float = 0.05,
    tau_requests: float = 100.0,
    min_units: int = 100,
    unit_squares: Mapping[str, float] | None = None,
) -> tuple[Arm, ...]:
    """Test each challenger against the champion.

    Args:
        samples: One per (variant, stratum).
        champion: The baseline's name.
        challengers: The others' names; the result is in this order.
        direction: ``minimize`` for losses.
        alpha: Chance of any wrong call, over all challengers and looks.
        tau_requests: As in a plan.
        min_units: Units of either arm below which an arm is not judged.
        unit_squares: As in a reading.

    Raises:
        ValueError: no challenger, or sums that no data can have.
    """
    if not challengers or champion in challengers or len(set(challengers)) < len(challengers):
        raise ValueError(f"Not the arms of a test: {champion} against {list(challengers)}")
    effects = {
        name: effect_of(samples, champion=champion, challenger=name, unit_squares=unit_squares) for name in challengers
    }
    p_values = {name: _p_value(effect, tau_requests, min_units) for name, effect in effects.items()}
    corrected = holm(p_values)
    return tuple(
        _arm(name, effects[name], corrected[name], direction, alpha, alpha / len(challengers), tau_requests)
        for name in challengers
    )


def best_of(arms: Sequence[Arm], *, direction: str = MINIMIZE) -> Arm | None:
    """Return the arm with the best estimate among those shown better; None where none is.

    Being shown better than the champion is proven, being the best of the better ones is the likeliest choice.
    """
    sign = 1.0 if direction == MINIMIZE else -1.0
    better = [arm for arm in arms if arm.better and arm.effect is not None]
    return min(better, key=lambda arm: (sign * (arm.effect or 0.0), arm.variant), default=None)


def _p_value(effect: Effect | None, tau_requests: float, min_units: int) -> float:
    if effect is None or effect.variance <= 0 or min(effect.champion_units, effect.challenger_units) < min_units:
        return 1.0
    return always_valid_p(log_e_two_sided(effect.z, effect.weight / tau_requests))


def _arm(
    name: str,
    effect: Effect | None,
    p_value: float,
    direction: str,
    alpha: float,
    interval_alpha: float,
    tau_requests: float,
) -> Arm:
    interval: tuple[float, ...] = ()
    if effect is not None:
        bounds = confidence_sequence(effect, alpha=interval_alpha, tau_requests=tau_requests)
        interval = bounds if all(math.isfinite(bound) for bound in bounds) else ()
    sign = 1.0 if direction == MINIMIZE else -1.0
    shown = effect is not None and p_value <= alpha
    gain = -sign * effect.difference if effect is not None else 0.0
    return Arm(
        variant=name,
        effect=effect.difference if effect else None,
        interval=interval,
        p_value=p_value,
        better=shown and gain > 0,
        worse=shown and gain < 0,
        units=effect.challenger_units if effect else 0,
    )


def lost_arms(arms: Sequence[Arm]) -> Mapping[str, str]:
    """Return the arms that are shown worse, with the reason in words."""
    return {arm.variant: f"worse than the champion: {arm.effect:+.5g}" for arm in arms if arm.worse}
