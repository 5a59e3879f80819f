"""Stage 7, canary: metrics that a challenger must not harm while it improves another one.

A guardrail is a one-sided test of non-inferiority, valid at every look as the main test is. Shown worse than the
margin, the rollout goes back; promoted is only what is shown to be no worse than the margin on every guardrail. The
second needs no correction for several metrics, since all of them must hold (Berger, "Multiparameter hypothesis testing
and acceptance sampling", Technometrics 24, 1982); the first does, and the plan divides its alpha evenly (Bonferroni).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from airflow_ml.core.fingerprint import finite
from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.registration import CHALLENGER, CHAMPION
from airflow_ml.core.statistics import Effect, effect_of, log_e_one_sided
from airflow_ml.errors import ConfigurationError

MINIMIZE, MAXIMIZE = "minimize", "maximize"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """A metric, and how much worse the challenger may be on it."""

    metric: str
    #: In the metric's unit, above 0.
    margin: float
    #: ``minimize`` for losses, ``maximize`` otherwise.
    direction: str = MINIMIZE
    #: The name of a slice of traffic, for example ``origin``: the guardrail must hold in each of them. The metric is
    #: then read as ``<metric> by <slice>``, and each sample names its slice.
    by: str = ""

    @property
    def reads(self) -> str:
        """The name by which the metric source is asked, and the look names the guardrail."""
        return f"{self.metric} by {self.by}" if self.by else self.metric


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailLook:
    """What a look saw of a guardrail."""

    metric: str
    #: Challenger minus champion; None where nothing could be estimated.
    effect: float | None
    variance: float | None
    #: Shown to be no worse than the margin, and shown to be worse than it.
    held: bool
    broken: bool
    #: By slice: the one with the strongest evidence of harm; empty without slices.
    slice_name: str = ""


def parse_guardrails(values: Sequence[Any]) -> tuple[Guardrail, ...]:
    """Return checked guardrails.

    Args:
        values: Pairs of metric and margin (``("log_loss", 0.02)``), mappings with the fields of `Guardrail`, or
            `Guardrail` objects.

    Raises:
        ConfigurationError: naming the one that cannot work.
    """
    found = tuple(_guardrail(value) for value in values)
    metrics = [guardrail.reads for guardrail in found]
    if len(set(metrics)) < len(metrics):
        raise ConfigurationError("Two guardrails of one metric", metrics, "Give one margin for each metric.")
    return found


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
        return GuardrailLook(metric=guardrail.reads, effect=None, variance=None, held=False, broken=False)
    limits: dict[str, Any] = {"tau_requests": tau_requests, "min_units": min_units, "challenger": challenger}
    looks = {name: _judge(guardrail, parts[name], alpha=alpha / len(testable), **limits) for name in testable}
    sign = 1.0 if guardrail.direction == MINIMIZE else -1.0
    worst = max(testable, key=lambda name: (looks[name].broken, sign * (looks[name].effect or 0.0)))
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
    held = broken = False
    if effect is not None and _testable(effect, min_units):
        sign = 1.0 if guardrail.direction == MINIMIZE else -1.0
        r, bar = effect.weight / tau_requests, -math.log(alpha)
        excess = (sign * effect.difference - guardrail.margin) / math.sqrt(effect.variance)
        held, broken = log_e_one_sided(-excess, r) >= bar, log_e_one_sided(excess, r) >= bar
    return GuardrailLook(
        metric=guardrail.reads,
        effect=effect.difference if effect else None,
        variance=effect.variance if effect else None,
        held=held,
        broken=broken,
    )


def _testable(effect: Effect, min_units: int) -> bool:
    return (
        math.isfinite(effect.difference)
        and 0 < effect.variance < math.inf
        and min(effect.champion_units, effect.challenger_units) >= min_units
    )


def _guardrail(value: Any) -> Guardrail:
    if isinstance(value, Guardrail):
        made = value
    elif isinstance(value, Mapping) and set(value) <= {"metric", "margin", "direction", "by"}:
        made = Guardrail(
            metric=str(value.get("metric", "")),
            margin=_number(value.get("margin")),
            direction=str(value.get("direction", MINIMIZE)),
            by=str(value.get("by", "")),
        )
    elif isinstance(value, list | tuple) and len(value) == 2:
        made = Guardrail(metric=str(value[0]), margin=_number(value[1]))
    else:
        raise ConfigurationError("Not a guardrail", repr(value), 'Write a pair like ("log_loss", 0.02).')
    if not made.metric or not 0 < made.margin < math.inf or made.direction not in (MINIMIZE, MAXIMIZE):
        raise ConfigurationError(
            "Not a guardrail",
            repr(value),
            "It needs a metric, a margin above 0 in its unit, and the direction minimize or maximize.",
        )
    return made


def _number(value: Any) -> float:
    number = finite(value)
    return math.nan if number is None else number
