"""Stage 7, canary: what is written down of each look at a rollout, and of each act of a human."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_ml.core.guardrail import GuardrailLook

HOLD, RESUME, APPROVE, STOP = "hold", "resume", "approve", "roll_back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a human did with a rollout."""

    #: ``hold``, ``resume``, ``approve`` or ``roll_back``.
    kind: str
    who: str
    why: str
    #: Wall clock.
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the metric: what was seen and what was decided."""

    number: int
    at: datetime
    watermark_at: datetime | None
    step: int
    weight_percent: float
    action: str
    reason: str
    #: Challenger minus champion; None where nothing could be estimated.
    effect: float | None = None
    variance: float | None = None
    #: The always-valid interval; empty while it is unbounded.
    interval: tuple[float, ...] = ()
    #: Per variant: units and requests in the strata that count, and requests that still wait for their outcome.
    units: Mapping[str, int] | None = None
    requests: Mapping[str, int] | None = None
    waiting: Mapping[str, int] | None = None
    strata: int = 0
    #: Days on the data clock since the challenger's first traffic.
    data_days: float = 0.0
    #: Log evidence of a sample-ratio mismatch less its bar; an alarm from 0 on.
    sample_ratio_excess: float | None = None
    guardrails: tuple[GuardrailLook, ...] = ()
