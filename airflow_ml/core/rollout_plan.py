"""Stage 7, canary: the plan of a rollout, fixed before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_ml.core.arms import PAIRED_METRIC
from airflow_ml.core.assessment import NO_LIMIT, Limits
from airflow_ml.core.duration import parse_duration
from airflow_ml.core.fingerprint import finite
from airflow_ml.core.guardrail import MAXIMIZE, MINIMIZE, Guardrail, parse_guardrails
from airflow_ml.core.record import Record
from airflow_ml.errors import ConfigurationError

SUPERIORITY, NON_INFERIORITY = "superiority", "non_inferiority"
#: Kinds of steps: units are divided; every challenger scores the champion's requests unheard; units are divided between
#: the champion and itself.
SPLIT, SHADOW, SAME = "split", "shadow", "aa"
#: The other design: what decides are the differences of two scores of each request, clustered by data day.
PAIRED_SHADOW = "paired_shadow"
#: What the variance is clustered by: the randomization unit, or nothing (each request counts as a unit of its own).
BY_UNIT, BY_REQUEST = "unit", "request"
#: What follows when no decision came in time: the end at weight 0; a pause at the step's weight until a human says
#: more; a pause at weight 0, without a lease, until a human approves.
ROLL_BACK, HOLD, ASK = "roll_back", "hold", "ask"
_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A share of traffic, and how long it is kept at least."""

    #: Percent of randomization units that each challenger answers, from 1 to 100; 0 in a shadow.
    weight_percent: float
    #: Days on the data clock before the next step. A minimum: early evidence of superiority does not shorten it, since
    #: a step is also there to meet weekdays, batch loads and rare requests.
    data_days: float = 1.0
    #: ``split``; ``shadow``: each challenger scores the champion's requests, and nobody gets its answers; ``aa``: both
    #: arms are the champion, which proves the way of measuring before a risk is taken.
    kind: str = SPLIT
    #: Units with an outcome that each arm (of pairs: each challenger) has in this step before the next one.
    min_units: int = 0

    @property
    def divides(self) -> bool:
        """Whether two arms answer in it."""
        return self.kind != SHADOW and self.weight_percent < 100


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan(Record):
    """What decides a rollout. Nothing of it changes while the rollout runs: that is what makes peeking safe."""

    steps: tuple[Step, ...]
    metric: str = "brier"
    direction: str = MINIMIZE
    #: ``superiority``: promoted when shown better. ``non_inferiority``: when shown not worse than by ``margin``.
    hypothesis: str = SUPERIORITY
    #: In the metric's unit; 0 for superiority.
    margin: float = 0.0
    #: Metrics that must not get worse by more than their margin: shown worse, the rollout goes back; promoted is only
    #: what is shown to hold all of them.
    guardrails: tuple[Guardrail, ...] = ()
    #: In the metric's unit, above 0: the improvement the plan is made for. It decides nothing; the forecast before the
    #: start says how long it takes, and a plan that could hardly ever show it is refused. 0: none is named.
    expected_effect: float = 0.0
    #: Chance of any wrong decision over the whole rollout, at however many looks.
    alpha: float = 0.05
    #: Fixes the mixture: its variance is that of one request over this number. An operator fixes it before the start
    #: for ``expected_effect``, where the traffic is known (`airflow_ml.core.statistics.planned_tau`); 100 is for plans
    #: that name none. The test is tightest near 8 times as many effective requests ``n_c n_t / (n_c + n_t)``. 100 sees
    #: gross harm in the first days of a 5 % step, and with 100 times the data it asks for 1.17 times the standard
    #: errors of a plan tuned for that; a plan tuned for much data is blind in the first steps.
    tau_requests: float = 100.0
    #: Units of each arm, over all strata, before anything is decided: the test rests on the central limit theorem.
    min_units: int = 100
    #: Data days without a decision after which the rollout is inconclusive.
    max_data_days: float = 21.0
    #: ``roll_back`` (the end at weight 0), ``hold`` (stay at the step until a human resumes or stops it), or ``ask``
    #: (weight 0 without a lease until a human approves).
    inconclusive: str = ROLL_BACK
    #: False: a comparison only. It ends ``concluded``, at weight 0, where it would have been promoted.
    promotes: bool = True
    #: Looks with new outcomes that show harm before the rollout goes back. 0, the first one does: the test is valid at
    #: every look, so a second opinion costs time only.
    failure_limit: int = 0
    #: Looks with new outcomes in a row that must show success before the promotion.
    consecutive_successes: int = 1
    #: Looks with new outcomes that show neither before the rollout is inconclusive; -1: time alone bounds it.
    inconclusive_limit: int = NO_LIMIT
    #: Looks in a row at which the metric is out of reach before the rollout goes back; -1: time alone bounds it.
    consecutive_error_limit: int = NO_LIMIT
    #: Chance of a false alarm of the sample-ratio check.
    sample_ratio_alpha: float = 0.001
    #: Wall-clock seconds without any progress of the watermark after which the rollout is inconclusive. Two days: a
    #: daily load may be missed once.
    max_silence_seconds: float = 172_800.0
    #: Wall-clock seconds in which neither metric nor router may stay out of reach; then back to the champion. Above
    #: the 90 s that restarts take, below the time by which operators expect an end.
    max_trouble_seconds: float = 300.0
    #: ``split``: what decides is the difference between the units of two arms. ``paired_shadow``: the difference of two
    #: scores of the same request, in shadow steps, clustered by data day; offered where an outcome does not depend on
    #: the prediction. Splits after that only look for harm.
    design: str = SPLIT
    #: Challengers that are compared at once; of several the best that is shown is promoted.
    challengers: int = 1
    #: ``unit``: requests of one unit may be alike. ``request``: each counts as independent, which is refused where it
    #: is not so.
    cluster: str = BY_UNIT

    @property
    def ways(self) -> int:
        """In how many ways the metric is tested: a split, a shadow, the champion against itself."""
        return len({step.kind for step in self.steps if step.divides or step.kind == SHADOW}) or 1

    @property
    def test_alpha(self) -> float:
        """The chance of error of each test: ``alpha``, evenly divided among metric and guardrails, and the ways.

        Several challengers divide it again (Holm's correction, or evenly).
        """
        return self.alpha / (self.ways * (1 + len(self.guardrails)))

    @property
    def shadows(self) -> bool:
        """Whether there is a step in shadow."""
        return any(step.kind == SHADOW for step in self.steps)

    @property
    def divides(self) -> bool:
        """Whether there is a step in which two arms answer."""
        return any(step.divides for step in self.steps)

    @property
    def reads(self) -> tuple[str, ...]:
        """The names by which the source is asked at each look; the first one is the metric's main reading."""
        names = [name for name in (self.metric,) if self.divides]
        names += [f"{self.metric}{PAIRED_METRIC}"] if self.shadows else []
        for guardrail in self.guardrails:
            names += [guardrail.reads] if self.divides else []
            names += [f"{guardrail.reads}{PAIRED_METRIC}"] if self.shadows and not guardrail.by else []
        return tuple(names)

    @property
    def last_test(self) -> int:
        """The index of the step at whose end a difference must be shown: the last one of the design's kind."""
        kind = SHADOW if self.design == PAIRED_SHADOW else SPLIT
        return max(
            (i for i, step in enumerate(self.steps) if step.kind == kind and (kind == SHADOW or step.divides)),
            default=len(self.steps) - 1,
        )

    @property
    def limits(self) -> Limits:
        """How many looks of each kind the plan bears."""
        return Limits(
            failures=self.failure_limit,
            successes_in_a_row=self.consecutive_successes,
            inconclusive=self.inconclusive_limit,
            errors_in_a_row=self.consecutive_error_limit,
        )


