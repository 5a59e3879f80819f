"""Stage 7, canary: the plan of a rollout, fixed before it starts."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_ml.core.arms import PAIRED_METRIC
from airflow_ml.core.assessment import NO_LIMIT, Limits
from airflow_ml.core.direction import MINIMIZE
from airflow_ml.core.guardrail import Guardrail
from airflow_ml.core.record import Record

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
    #: What must be shown before the next step: the plan's metric, guardrails, each by the name it is read by. Empty:
    #: nothing but harm counts here. At the last step that compares everything must be shown in any case.
    metrics: tuple[str, ...] = ()

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
    #: for ``expected_effect``, where the traffic is known (`airflow_ml.core.mixture.planned_tau`); 100 is for plans
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
        tests = 1 + sum(1 for guardrail in self.guardrails if guardrail.decides)
        return self.alpha / (self.ways * tests)

    @property
    def deciding(self) -> tuple[str, ...]:
        """What must be shown before a promotion: the metric and the guardrails, by the names they are read by."""
        return (self.metric, *(guardrail.reads for guardrail in self.guardrails if guardrail.decides))

    @property
    def dry_reads(self) -> frozenset[str]:
        """Those of ``reads`` that only dry runs need: without them a look is whole."""
        dry = {guardrail.reads for guardrail in self.guardrails} - {*self.deciding}
        return frozenset(name for one in dry for name in (one, f"{one}{PAIRED_METRIC}"))

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
            pairs = self.shadows and not guardrail.by and guardrail.limit is None
            names += [f"{guardrail.reads}{PAIRED_METRIC}"] if pairs else []
        return tuple(dict.fromkeys(names))

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
