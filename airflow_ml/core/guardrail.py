"""Stage 7, canary: metrics that a challenger must not harm while it improves another one.

A guardrail is a one-sided test of non-inferiority, valid at every look as the main test is. Shown worse than the
margin, the rollout goes back; promoted is only what is shown to be no worse than the margin on every guardrail. The
second needs no correction for several metrics, since all of them must hold (Berger, "Multiparameter hypothesis testing
and acceptance sampling", Technometrics 24, 1982); the first does, and the plan divides its alpha evenly (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_ml.core.fingerprint import finite
from airflow_ml.core.ports import Reading
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


def parse_guardrails(values: Sequence[Any]) -> tuple[Guardrail, ...]:
    """Return checked guardrails.

    Args:
        values: Pairs of metric and margin (``("log_loss", 0.02)``), mappings with the fields of `Guardrail`, or
            `Guardrail` objects.

    Raises:
        ConfigurationError: naming the one that cannot work.
    """
    found = tuple(_guardrail(value) for value in values)
    metrics = [guardrail.metric for guardrail in found]
    if len(set(metrics)) < len(metrics):
        raise ConfigurationError("Two guardrails of one metric", metrics, "Give one margin for each metric.")
    return found


def judge_all(
    guardrails: Sequence[Guardrail],
    readings: Mapping[str, Reading],
    *,
    alpha: float,
    tau_requests: float,
    min_units: int,
) -> tuple[GuardrailLook, ...]:
    """Test each guardrail on its metric's reading; see `judge`."""
    return tuple(
        judge(one, readings[one.metric], alpha=alpha, tau_requests=tau_requests, min_units=min_units)
        for one in guardrails
    )


def judge(
    guardrail: Guardrail, reading: Reading, *, alpha: float, tau_requests: float, min_units: int
) -> GuardrailLook:
    """Test a guardrail on everything measured so far.

    Raises:
        ValueError: for sums that no data can have.
    """
    effect = effect_of(reading.samples, champion=CHAMPION, challenger=CHALLENGER)
    held = broken = False
    if effect is not None and _testable(effect, min_units):
        sign = 1.0 if guardrail.direction == MINIMIZE else -1.0
        r, bar = effect.weight / tau_requests, -math.log(alpha)
        excess = (sign * effect.difference - guardrail.margin) / math.sqrt(effect.variance)
        held, broken = log_e_one_sided(-excess, r) >= bar, log_e_one_sided(excess, r) >= bar
    return GuardrailLook(
        metric=guardrail.metric,
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
    elif isinstance(value, Mapping) and set(value) <= {"metric", "margin", "direction"}:
        made = Guardrail(
            metric=str(value.get("metric", "")),
            margin=_number(value.get("margin")),
            direction=str(value.get("direction", MINIMIZE)),
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