def parse_plan(steps: Sequence[Any], *, guardrails: Sequence[Any] = (), **settings: Any) -> RolloutPlan:
    """Return a checked plan.

    Args:
        steps: Weights in percent (``[5, 25, 50, 100]``), pairs of weight and data days or duration (``(5, "2d")``),
            mappings with the fields of `Step`, or `Step` objects. A weight of 100 by itself is kept 0 days, others 1.
            In a weight's place ``"shadow"`` is a step in which challengers score unheard, and ``"aa"`` one in which
            half of the units are compared with the other half, all answered by the champion.
        guardrails: See `parse_guardrails`.
        settings: The other fields of `RolloutPlan`.

    Raises:
        ConfigurationError: naming the value that cannot work.
    """
    checked = parse_guardrails(guardrails)
    plan = RolloutPlan(steps=tuple(_step(step) for step in steps), guardrails=checked, **settings)
    check_plan(plan)
    return plan


def check_plan(plan: RolloutPlan) -> None:
    """Refuse a plan that can decide nothing, or would decide without evidence.

    Raises:
        ConfigurationError: naming the value that cannot work.
    """
    check_steps(plan)
    if any(not (math.isfinite(step.data_days) and step.data_days >= 0) for step in plan.steps):
        raise ConfigurationError(
            "A step's duration is no number of days", [step.data_days for step in plan.steps], "Give 0 or more."
        )
    _check_values(plan)
    if (plan.margin > 0) != (plan.hypothesis == NON_INFERIORITY) or not math.isfinite(plan.margin):
        raise ConfigurationError(
            f"The margin does not fit the hypothesis {plan.hypothesis}",
            plan.margin,
            "non_inferiority needs a margin above 0 in the metric's unit, superiority has none.",
        )
    if plan.metric in [guardrail.reads for guardrail in plan.guardrails]:
        raise ConfigurationError(
            "The metric cannot be its own guardrail", plan.metric, "Use non_inferiority with a margin instead."
        )
    if not 0 <= plan.expected_effect < math.inf:
        raise ConfigurationError(
            "expected_effect is no improvement", plan.expected_effect, "Give its size in the metric's unit, above 0."
        )
    shortest = sum(step.data_days for step in plan.steps)
    if shortest > plan.max_data_days:
        raise ConfigurationError(
            f"The steps take {shortest:g} data days, more than max_data_days",
            plan.max_data_days,
            "Raise it, or shorten steps.",
        )


