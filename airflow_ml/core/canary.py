"""Stage 7, canary: the record of a rollout. Plans and decisions are core/rollout_plan.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import Record

#: Outcomes of a rollout.
INSTALLED = "installed"  #: there was no champion: put in after the gates, without a comparison
PROMOTED = "promoted"
ROLLED_BACK = "rolled_back"
INCONCLUSIVE = "inconclusive"
CONCLUDED = "concluded"  #: a comparison without a promotion has shown its difference


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmResult:
    """The findings for one of several challengers."""

    arm: str
    version: str
    #: Challenger minus champion at the last look at it, and its always-valid interval, which holds for all of them
    #: together.
    effect: float | None = None
    interval: tuple[float, ...] = ()
    #: Shown to be what the plan asked for, guardrails included; shown worse.
    shown: bool = False
    worse: bool = False
    #: Why it was stopped before the others; empty if it was not.
    stopped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout(Record):
    """The outcome of a rollout: which version serves, and why."""

    model: str
    namespace: str
    #: Versions in the registry; the champion's is empty where there was none. Of several challengers the one that was
    #: promoted, else the first.
    champion: str
    challenger: str
    outcome: str
    reason: str
    epoch: int
    #: Weights (percent of traffic) that the challenger was given, in order.
    weights: tuple[float, ...] = ()
    #: Requests with a known outcome per variant.
    samples: Mapping[str, int] = field(default_factory=dict)
    data_days: int = 0
    #: Estimated difference of the metric (challenger minus champion) and its always-valid interval.
    effect: float | None = None
    interval: tuple[float, ...] = ()
    looks: int = 0
    #: Every look with its statistics and decision, as JSON lines.
    evidence: Artifact | None = None
    #: The looks as an SVG: effect and interval over data days, steps, decision. Made by the canary stage.
    picture: Artifact | None = None
    parents: tuple[str, ...] = ()
    #: ``split``, or ``paired_shadow``.
    design: str = "split"
    #: Of several challengers, each; ``effect`` and ``interval`` are those of the one that looked best.
    arms: tuple[ArmResult, ...] = ()
