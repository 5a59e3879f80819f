"""Stage 7, canary: metrics that a challenger must not harm while it improves another one.

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
from dataclasses import dataclass, fields, replace
from typing import Any

from airflow_ml.core.duration import parse_duration
from airflow_ml.core.fingerprint import finite
from airflow_ml.core.level import level_of
from airflow_ml.core.ports import Reading, Sample
from airflow_ml.core.registration import CHALLENGER, CHAMPION
from airflow_ml.core.statistics import Effect, effect_of, log_e_one_sided
from airflow_ml.errors import ConfigurationError

MINIMIZE, MAXIMIZE = "minimize", "maximize"
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrail:
    """A metric, and how much worse than the champion, or how bad by itself, the challenger may be on it."""

    metric: str
    #: In the metric's unit, above 0; 0 where there is a limit, or where nothing is decided.
    margin: float = 0.0
    #: ``minimize`` for losses, ``maximize`` otherwise.
    direction: str = MINIMIZE
    #: The name of a slice of traffic, for example ``origin``: the guardrail must hold in each of them. The metric is
    #: then read as ``<metric> by <slice>``, and each sample names its slice.
    by: str = ""
    #: In the metric's unit: what the challenger's own mean may be at most (``minimize``) or at least, however good or
    #: bad the champion is. None: it is compared with the champion.
    limit: float | None = None
    #: False, a dry run: measured and shown at each look; it decides nothing, takes no share of ``alpha``, and that it
    #: cannot be read is no trouble.
    decides: bool = True
    #: Days on the data clock since the challenger's first traffic before which it decides nothing, for what is
    #: otherwise while caches fill. What was measured in them counts afterwards.
    after_data_days: float = 0.0

    @property
    def reads(self) -> str:
        """The name by which the metric source is asked, and a step asks for the guardrail."""
        return f"{self.metric} by {self.by}" if self.by else self.metric

    @property
    def name(self) -> str:
        """The name by which a look has the guardrail; with its limit, since a metric may have a margin as well."""
        if self.limit is None:
            return self.reads
        return f"{self.reads} {'at most' if self.direction == MINIMIZE else 'at least'} {self.limit:g}"


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


def parse_guardrails(values: Sequence[Any]) -> tuple[Guardrail, ...]:
    """Return checked guardrails.

    Args:
        values: Pairs of metric and margin (``("log_loss", 0.02)``), mappings with the fields of `Guardrail`, or
            `Guardrail` objects.

    Raises:
        ConfigurationError: naming the one that cannot work.
    """
    found = tuple(_guardrail(value) for value in values)
    metrics = [(guardrail.reads, guardrail.limit is None) for guardrail in found]
    if len(set(metrics)) < len(metrics):
        names = [guardrail.name for guardrail in found]
        raise ConfigurationError(
            "Two guardrails of one metric", names, "Give one margin and one limit for each metric."
        )
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
        own = level_of(samples, arm=challenger, inflation=inflation)
        if own is None:
            return unseen(guardrail)
        value = level = own.value
        variance, weight, bound = own.variance, own.requests, _sign(guardrail) * guardrail.limit
    held = broken = False
    if _testable(effect, min_units) and 0 < variance < math.inf:
        r, bar = weight / tau_requests, -math.log(alpha)
        excess = (_sign(guardrail) * value - bound) / math.sqrt(variance)
        held, broken = log_e_one_sided(-excess, r) >= bar, log_e_one_sided(excess, r) >= bar
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


def _guardrail(value: Any) -> Guardrail:
    if isinstance(value, Guardrail):
        made = value
    elif isinstance(value, Mapping) and set(value) <= {field.name for field in fields(Guardrail)}:
        limit = value.get("limit")
        made = Guardrail(
            metric=str(value.get("metric", "")),
            margin=_number(value.get("margin", 0.0)),
            direction=str(value.get("direction", MINIMIZE)),
            by=str(value.get("by", "")),
            limit=None if limit is None else _number(limit),
            decides=value.get("decides", True),
            after_data_days=_days(value.get("after_data_days", 0.0)),
        )
    elif isinstance(value, list | tuple) and len(value) == 2:
        made = Guardrail(metric=str(value[0]), margin=_number(value[1]))
    else:
        raise ConfigurationError("Not a guardrail", repr(value), 'Write a pair like ("log_loss", 0.02).')
    _check(made, value)
    return made


def _check(made: Guardrail, value: Any) -> None:
    bounded = made.limit is not None
    in_order = made.margin == 0 and math.isfinite(made.limit or 0.0) if bounded else 0 < made.margin < math.inf
    if not bounded and made.decides is False and made.margin == 0:
        in_order = True  # nothing is decided by it
    if not made.metric or not in_order or made.direction not in (MINIMIZE, MAXIMIZE):
        raise ConfigurationError(
            "Not a guardrail",
            repr(value),
            "It needs a metric, the direction minimize or maximize, and a margin above 0 in its unit or else a limit.",
        )
    if not isinstance(made.decides, bool) or not 0 <= made.after_data_days < math.inf:
        raise ConfigurationError(
            "Not a guardrail", repr(value), "decides is true or false, after_data_days a number of days from 0."
        )


def _days(value: Any) -> float:
    return parse_duration(value) / _DAY_SECONDS if isinstance(value, str) else _number(value)


def _number(value: Any) -> float:
    number = finite(value)
    return math.nan if number is None else number
