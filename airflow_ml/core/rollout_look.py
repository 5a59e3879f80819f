"""Stage 7, canary: what is written down of each look at a rollout, and of each act of a human."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_ml.core.guardrail_look import GuardrailLook

HOLD, RESUME, APPROVE, STOP, PROMOTE = "hold", "resume", "approve", "roll_back", "promote"


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """What a human did with a rollout."""

    #: ``hold``, ``resume``, ``approve``, ``roll_back`` or ``promote``.
    kind: str
    who: str
    why: str
    #: Wall clock.
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmLook:
    """What a look saw of one challenger."""

    arm: str
    #: Challenger minus champion, in the way of the step; None where nothing could be estimated.
    effect: float | None = None
    variance: float | None = None
    #: The always-valid interval; empty while it is unbounded. Of several challengers all intervals hold together.
    interval: tuple[float, ...] = ()
    #: Units and requests of the champion and of this arm in the strata that count; of pairs, those of both.
    units: Mapping[str, int] | None = None
    requests: Mapping[str, int] | None = None
    #: Shown to be what the plan asks for, guardrails included.
    ready: bool = False
    #: Shown to be what the plan asks for by the metric alone.
    shown: bool = False
    #: Shown worse by the metric.
    worse: bool = False
    #: What harm is shown, by the metric or a guardrail; empty if none is.
    harm: str = ""
    #: Data days of pairs; 0 where units are divided.
    days: int = 0
    strata: int = 0
    guardrails: tuple[GuardrailLook, ...] = ()


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
    #: Units that two arms answered at one weight, and all units; empty where the source does not count them.
    crossed: tuple[int, ...] = ()
    guardrails: tuple[GuardrailLook, ...] = ()
    #: The kind of the step: ``split``, ``shadow`` or ``aa``.
    kind: str = "split"
    #: Of several challengers, each; the fields above are those of the one that looks best.
    arms: tuple[ArmLook, ...] = ()