def check_steps(plan: RolloutPlan) -> None:
    """Refuse steps that come in no order in which they prove anything.

    Raises:
        ConfigurationError: naming them.
    """
    weights = [step.weight_percent for step in plan.steps if step.kind == SPLIT]
    kinds = [step.kind for step in plan.steps]
    if not kinds or any(not 1 <= weight <= 100 for weight in weights) or weights != sorted(set(weights)):
        # Below 1 percent a sticky split is mostly chance, and some routers cannot take it.
        raise ConfigurationError("Not the weights of a rollout", weights, "Give rising percentages from 1 to 100.")
    if kinds != sorted(kinds, key=(SAME, SHADOW, SPLIT).index) or kinds.count(SAME) > 1 or kinds.count(SHADOW) > 1:
        raise ConfigurationError(
            "Not the steps of a rollout", kinds, "Give at most one aa step, then at most one in shadow, then weights."
        )
    if any((step.kind == SHADOW) != (step.weight_percent == 0) for step in plan.steps) or any(
        step.kind == SAME and not 1 <= step.weight_percent < 100 for step in plan.steps
    ):
        raise ConfigurationError(
            "A step's weight does not fit its kind", kinds, "shadow has the weight 0, aa one between 0 and 100."
        )
    if plan.design == PAIRED_SHADOW and SHADOW not in kinds:
        raise ConfigurationError(
            "paired_shadow has no step in shadow", kinds, 'Begin with one, for example ("shadow", "14d").'
        )
    if plan.design == SPLIT and not any(weight < 100 for weight in weights):
        raise ConfigurationError(
            "A plan without a split cannot compare", weights, "Begin with a step below 100 percent, for example 5."
        )
    _check_arms(plan)


