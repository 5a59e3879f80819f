"""Stage 7, canary: what a look sees of a guardrail.

A guardrail is a one-sided test, valid at every look as the main test is: of non-inferiority to the champion by a
margin, or of the challenger's own mean against a limit. Shown on the wrong side of it, the rollout goes back; promoted
is only what is shown to be on the right side of every guardrail. The second needs no correction for several metrics,
since all of them must hold (Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24,
1982); the first does, and the plan divides its alpha evenly (Bonferroni).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_ml.core.aliases import CHALLENGER, CHAMPION
from airflow_ml.core.direction import MINIMIZE
from airflow_ml.core.guardrail import Guardrail
from airflow_ml.core.level import level_of
from airflow_ml.core.mixture import log_e_one_sided
from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.statistics import Effect, effect_of


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailLook:
    """What a look saw of a guardrail."""

    #: Its name.
    metric: str
    #: Challenger minus champion; None where nothing could be estimated.
    effect: float | None
    variance: float | None
    #: Shown to be no worse than the margin or limit, and shown to be worse than it.
    held: bool
    broken: bool
    #: By slice: the one with the strongest evidence of harm; empty without slices.
    slice_name: str = ""
    #: With a limit: the challenger's own mean, which is what is tested; ``variance`` is that of it then.
    level: float | None = None
    #: False: only measured.
    decides: bool = True


def judge(
    guardrail: Guardrail,
    reading: Reading,
    *,
    alpha: float,
    tau_requests: float,
    min_units: int,
    challenger: str = CHALLENGER,
) -> GuardrailLook:
    """Test a guardrail on everything measured so far of one challenger.

    Whether it may decide yet is not asked here.

    By slice, the chance of a false alarm is divided evenly among the slices that can be tested (Bonferroni), and all of
    these must be shown to hold. A slice with fewer than ``min_units`` units of an arm is not tested: it proves nothing
    either way.

    Raises:
        ValueError: for sums that no data can have.
    """
    if guardrail.by:
        return _judge_slices(
            guardrail, reading, alpha=alpha, tau_requests=tau_requests, min_units=min_units, challenger=challenger
        )
    return _judge(
        guardrail,
        reading.samples,
        challenger=challenger,
        squares=reading.unit_squares,
        alpha=alpha,
        tau_requests=tau_requests,
        min_units=min_units,
    )


def _judge_slices(
    guardrail: Guardrail, reading: Reading, *, alpha: float, tau_requests: float, min_units: int, challenger: str
) -> GuardrailLook:
    parts: dict[str, list[Sample]] = defaultdict(list)
    for sample in reading.samples:
        parts[sample.slice_name].append(replace(sample, slice_name=""))
    effects = {name: effect_of(part, champion=CHAMPION, challenger=challenger) for name, part in parts.items()}
    testable = sorted(name for name, effect in effects.items() if effect is not None and _testable(effect, min_units))
    if not testable:
        return unseen(guardrail)
    limits: dict[str, Any] = {"tau_requests": tau_requests, "min_units": min_units, "challenger": challenger}
    looks = {name: _judge(guardrail, parts[name], alpha=alpha / len(testable), **limits) for name in testable}
    sign = _sign(guardrail)
    worst = max(testable, key=lambda name: (looks[name].broken, sign * (_tested(guardrail, looks[name]) or 0.0)))
    # All slices must hold, so each may be tested at the whole alpha: a false promotion needs all of them to be wrong.
    proven = (_judge(guardrail, parts[name], alpha=alpha, **limits) for name in testable)
    return replace(looks[worst], held=all(one.held for one in proven), slice_name=worst)


def _judge(
    guardrail: Guardrail,
    samples: Sequence[Sample],
    *,
    alpha: float,
    tau_requests: float,
    min_units: int,
    challenger: str,
    squares: Mapping[str, float] | None = None,
) -> GuardrailLook:
    effect = effect_of(samples, champion=CHAMPION, challenger=challenger, unit_squares=squares)
    if effect is None:
        return unseen(guardrail)
    value, variance, weight, bound = effect.difference, effect.variance, effect.weight, guardrail.margin
    level: float | None = None
    if guardrail.limit is not None:
        # Units that return count for the challenger's own mean as they do for the difference.
        apart = effect_of(samples, champion=CHAMPION, challenger=challenger) if squares else None
        inflation = effect.variance / apart.variance if apart is not None and apart.variance > 0 else 1.0
        own = level_of(samples, arm=challenger, beside=CHAMPION, inflation=inflation)
        if own is None:
            return unseen(guardrail)
        value = level = own.value
        variance, weight, bound = own.variance, own.requests, _sign(guardrail) * guardrail.limit
    held = broken = False
    if _testable(effect, min_units) and 0 < variance < math.inf:
        r, bar = weight / tau_requests, -math.log(alpha)
        excess = (_sign(guardrail) * value - bound) / math.sqrt(variance)
        held = log_e_one_sided(-excess, r) >= bar and not effect.constant
        broken = log_e_one_sided(excess, r) >= bar
    return GuardrailLook(
        metric=guardrail.name,
        effect=effect.difference,
        variance=variance,
        held=held,
        broken=broken,
        level=level,
        decides=guardrail.decides,
    )


def unseen(guardrail: Guardrail) -> GuardrailLook:
    """Return the look at a guardrail of which nothing can be estimated."""
    return GuardrailLook(
        metric=guardrail.name, effect=None, variance=None, held=False, broken=False, decides=guardrail.decides
    )


def _sign(guardrail: Guardrail) -> float:
    return 1.0 if guardrail.direction == MINIMIZE else -1.0


def _tested(guardrail: Guardrail, look: GuardrailLook) -> float | None:
    return look.effect if guardrail.limit is None else look.level


def _testable(effect: Effect, min_units: int) -> bool:
    return (
        math.isfinite(effect.difference)
        and 0 < effect.variance < math.inf
        and min(effect.champion_units, effect.challenger_units) >= min_units
    )
