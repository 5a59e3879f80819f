"""Stage 7, canary: metrics that a challenger must not harm while it improves another one, as people write them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from airflow_ml.core.direction import DIRECTIONS, MINIMIZE
from airflow_ml.core.duration import parse_duration
from airflow_ml.core.fingerprint import finite
from airflow_ml.errors import ConfigurationError

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
    #: cannot be read is not a failure.
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
    if not made.metric or not in_order or made.direction not in DIRECTIONS:
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