def _check_arms(plan: RolloutPlan) -> None:
    """Check what several challengers, and guardrails in shadow, need."""
    count = plan.challengers
    if plan.design == SPLIT and any(
        step.kind == SPLIT and step.divides and step.weight_percent * count >= 100 for step in plan.steps
    ):
        raise ConfigurationError(
            "The champion would answer nothing",
            f"{count} challengers with {[step.weight_percent for step in plan.steps]} percent each",
            "A step's weight is that of each challenger: lower it.",
        )
    if count > 1 and plan.failure_limit:
        raise ConfigurationError(
            "failure_limit is for one challenger", plan.failure_limit, "Of several, one that shows harm is stopped."
        )
    if not plan.divides and any(guardrail.by for guardrail in plan.guardrails):
        raise ConfigurationError(
            "A shadow has no slices", [one.reads for one in plan.guardrails], "Leave by out, or add a step that splits."
        )


def _check_values(plan: RolloutPlan) -> None:
    """Check each value by itself."""
    for name, allowed in _CHOICES.items():
        if getattr(plan, name) not in allowed:
            raise ConfigurationError(f"Unknown {name}", repr(getattr(plan, name)), f"Use one of {', '.join(allowed)}.")
    for name, (low, high) in _RANGES.items():
        number = finite(getattr(plan, name))
        if number is None or not low < number < high:
            raise ConfigurationError(
                f"{name} is out of range",
                repr(getattr(plan, name)),
                f"It lies between {low:g} and {high:g}, exclusive.",
            )
    for name, least in _LIMITS.items():
        value = getattr(plan, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigurationError(f"{name} is no number of looks", repr(value), f"Give a whole number from {least}.")


_CHOICES: Mapping[str, tuple[str, ...]] = {
    "direction": (MINIMIZE, MAXIMIZE),
    "hypothesis": (SUPERIORITY, NON_INFERIORITY),
    "inconclusive": (ROLL_BACK, HOLD, ASK),
    "design": (SPLIT, PAIRED_SHADOW),
    "cluster": (BY_UNIT, BY_REQUEST),
}
_LIMITS: Mapping[str, int] = {
    "challengers": 1,
    "failure_limit": 0,
    "consecutive_successes": 1,
    "inconclusive_limit": NO_LIMIT,
    "consecutive_error_limit": NO_LIMIT,
}
_RANGES: Mapping[str, tuple[float, float]] = {
    "alpha": (0, 0.5),
    "sample_ratio_alpha": (0, 0.5),
    "tau_requests": (0, 1e15),
    "min_units": (1, 1e15),
    "max_data_days": (0, 3_660),
    "max_silence_seconds": (0, 1e9),
    "max_trouble_seconds": (0, 1e9),
}


#: In a shadow no unit gets a challenger's answer; the champion against itself is most exact with two halves.
_WEIGHT_OF: Mapping[str, float] = {SHADOW: 0.0, SAME: 50.0}


def _step(value: Any) -> Step:
    if isinstance(value, Step):
        return value
    kind, units = SPLIT, 0
    if isinstance(value, Mapping):
        weight, days, units = value.get("weight_percent"), value.get("data_days"), value.get("min_units", 0)
        kind = str(value.get("kind", SPLIT))
    elif isinstance(value, list | tuple) and len(value) == 2:
        weight, days = value
    else:
        weight, days = value, None
    if weight in (SHADOW, SAME):
        kind, weight = str(weight), _WEIGHT_OF[weight]
    number = finite(float(weight) if isinstance(weight, str) and weight.replace(".", "", 1).isdigit() else weight)
    if number is None or kind not in (SPLIT, SHADOW, SAME):
        raise ConfigurationError(
            "Not a step of a rollout", repr(value), 'Write a weight like 5, or a pair like (5, "2d").'
        )
    if days is None:
        days = 0.0 if number >= 100 else 1.0
    return Step(
        weight_percent=number,
        data_days=parse_duration(days) / _DAY_SECONDS if isinstance(days, str) else float(days),
        kind=kind,
        min_units=int(units),
    )
